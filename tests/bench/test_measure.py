"""The figures of recordings whose every word is known."""

import math

import numpy as np
import pytest
from measuring import TimedTones, recording, text, utterances_of

from streamasr.bench.measure import Plan, measure
from streamasr.bench.recordings import Recording
from streamasr.bench.scoring import TimedWord
from streamasr.bench.truth import Truth
from streamasr.core.events import SAMPLE_RATE
from streamasr.inference.fake import tone_word_times

PLAIN = Plan(streams=False, floors_s=(), margins_s=())
WORDS = utterances_of(3)


def test_what_is_heard_right_has_no_errors_and_what_the_truth_says_more_is_one(setup):
    right = measure([recording(WORDS, said=text(WORDS))], setup(TimedTones()), PLAIN).figures.accuracy
    more = measure([recording(WORDS, said=text(WORDS) + " more")], setup(TimedTones()), PLAIN).figures.accuracy

    assert (right.truth, right.words, right.streamed, right.short, right.full) == (True, 24, 0, 0, 0)
    assert more.streamed == more.full == pytest.approx(100 / 25)
    assert tuple(more.streaming) == (0, 0, 0)


def test_the_price_of_short_inputs_and_that_of_streaming_are_told_apart(setup):
    """Every window but those of 30 s loses its last word: that is the short inputs' fault."""
    figures = measure([recording(WORDS, said=text(WORDS))], setup(TimedTones(deaf_below_s=30)), PLAIN).figures

    assert figures.accuracy.short == pytest.approx(100 * 3 / 24)
    assert figures.accuracy.full == 0
    assert figures.accuracy.shortness.difference == pytest.approx(100 * 3 / 24)
    assert figures.accuracy.streaming.difference == pytest.approx(0)


def test_without_a_truth_the_text_heard_with_30_s_is_the_yardstick(setup):
    measured = measure([recording(WORDS)], setup(TimedTones(deaf_below_s=30)), PLAIN)
    [texts] = measured.texts

    assert (measured.figures.accuracy.truth, measured.figures.accuracy.full) == (False, 0)
    assert measured.figures.accuracy.streamed == pytest.approx(100 * 3 / 24)
    assert (texts.truth, texts.full) == (None, text(WORDS))


def test_lags_are_counted_from_the_truths_own_times_if_it_has_them(setup):
    """Times that lie half a second early make every lag half a second longer."""
    lead = round(1.2 * SAMPLE_RATE)
    times = tone_word_times(WORDS[0], lead=lead - SAMPLE_RATE // 2)
    words = tuple(
        TimedWord(word, start / SAMPLE_RATE, end / SAMPLE_RATE)
        for word, (start, end) in zip(text(WORDS[:1]).split(), times, strict=True)
    )
    plain = recording(WORDS[:1])
    early = Recording("x", plain.pcm, Truth(text=text(WORDS[:1]), words=words, language="en"))
    without, given = (measure([talk], setup(TimedTones()), PLAIN).figures.lag for talk in (plain, early))

    assert (without.true_times, given.true_times) == (False, True)
    assert given.shown[0] == pytest.approx(without.shown[0] + 0.5, abs=0.02)
    assert given.words == without.words == 8
    assert without.broken_promises == 0
    assert without.shown[0] < without.stable[0]
    assert without.final == given.final
    assert 0.5 < without.final[0] < 0.6  # half a second of silence ends an utterance


def test_the_cost_of_a_stream_is_the_engines_time_over_the_audios(setup):
    engine = TimedTones(0.05)
    talk = recording(WORDS)
    speed = measure([talk], setup(engine), PLAIN).figures.speed

    assert speed.audio_s == pytest.approx(talk.seconds + 1)
    assert speed.engine == pytest.approx(speed.stages["encode"])
    assert speed.windows * speed.audio_s == round(speed.windows * speed.audio_s) > 10
    assert 0 < speed.engine < 1


def test_everything_asked_for_is_measured_and_told_as_it_comes(setup, phases, monkeypatch):
    monkeypatch.setattr("streamasr.bench.capacity.LEAST_S", 3.0)
    monkeypatch.setattr("streamasr.bench.capacity.IN_ALL_S", 3.0)
    monkeypatch.setattr("streamasr.bench.capacity.MOST", 2)
    talks = [recording(WORDS, f"{n}.wav", said=text(WORDS)) for n in range(2)]
    figures = measure(talks, setup(TimedTones()), Plan(streams=True, floors_s=(2.0,), margins_s=(0.0,))).figures

    assert [name for name, _, _ in phases] == [
        "without streaming",
        "streaming",
        "several streams at a time",
        "short windows",
    ]
    for _, total, told in phases[:2] + phases[3:]:
        assert sum(told) == pytest.approx(total, rel=0.2)
    assert (figures.recordings, figures.languages) == (2, {"en": 2})
    assert figures.capacity.streams == 2
    assert figures.sweep.words == 48


def test_silence_is_measured_without_a_word(setup):
    silence = Recording("x", np.zeros(3 * SAMPLE_RATE, np.int16), None)
    figures = measure([silence], setup(TimedTones()), Plan(streams=True, floors_s=(2.0,), margins_s=(0.0,))).figures

    assert figures.accuracy.words == 0
    assert math.isnan(figures.accuracy.streamed)
    assert math.isnan(figures.lag.shown[0])
    assert (figures.capacity, figures.sweep) == (None, None)
