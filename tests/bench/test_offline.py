"""Utterances as the gate finds them, each heard in one window, and words placed in time."""

from itertools import pairwise

import numpy as np
import pytest
from measuring import POLICY, TimedTones, recording, text, utterances_of

from streamasr.bench.meter import Meter
from streamasr.bench.offline import FULL, LONGEST, Heard, Listener, Span, text_of, timed_truth, utterances, within
from streamasr.bench.recordings import Recording
from streamasr.bench.scoring import TimedWord
from streamasr.bench.truth import Truth
from streamasr.core.events import SAMPLE_RATE
from streamasr.core.options import SessionOptions
from streamasr.inference.fake import ToneVad

WORDS = utterances_of(3)


def heard_in(talk, engine=None):
    engine = engine or TimedTones()
    listener = Listener(Meter(engine, POLICY, engine.clock, engine.stages), POLICY)
    spans = utterances(talk, ToneVad(), POLICY, 500)
    return spans, [listener.hear(talk, SessionOptions(), span, FULL) for span in spans]


def test_each_utterance_is_one_window_and_nothing_is_lost():
    talk = recording(WORDS)
    spans, heard = heard_in(talk)

    assert len(spans) == 3
    assert text_of(heard) == text(WORDS)
    assert [h.seconds for h in heard] == pytest.approx([0.6] * 3)


def test_speech_to_the_very_end_is_an_utterance_too():
    talk = recording(WORDS)
    cut = Recording("talk.wav", talk.pcm[: -round(1.2 * SAMPLE_RATE)], None)

    assert text_of(heard_in(cut)[1]) == text(WORDS)


def test_long_speech_is_cut_in_silence_into_windows_that_fit():
    ids = [n % 64 for n in range(150)]
    talk = recording([ids])
    spans, heard = heard_in(talk)

    assert len(spans) > 1
    assert max(span.end - span.start for span in spans) <= LONGEST
    assert text_of(heard) == text([ids])


def test_silence_has_no_utterances():
    assert utterances(Recording("x", np.zeros(16_000, np.int16), None), ToneVad(), POLICY, 500) == []


def test_the_truths_own_times_are_taken_where_it_has_them():
    words = (TimedWord("Two words", 1.0, 2.0),)
    talk = Recording("x", np.zeros(48_000, np.int16), Truth(text="Two words", words=words))

    assert timed_truth(talk, [], "en") == [TimedWord("two", 1.0, 2.0), TimedWord("words", 1.0, 2.0)]


def test_a_truth_without_times_gets_those_of_the_words_that_were_heard():
    def heard(*words):
        return Heard(tuple(TimedWord(*w) for w in words), "en", 0.1, None, 1.0, 3.0, 0.0)

    talk = Recording("x", np.zeros(80_000, np.int16), Truth(text="One two three, four five"))
    placed = timed_truth(talk, [heard((" one", 1.0, 1.5), (" tree", 2.5, 3.0), (".", 3.0, 3.0))], "en")

    assert [word.text for word in placed] == ["one", "two", "three", "four", "five"]
    assert placed[0] == TimedWord("one", 1.0, 1.5)
    assert all(a.end <= b.start + 1e-9 for a, b in pairwise(placed))
    assert within(placed, Span(0, 24_000)) == ["one"]


def test_without_a_truth_what_was_heard_stands_in_for_it():
    talk = recording(WORDS)
    spans, heard = heard_in(talk)
    words = timed_truth(talk, heard, "en")

    assert within(words, spans[1]) == text(WORDS[1:2]).split()
