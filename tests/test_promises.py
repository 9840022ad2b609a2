"""The promises of the whole path on speech that can be counted: no word lost, doubled, out of order or leaked.

Words are tones in the audio itself, heard by the tone-code engine, whose answers come late, out of order, or not at
all for a partial that is superseded. ``Play`` checks the protocol's order and the stable text in every event.
"""

import numpy as np
import pytest
from driving import AT_ONCE, RATE, Play, Speech, random_speech

from streamasr.bench.simulated import Simulation, Stream
from streamasr.core.events import Final, Flushed, Partial, SpeechEnded, SpeechStarted, Warned
from streamasr.core.options import ResumePoint, SessionOptions
from streamasr.core.policy import Policy
from streamasr.errors import WindowFailed
from streamasr.inference.fake import ToneCodeEngine, ToneVad

SHORT = (1_600, 4_800, 8_000, 16_000)
UNBROKEN = (1_000,)
LONG = (1_600, 32_000, 64_000, 144_000)
EDGE = 80
"""A tone word that lacks less than this (5 ms) at an edge is heard all the same."""


def late(rng):
    """Answers take 10 ms to 1.5 s, so that they overtake each other; some partials are superseded."""
    return {
        "delay": lambda _: int(rng.choice([160, 800, 4_000, 12_000, 24_000])),
        "superseded": lambda _: bool(rng.integers(2)),
    }


def check_words(play: Play, speech: Speech, cuts=(), end=None) -> None:
    """Every word is there once, in order, in time; one that a cut falls into may be missing."""
    end = speech.samples if end is None else end
    cuts = [*cuts, end]
    said = [(int(word.text[1:]), word.start, word.end) for final in play.of(Final) for word in final.words]
    spoken = [word for word in speech.words if word[1] < end]
    at = 0
    for number, start, stop in spoken:
        if at < len(said) and said[at][0] == number and abs(said[at][1] - start) <= RATE // 20:
            assert abs(said[at][2] - stop) <= RATE // 20
            at += 1
        else:
            split = [cut for cut in cuts if start - EDGE < cut < stop + EDGE]
            assert split, f"word {number} at {start / RATE:.2f} s is not in {said[at : at + 3]} of {play.text}"
    assert at == len(said), f"{said[at:]} was not spoken"
    assert play._engine.prefix_mismatches == 0
    assert not play.of(Warned)


def stop_at_random(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pauses = [SHORT, UNBROKEN, LONG][int(rng.integers(3))]
    speech = random_speech(rng, float(rng.choice([3, 8, 20])), pauses)
    end = int(rng.integers(1, speech.samples))
    options = SessionOptions(
        endpointing_ms=int(rng.choice([0, 300, 500, 3_000, 10_000])),
        preflight=bool(rng.integers(2)),
        interim_results=bool(rng.integers(4)),
    )
    play = Play(options=options, **late(rng))
    play.hear(speech.audio[:end], chunk=int(rng.choice([100, 320, 640, 5_000, AT_ONCE]))).stop()
    check_words(play, speech, end=end)


@pytest.mark.parametrize("seed", range(20))
def test_the_last_words_before_a_stop_at_any_moment_are_not_lost(seed):
    stop_at_random(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20, 1_020))
def test_a_thousand_stops_at_random_moments_lose_and_double_nothing(seed):
    stop_at_random(seed)


def flush_at_random(seed: int) -> None:
    rng = np.random.default_rng(seed)
    speech = random_speech(rng, 15, [SHORT, UNBROKEN, LONG][int(rng.integers(3))])
    cuts = sorted(int(cut) for cut in rng.integers(0, speech.samples, int(rng.integers(1, 6))))
    play = Play(options=SessionOptions(preflight=True), **late(rng))
    chunk, at = int(rng.choice([320, 640, AT_ONCE])), 0
    for cut in cuts:
        play.hear(speech.audio[at:cut], chunk).flush(cut)
        at = cut
    play.hear(speech.audio[at:], chunk).stop()

    check_words(play, speech, cuts)
    assert [flushed.id for flushed in play.of(Flushed)] == cuts
    for flushed in play.of(Flushed):  # what was spoken before it has its final before it
        place = play.events.index(flushed)
        final = sum(len(e.words) for e in play.events[:place] if isinstance(e, Final))
        assert final >= sum(end + EDGE <= flushed.id for _, _, end in speech.words) - len(cuts)


@pytest.mark.parametrize("seed", range(20))
def test_flushes_at_any_moment_lose_only_words_that_they_cut(seed):
    flush_at_random(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20, 320))
def test_hundreds_of_sessions_with_random_flushes(seed):
    flush_at_random(seed)


@pytest.mark.parametrize("chunk", [640, AT_ONCE], ids=["real time", "all at once"])
def test_minutes_without_a_pause_are_cut_between_words_and_lose_none(chunk):
    """No pause reaches the endpoint; each utterance begins at the sample at which the one before ended."""
    rng = np.random.default_rng(7)
    speech = random_speech(rng, 180, UNBROKEN)
    play = Play(**late(rng)).hear(speech.audio, chunk).wait().stop()

    check_words(play, speech)
    finals = play.of(Final)
    assert len(finals) >= 3
    assert all(final.end - final.start <= 60 * RATE for final in finals)
    assert [final.reason for final in finals[:-1]] == ["max_length"] * (len(finals) - 1)
    assert [final.start for final in finals[1:]] == [final.end for final in finals[:-1]]


def test_every_word_becomes_stable_soon_though_nobody_pauses():
    """After its first seconds the stable text is never far behind the audio."""
    speech = random_speech(np.random.default_rng(1), 30, UNBROKEN)
    play = Play()
    lags = []
    for at in range(0, len(speech.audio), 3_200):
        play.hear(speech.audio[at : at + 3_200])
        partials = play.of(Partial)
        if at > 3 * RATE:
            lags.append(play.now - partials[-1].words[-1].end)
    assert max(lags) < 1.6 * RATE
    assert np.mean(lags) < 1.1 * RATE


@pytest.mark.parametrize("chunk", [640, AT_ONCE], ids=["real time", "all at once"])
@pytest.mark.parametrize("hum_s", [5, 20, 40])
def test_hum_between_words_takes_none_of_them_with_it(hum_s, chunk):
    """A tone that the gate takes for speech ends an utterance without words; words right after it are heard."""
    hum = (0.1 * np.sin(2 * np.pi * 333 * np.arange(hum_s * RATE) / RATE)).astype(np.float32)
    speech = Speech().say([1, 2, 3, 4, 5], then=1_280)
    speech.parts.append(hum)
    speech.samples += len(hum)
    speech.say([], then=1_280).say([6, 7, 8, 9, 10, 11, 12], then=1_000)
    play = Play().hear(speech.audio, chunk).wait().stop()

    check_words(play, speech)
    if hum_s > 10:
        assert len(play.of(Final)) > 1
        assert max(final.end - final.start for final in play.of(Final)) < 20 * RATE


def test_a_long_silence_inside_an_utterance_is_not_speech_without_words():
    """With endpointing at 10 s, words 9 s apart are one utterance."""
    speech = Speech().say([1, 2, 3], then=9 * RATE).say([4, 5, 6], then=11 * RATE)
    play = Play(options=SessionOptions(endpointing_ms=10_000)).hear(speech.audio).stop()

    check_words(play, speech)
    assert len(play.of(Final)) == 1


class _Flaky(ToneCodeEngine):
    """Fails some windows."""

    def __init__(self, fails) -> None:
        super().__init__()
        self._fails = fails

    def _answer(self, window):
        return WindowFailed("no") if self._fails(window) else super()._answer(window)


def test_partials_that_fail_cost_no_words():
    speech = random_speech(np.random.default_rng(3), 12, SHORT)
    engine = _Flaky(lambda window: window.kind in ("first", "partial") and window.number % 3)
    play = Play(engine).hear(speech.audio).stop()
    check_words(play, speech)


@pytest.mark.parametrize("chunk", [640, AT_ONCE], ids=["real time", "all at once"])
def test_an_engine_that_fails_every_window_ends_every_utterance_all_the_same(chunk):
    """Empty finals and a few warnings, no window asked for again and again, no more than a minute in one."""
    speech = random_speech(np.random.default_rng(4), 100, UNBROKEN)
    play = Play(_Flaky(lambda _: True)).hear(speech.audio, chunk).wait()
    assert play.session.undecoded < 12 * RATE
    play.stop()

    assert len(play.of(Final)) >= 2
    assert play.text == ""
    assert max(final.end - final.start for final in play.of(Final)) <= 61 * RATE
    assert len(play.windows) < 2.6 * 100
    assert 8 <= len(play.of(Warned)) < 20


class _Wayward(ToneCodeEngine):
    """Does not begin with what was forced."""

    def _answer(self, window):
        answer = super()._answer(window)
        forced = len(window.prefix)
        return type(answer)(
            **{**{f: getattr(answer, f) for f in answer.__struct_fields__}, "words": answer.words[forced:]}
        )


@pytest.mark.parametrize("chunk", [640, AT_ONCE], ids=["real time", "all at once"])
def test_an_engine_that_takes_back_stable_text_is_not_believed(chunk):
    """The stable text stands, the client is warned, and nothing is asked for for ever."""
    speech = random_speech(np.random.default_rng(5), 30, UNBROKEN)
    play = Play(_Wayward()).hear(speech.audio, chunk).stop()

    assert play.of(Warned)
    assert len(play.windows) < 100
    said = play.ids
    rest = iter(speech.ids)
    assert all(word in rest for word in said)
    assert said


@pytest.mark.parametrize("seed", range(20))
def test_a_session_resumed_anywhere_goes_on_as_if_nothing_had_happened(seed):
    """From the last final's token and the stable text shown since: same clock and numbers, each word once."""
    rng = np.random.default_rng(seed)
    speech = random_speech(rng, float(rng.choice([5, 15, 40])), [SHORT, UNBROKEN, LONG][int(rng.integers(3))])
    lost_at = int(rng.integers(1, speech.samples))
    options = SessionOptions(endpointing_ms=int(rng.choice([500, 3_000])))
    before = Play(options=options, **late(rng)).hear(speech.audio[:lost_at])
    point = _resume_point(before)
    after = Play(options=options, resume=point, **late(rng))
    after.hear(speech.audio[point.sample :], chunk=int(rng.choice([640, AT_ONCE]))).stop()

    assert before.ids + after.ids == speech.ids
    assert after._engine.prefix_mismatches == 0
    times = [word.start for final in after.of(Final) for word in final.words]
    truth = [start for _, start, _ in speech.words][-len(times) :] if times else []
    guessed = point.stable_end or 0  # the times of the text that was stable may be
    assert all(abs(a - b) <= RATE // 20 for a, b in zip(times, truth, strict=True) if b > guessed)


def _resume_point(play: Play) -> ResumePoint:
    last = play.of(Final)[-1] if play.of(Final) else None
    shown = [e for e in play.of(Partial) if e.words and (last is None or e.utterance > last.utterance)]
    return ResumePoint(
        sample=last.end if last else 0,
        utterance=last.utterance + 1 if last else 0,
        language="en",
        stable=shown[-1].stable if shown else "",
        stable_end=shown[-1].words[-1].end if shown else None,
    )


def test_lanes_that_share_an_engine_hear_only_their_own_words():
    """Eight lanes on one slow engine, in the batches that the batcher makes."""
    rng = np.random.default_rng(11)
    speeches = [random_speech(rng, 20, [SHORT, UNBROKEN][lane % 2]) for lane in range(8)]
    engine = ToneCodeEngine(max_batch_size=4)
    simulation = Simulation(engine, lambda: ToneVad().lane(), Policy(), cost=lambda batch: 0.02 + 0.02 * len(batch))
    streams = [
        Stream((speech.audio * 32767).astype(np.int16), begins_at=0.13 * lane) for lane, speech in enumerate(speeches)
    ]
    for speech, log in zip(speeches, simulation.run(streams), strict=True):
        finals = [said.event for said in log if isinstance(said.event, Final)]
        assert [int(w.text[1:]) for final in finals for w in final.words] == speech.ids
    assert engine.prefix_mismatches == 0
    assert len(simulation.windows) > 300


def _hold(play: Play) -> tuple[int, int]:
    """What a session holds: samples and unanswered windows."""
    buffer = play.session._buffer
    return buffer.end - buffer.start, len(play.session._sent)


@pytest.mark.parametrize("minutes", [3, pytest.param(60, marks=pytest.mark.slow)])
def test_memory_stays_small_in_endless_silence(minutes):
    play = Play()
    silence = np.zeros(10 * RATE, np.float32)
    for _ in range(6 * minutes):
        play.hear(silence)
        samples, sent = _hold(play)
        assert samples < 2 * RATE
        assert sent == 0
        assert play.session.undecoded < 512
    assert play.events == []


@pytest.mark.parametrize("minutes", [3, pytest.param(60, marks=pytest.mark.slow)])
@pytest.mark.parametrize("pauses", [SHORT, UNBROKEN], ids=["pauses", "unbroken"])
def test_memory_stays_small_in_endless_speech(minutes, pauses):
    rng = np.random.default_rng(2)
    play = Play(**late(rng))
    words = 0
    for _ in range(minutes * 2):
        speech = random_speech(rng, 30, pauses)
        words += len(speech.words)
        play.hear(speech.audio)
        samples, sent = _hold(play)
        assert samples < 15 * RATE
        assert sent < 12
        assert len(play.session._buffer._data) < 40 * RATE
    assert len(play.stop().ids) == words


def test_undecoded_grows_only_while_words_are_awaited():
    """Back pressure: a lane whose answers do not come holds more and more, one in silence holds nothing."""
    speech = random_speech(np.random.default_rng(6), 20, UNBROKEN)
    waiting = Play(delay=lambda _: 100 * RATE).hear(np.zeros(RATE, np.float32))
    assert waiting.session.undecoded < 512
    waiting.hear(speech.audio[: 10 * RATE])
    assert waiting.session.undecoded > 9 * RATE

    answered = Play().hear(speech.audio)
    assert answered.session.undecoded < RATE
    answered.hear(np.zeros(2 * RATE, np.float32))
    assert answered.session.undecoded < 512


@pytest.mark.parametrize("level", [0.01, 0.2])
def test_quiet_and_loud_words_are_the_same_words(level):
    ids = [5, 17, 60, 3, 44, 44, 8]
    speech = Speech().say(ids)
    assert Play().hear(speech.audio * np.float32(level / 0.2)).stop().ids == ids


def test_the_parts_of_an_utterance_lie_on_one_clock():
    """Starts lie a little before the first word, ends after the last, none overlap."""
    speech = random_speech(np.random.default_rng(9), 40, (16_000,))
    play = Play().hear(speech.audio).stop()
    finals = play.of(Final)
    assert len(finals) > 5
    for final in finals:
        assert final.words[0].start - final.start <= 8_000
        assert final.end - final.words[-1].end <= 8_000
    assert [e.time for e in play.of(SpeechStarted)] == [final.start for final in finals]
    assert [e.time for e in play.of(SpeechEnded)] == [final.end for final in finals]
