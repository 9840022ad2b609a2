"""The fakes tell the truth: a tone-coded word is heard exactly where it is, and only if it is all there."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamasr.core.audio import AudioDecoder, SampleBuffer
from streamasr.core.events import SAMPLE_RATE, Hypothesis, Window
from streamasr.core.options import AudioFormat
from streamasr.errors import WindowFailed
from streamasr.inference.fake import (
    FIRST_TOKEN,
    FixedCostEngine,
    ScriptedEngine,
    ToneCodeEngine,
    ToneVad,
    tone_probability,
    tone_word_times,
    tone_words,
)

MS = SAMPLE_RATE // 1_000
word_ids = st.lists(st.integers(0, 63), max_size=12)


def int16(samples):
    buffer = SampleBuffer()
    buffer.append(np.asarray(samples, np.float32))
    return buffer.read(0, buffer.end)


def window(samples=(), *, anchor=0, number=0, lane="a", **options):
    return Window(
        lane=lane,
        number=number,
        kind="partial",
        anchor=anchor,
        pcm=int16(samples),
        encoder_samples=len(samples),
        **options,
    )


def hear(samples, engine=None, **options):
    (hypothesis,) = (engine or ToneCodeEngine()).transcribe([window(samples, **options)])
    return hypothesis


def heard_ids(samples):
    return [word.tokens[0] - FIRST_TOKEN for word in hear(samples).words]


def mulaw_encode(samples):
    """The nearest of the decoder's 256 values, which is what an encoder comes to."""
    values = AudioDecoder(AudioFormat(encoding="mulaw")).decode(bytes(range(256)))[0]
    order = np.argsort(values, kind="stable")
    middles = (values[order][1:] + values[order][:-1]) / 2
    return order[np.searchsorted(middles, samples)].astype(np.uint8).tobytes()


def test_a_word_is_said_as_whisper_says_it():
    (word,) = hear(tone_words([7], lead=1_600, tail=1_600), anchor=32_000).words

    assert (word.text, word.tokens, word.confidence) == (" w07", (FIRST_TOKEN + 7,), 0.99)
    assert word.start == pytest.approx(32_000 + 1_600, abs=5 * MS)
    assert word.end == pytest.approx(32_000 + 1_600 + 230 * MS, abs=5 * MS)


def test_every_word_of_the_vocabulary_is_told_from_every_other():
    assert heard_ids(tone_words(range(64))) == list(range(64))


@given(ids=word_ids, gap=st.integers(60 * MS, 100 * MS), lead=st.integers(0, 8_000), cut=st.data())
@settings(max_examples=80, deadline=None)
def test_a_window_anywhere_hears_exactly_the_words_wholly_inside_it(ids, gap, lead, cut):
    audio = tone_words(ids, gap=gap, lead=lead, tail=2_000)
    start = cut.draw(st.integers(0, len(audio)))
    end = cut.draw(st.integers(start, len(audio)))
    missing = [max(0, start - a) + max(0, b - end) for a, b in tone_word_times(ids, gap=gap, lead=lead)]

    words = hear(audio[start:end], anchor=start).words

    # Whether a word that lacks between 0 and 6 ms is heard is left open; everything else is exact.
    spans = tone_word_times(ids, gap=gap, lead=lead)
    sure = [(FIRST_TOKEN + i, *span) for i, span, m in zip(ids, spans, missing, strict=True) if m == 0]
    allowed = [(FIRST_TOKEN + i, *span) for i, span, m in zip(ids, spans, missing, strict=True) if m < 6 * MS]
    got = [
        next(known for known in allowed if known[0] == w.tokens[0] and abs(known[1] - w.start) <= 8 * MS) for w in words
    ]
    assert got == sorted(set(got), key=lambda known: known[1])
    assert set(sure) <= set(got)
    for (_, begins, ends), w in zip(got, words, strict=True):
        assert abs(w.start - begins) <= 6 * MS
        assert abs(w.end - ends) <= 6 * MS


@pytest.mark.parametrize("encoding", ["pcm_s16le", "pcm_f32le", "mulaw"])
@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100, 48_000])
def test_words_survive_codecs_and_resampling_with_their_times(encoding, rate):
    ids = list(range(0, 64, 3))
    audio = tone_words(ids, lead=3_000, tail=1_600, sample_rate=rate)
    raw = {
        "pcm_s16le": lambda: int16(audio),
        "pcm_f32le": lambda: audio.astype("<f4").tobytes(),
        "mulaw": lambda: mulaw_encode(audio),
    }[encoding]()
    decoder = AudioDecoder(AudioFormat(encoding=encoding, sample_rate=rate))
    (samples,) = np.concatenate([decoder.decode(raw), decoder.finish()], axis=1)

    words = hear(samples).words

    assert [w.tokens[0] - FIRST_TOKEN for w in words] == ids
    times = np.array([(w.start, w.end) for w in words])
    assert np.abs(times - tone_word_times(ids, lead=3_000)).max() <= 5 * MS


@pytest.mark.parametrize("level", [0.01, 0.05, 0.5])
def test_words_are_heard_at_any_level_that_speech_comes_at(level):
    ids = [0, 9, 27, 63]

    assert heard_ids(tone_words(ids, tail=800, level=level)) == ids


@pytest.mark.parametrize("milliseconds", range(160, 241, 10))
def test_what_is_not_a_tone_word_is_not_heard(milliseconds):
    """Noise and hum as long as a word, for each length that words have."""
    time_s = np.arange(milliseconds * MS) / SAMPLE_RATE
    noise = np.random.default_rng(milliseconds).uniform(-0.3, 0.3, len(time_s))

    assert heard_ids(noise) == []
    for hertz in (400, 1_450, 1_575, 1_700, 3_100):
        assert heard_ids(0.3 * np.sin(2 * np.pi * hertz * time_s)) == []


def test_silence_holds_no_words_and_probably_no_speech():
    assert heard_ids(np.zeros(0)) == []
    assert hear(np.zeros(16_000)).words == ()
    assert hear(np.zeros(16_000)).no_speech_probability > 0.9


@pytest.mark.parametrize("late", [0, 100, 1_600])
def test_two_words_on_top_of_each_other_are_not_heard(late):
    """So that a leak between sessions shows as a loss."""
    first, second = tone_words([5]), tone_words([44])
    both = np.zeros(6_400)
    both[: len(first)] += first
    both[late : late + len(second)] += second

    assert heard_ids(both) == []


def test_a_word_twice_in_a_row_is_heard_twice():
    assert heard_ids(tone_words([3, 3, 3], gap=60 * MS)) == [3, 3, 3]


def test_the_hypothesis_begins_with_a_prefix_that_matches():
    engine = ToneCodeEngine()
    audio = tone_words([1, 2, 3], tail=800)

    plain = hear(audio, engine)
    forced = hear(audio, engine, prefix=(FIRST_TOKEN + 1, FIRST_TOKEN + 2))
    by_text = hear(audio, engine, prefix_text=" w01 w02")

    assert plain.words == forced.words == by_text.words
    assert engine.prefix_mismatches == 0


def test_a_prefix_the_audio_does_not_begin_with_is_said_all_the_same_and_counted():
    engine = ToneCodeEngine()
    audio = tone_words([1, 2, 3], tail=800)

    wrong = hear(audio, engine, prefix=(FIRST_TOKEN + 1, FIRST_TOKEN + 9))
    too_long = hear(audio, engine, prefix=tuple(FIRST_TOKEN + i for i in (1, 2, 3, 4)))

    assert [w.text for w in wrong.words] == [" w01", " w09", " w03"]
    assert [w.text for w in too_long.words] == [" w01", " w02", " w03", " w04"]
    assert too_long.words[3].start == too_long.words[3].end == len(audio)
    assert engine.prefix_mismatches == 2


def test_only_so_many_tokens_follow_the_prefix():
    audio = tone_words([1, 2, 3, 4], tail=800)

    words = hear(audio, prefix=(FIRST_TOKEN + 1,), max_new_tokens=2).words

    assert [w.text for w in words] == [" w01", " w02", " w03"]


def test_the_language_is_the_windows_own_or_the_likeliest():
    silence = np.zeros(160)

    assert hear(silence, language="de").language == "de"
    assert hear(silence, previous_language="es", languages=("en", "es")).language == "es"
    assert hear(silence, languages=("fr", "en")).language == "fr"
    assert hear(silence).language == "en"


def test_the_tone_vad_hears_words_and_not_the_gaps_between():
    audio = tone_words([8, 9], gap=1_536, lead=1_024, tail=2_048)
    frames = audio[: len(audio) // 512 * 512].reshape(-1, 512)
    spans = tone_word_times([8, 9], gap=1_536, lead=1_024)
    touched = [any(a < 512 * (i + 1) - 16 and b > 512 * i + 16 for a, b in spans) for i in range(len(frames))]

    scores = ToneVad().lane().score(frames)

    assert scores == [0.98 if touch else 0.02 for touch in touched]
    assert {0.98, 0.02} == set(scores)
    assert tone_probability(np.zeros((0, 512), np.float32)) == []


def test_a_script_answers_by_lane_and_number():
    said = Hypothesis(lane="a", number=1, words=(), language="en")
    engine = ScriptedEngine({("a", 1): said})

    first, second = engine.transcribe([window(number=1), window(number=2)])

    assert first is said
    assert isinstance(second, WindowFailed)
    assert [[w.number for w in batch] for batch in engine.batches] == [[1, 2]]


def test_a_script_may_be_a_function_and_may_fail_the_batch():
    engine = ScriptedEngine(lambda w: Hypothesis(lane=w.lane, number=w.number, words=(), language="tlh"))

    assert engine.transcribe([window(number=5)])[0].language == "tlh"

    def broken(_):
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError):
        ScriptedEngine(broken).transcribe([window()])


def test_a_fixed_cost_is_predicted_and_then_spent():
    spent = []
    engine = FixedCostEngine([(16_000, 0.1, 0.02), (80_000, 0.3, 0.1)], spent.append, max_batch_size=4)

    assert engine.max_batch_size == 4
    assert engine.cost(1, 16_000) == 0.1
    assert engine.cost(3, 16_001) == pytest.approx(0.5)
    assert engine.cost(1, 480_000) == 0.3

    engine.transcribe([window(np.zeros(16_000)), window(np.zeros(16_001))])

    assert spent == [pytest.approx(0.4)]


def test_the_words_of_fixed_cost_depend_only_on_the_session_clock():
    engine = FixedCostEngine([(16_000, 0.0, 0.0)], lambda seconds: None)
    early = hear(np.zeros(32_000), engine, anchor=0).words
    late = hear(np.zeros(32_000), engine, anchor=16_000).words

    assert [(w.start, w.end) for w in early] == [(6_400 * k, 6_400 * k + 4_800) for k in range(5)]
    assert [w for w in early if w.start >= 16_000] == [w for w in late if w.end <= 32_000]


def test_fakes_share_batches_as_engines_do():
    engine = ToneCodeEngine(max_batch_size=3)

    assert engine.max_batch_size == 3
    assert engine.batch_key(window()) == engine.batch_key(window(lane="b", language="de"))
    assert engine.batch_key(window()) != engine.batch_key(window(beam_size=5))
    assert 0 < engine.cost(2, 16_000) < 2 * engine.cost(1, 16_000)
    engine.close()
