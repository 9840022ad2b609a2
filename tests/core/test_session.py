"""A session with scripted hypotheses: what it says in which order, which windows it asks for, which answers count.

``Play`` checks the protocol's order and the stable text in every event. Audio is a noise where somebody speaks and
zeros elsewhere; a ``Script`` says which words are heard when.
"""

import itertools
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from driving import AT_ONCE, Play

from streamasr.core.events import (
    Final,
    Flushed,
    Hypothesis,
    Partial,
    Preflight,
    SpeechEnded,
    SpeechResumed,
    SpeechStarted,
    Warned,
    Window,
    Word,
)
from streamasr.core.options import ResumePoint, SessionOptions
from streamasr.core.policy import Policy
from streamasr.core.session import Session
from streamasr.errors import WindowFailed

S = 16_000
ONE = "one@0.6-1.0 two@1.1-1.5 three@1.6-2.0"
"""An utterance whose speech is from 0.6 to 2 s."""


def audio(*spans, seconds):
    """Noise in the spans (seconds), zeros elsewhere."""
    samples = np.zeros(round(seconds * S), np.float32)
    noise = np.random.default_rng(0).normal(0, 0.05, len(samples)).astype(np.float32)
    for start, end in spans:
        samples[round(start * S) : round(end * S)] = noise[round(start * S) : round(end * S)]
    return samples


def word(text, start_s, end_s, confidence=0.9):
    """A word whose tokens are its characters."""
    return Word(text, round(start_s * S), round(end_s * S), confidence, tuple(map(ord, text)))


def script(text, space=" "):
    """As in "one@0.6-1.0 two@1.1-1.5?0.1": words, their times, and a confidence after a question mark.

    ``space`` is what the language writes between words.
    """
    words = []
    for part in text.split():
        spelled, times = part.split("@")
        times, _, confidence = times.partition("?")
        start, end = map(float, times.split("-"))
        mark = not any(character.isalnum() for character in spelled)
        words.append(word(spelled if mark else space + spelled, start, end, float(confidence or 0.9)))
    return words


class Script:
    """An engine that hears the words that lie wholly in a window; ``twist`` may change its answers."""

    def __init__(
        self,
        text: str,
        twist: Callable[[Window, Hypothesis], Hypothesis | WindowFailed] = lambda _, answer: answer,
        languages: Callable[[Window], str] = lambda _: "en",
        space: str = " ",
    ) -> None:
        self.words = script(text, space)
        self._twist = twist
        self._languages = languages

    def transcribe(self, batch):
        return [self._answer(window) for window in batch]

    def _answer(self, window):
        forced, prefix = [], list(window.prefix)
        inside = [w for w in self.words if window.anchor <= w.start and w.end <= window.end]
        while prefix:  # the same words, forced
            forced.append(inside.pop(0))
            assert list(forced[-1].tokens) == prefix[: len(forced[-1].tokens)]
            prefix = prefix[len(forced[-1].tokens) :]
        language = window.language or self._languages(window)
        answer = Hypothesis(lane=window.lane, number=window.number, words=tuple(forced + inside), language=language)
        return self._twist(window, answer)


def kinds(play):
    return [type(event).__name__ for event in play.events]


def compact(play):
    """The events without the partials."""
    return [kind for kind in kinds(play) if kind != "Partial"]


# The order of events.


def test_an_utterance_is_started_shown_ended_and_final():
    play = Play(Script(ONE)).hear(audio((0.6, 2.0), seconds=3))

    assert compact(play) == ["SpeechStarted", "SpeechEnded", "Final"]
    assert kinds(play).count("Partial") >= 3
    started, final = play.events[0], play.events[-1]
    assert 0.6 * S - 7_200 - 512 - 160 < started.time <= 0.6 * S - 7_200 + 512
    assert (final.text, final.reason, final.language, final.utterance) == ("one two three", "endpoint", "en", 0)
    assert [w.text for w in final.words] == ["one", "two", "three"]
    assert final.end == pytest.approx(2.0 * S + 4_000, abs=1_024)  # 250 ms after the last speech


def test_the_unstable_words_are_shown_before_they_are_stable():
    partials = Play(Script(ONE)).hear(audio((0.6, 2.0), seconds=3)).of(Partial)
    assert (partials[0].stable, partials[0].unstable, partials[0].words) == ("", "one", ())
    assert ("one", " two") in [(p.stable, p.unstable) for p in partials]
    assert partials[-1].stable + partials[-1].unstable == "one two three"


def test_the_endpoint_comes_so_many_milliseconds_after_the_last_speech():
    """Below 200 counts as 200. A frame has 32 ms."""
    ended = {}
    for ms in (0, 100, 200, 500, 1_000):
        play = Play(Script(ONE), options=SessionOptions(endpointing_ms=ms))
        for chunk in np.split(audio((0.6, 2.0), seconds=4), 400):
            play.hear(chunk)
            if play.of(SpeechEnded):
                break
        ended[ms] = play.now / S - 2.0
    assert ended[0] == ended[100] == ended[200]
    assert [ended[ms] for ms in (200, 500, 1_000)] == pytest.approx([0.2, 0.5, 1.0], abs=0.05)


def test_without_interim_results_there_are_no_partials_and_the_same_final():
    options = SessionOptions(interim_results=False)
    play = Play(Script(ONE), options=options).hear(audio((0.6, 2.0), seconds=3))
    assert kinds(play) == ["SpeechStarted", "SpeechEnded", "Final"]
    assert play.text == "one two three"
    assert len(play.windows) == 1


def test_events_of_the_next_utterance_wait_for_the_final_of_the_one_before():
    """Its final takes 3 s; the next utterance is decoded meanwhile, and said after it."""
    play = Play(
        Script(ONE + " four@3.2-3.6 five@3.7-4.2"),
        delay=lambda window: 3 * S if window.kind == "final" and window.end < 3 * S else 800,
    )
    play.hear(audio((0.6, 2.0), (3.2, 4.2), seconds=4.9))
    assert compact(play) == ["SpeechStarted", "SpeechEnded"]  # and yet the second is over
    play.wait()
    assert compact(play) == ["SpeechStarted", "SpeechEnded", "Final"] * 2
    assert [final.text for final in play.of(Final)] == ["one two three", "four five"]


# Flush and stop.


def test_a_flush_in_speech_ends_the_utterance_and_the_next_begins_at_the_same_sample():
    sound = audio((0.6, 3.0), seconds=4)
    play = Play(Script(ONE + " four@2.2-2.6")).hear(sound[: round(2.05 * S)]).flush("now")
    play.wait()
    assert compact(play) == ["SpeechStarted", "SpeechEnded", "Final", "Flushed"]
    play.hear(sound[round(2.05 * S) :]).wait()

    first, second = play.of(Final)
    assert (first.text, first.reason, second.text) == ("one two three", "flush", "four")
    assert first.end == second.start == round(2.05 * S)
    assert play.of(Flushed)[0].id == "now"


def test_a_flush_when_nothing_is_open_is_answered_at_once():
    play = Play().hear(audio(seconds=0.5)).flush(7)
    assert play.events == [Flushed(7)]


def test_a_flush_waits_until_the_audio_before_it_is_scored():
    """The gate sees whole frames only; those handed out but not scored may hold speech."""
    session = Session("a", SessionOptions(), Policy())
    session.receive_audio(audio(seconds=0.1))
    frames = session.take_frames()
    session.flush(1)
    assert session.events_to_send() == []
    session.receive_scores([0.0] * len(frames))
    assert session.events_to_send() == [Flushed(1)]


def test_flushes_are_answered_in_order_each_after_its_finals():
    play = Play(Script(ONE), delay=lambda _: S).hear(audio((0.6, 2.0), seconds=2.1))
    play.flush(1).flush(2).hear(audio(seconds=2))
    assert compact(play) == ["SpeechStarted", "SpeechEnded", "Final", "Flushed", "Flushed"]
    assert [flushed.id for flushed in play.of(Flushed)] == [1, 2]


def test_a_flush_in_a_pause_takes_the_eager_final_and_waits_for_nothing():
    sound = audio((0.6, 2.0), seconds=2.4)  # 0.4 s of silence: decoded, but short of the endpoint
    play = Play(Script(ONE)).hear(sound)
    before = len(play.windows)
    play.flush()
    assert compact(play) == ["SpeechStarted", "SpeechEnded", "Final", "Flushed"]
    assert len(play.windows) == before


def test_a_stop_decodes_to_the_last_sample_received():
    """Not only to the last whole frame."""
    sound = audio((0.6, 2.0), seconds=2.0)[:-123]
    play = Play(Script(ONE.replace("2.0", "1.99"))).hear(sound).stop()
    assert play.windows[-1].end == len(sound)
    final = play.of(Final)[-1]
    assert (final.text, final.reason, final.end) == ("one two three", "stop", len(sound))


def test_a_stop_right_after_one_frame_of_speech_decodes_it():
    """Too little for the gate to begin an utterance, but it may be a word."""
    sound = audio((0.992, 1.056), seconds=1.056)  # two frames, one of them whole
    play = Play(Script("hm@1.0-1.05")).hear(sound[: round(1.05 * S)])
    assert play.events == []
    play.stop()
    assert play.text == "hm"


def test_a_stop_in_silence_says_nothing():
    assert Play().hear(audio((0.3, 0.32), seconds=2)).stop().events == []


def test_a_drain_is_a_stop_by_another_name():
    play = Play(Script(ONE)).hear(audio((0.6, 2.0), seconds=2.0))
    play.session.finish("drain")
    play.wait()
    assert play.of(Final)[0].reason == "drain"
    assert play.session.finished


def test_a_session_is_finished_when_its_last_final_is_out():
    session = Play(Script(ONE), delay=lambda _: S).hear(audio((0.6, 2.0), seconds=2.0)).session
    assert not session.finished
    session.finish("stop")
    (window,) = [w for w in session.windows_to_send() if w.kind == "final"]
    session.events_to_send()
    assert not session.finished
    session.receive_hypothesis(Script(ONE).transcribe([window])[0])
    assert not session.finished
    assert isinstance(session.events_to_send()[-1], Final)
    assert session.finished


# Eager finals.


def test_the_eager_final_is_published_at_the_endpoint_without_waiting():
    """Decoded after 160 ms of silence; no window is asked for at the endpoint."""
    play = Play(Script(ONE)).hear(audio((0.6, 2.0), seconds=2.45))
    assert play.windows[-1].kind == "final"
    asked = len(play.windows)
    assert not play.of(SpeechEnded)
    play.hear(audio(seconds=0.1))
    assert compact(play) == ["SpeechStarted", "SpeechEnded", "Final"]
    assert len(play.windows) == asked


def test_an_eager_final_still_on_its_way_at_the_endpoint_is_the_final():
    play = Play(Script(ONE), delay=lambda window: S if window.kind == "final" else 800)
    play.hear(audio((0.6, 2.0), seconds=2.6))
    assert compact(play) == ["SpeechStarted", "SpeechEnded"]
    play.hear(audio(seconds=1))
    assert play.text == "one two three"
    assert [window.kind for window in play.windows].count("final") == 1


def test_speech_that_resumes_makes_the_eager_final_a_partial():
    text = ONE + " four@2.4-2.8"
    play = Play(Script(text)).hear(audio((0.6, 2.0), (2.35, 2.8), seconds=4))
    assert compact(play) == ["SpeechStarted", "SpeechEnded", "Final"]
    assert play.text == "one two three four"
    assert [window.kind for window in play.windows].count("final") == 2


def test_a_preflight_says_what_the_final_will_say():
    play = Play(Script(ONE), options=SessionOptions(preflight=True)).hear(audio((0.6, 2.0), seconds=3))
    assert compact(play) == ["SpeechStarted", "Preflight", "SpeechEnded", "Final"]
    (preflight,), (final,) = play.of(Preflight), play.of(Final)
    assert (preflight.text, preflight.words) == (final.text, final.words)


def test_a_preflight_is_taken_back_when_speech_resumes():
    play = Play(Script(ONE + " four@2.4-2.8"), options=SessionOptions(preflight=True))
    play.hear(audio((0.6, 2.0), (2.35, 2.8), seconds=4))
    assert compact(play) == ["SpeechStarted", "Preflight", "SpeechResumed", "Preflight", "SpeechEnded", "Final"]
    assert play.of(SpeechResumed)[0].time == pytest.approx(2.35 * S, abs=512)
    assert play.of(Preflight)[-1].text == "one two three four"


def test_an_answer_to_an_eager_window_after_speech_has_resumed_announces_nothing():
    play = Play(
        Script(ONE + " four@2.4-2.8"),
        options=SessionOptions(preflight=True),
        delay=lambda window: S // 2 if window.end < 2.4 * S else 800,
    ).hear(audio((0.6, 2.0), (2.35, 2.8), seconds=4))
    assert [preflight.text for preflight in play.of(Preflight)] == ["one two three four"]


def endpoint_of(text):
    """When the utterance of ``ONE``'s length ended, seconds after its speech."""
    play = Play(Script(text))
    for chunk in np.split(audio((0.6, 2.0), seconds=4), 400):
        play.hear(chunk)
        if play.of(SpeechEnded):
            break
    return play.now / S - 2.0


def test_an_utterance_that_ends_in_doubt_waits_twice_as_long():
    """Its last word touches the end of speech with a confidence below 0.3."""
    assert endpoint_of(ONE + "?0.29") == pytest.approx(1.0, abs=0.05)
    assert endpoint_of(ONE + "?0.3") == pytest.approx(0.5, abs=0.05)
    assert endpoint_of(ONE.replace("2.0", "1.85?0.1")) == pytest.approx(0.5, abs=0.05)


# Windows that fail, are late or are superseded.


def failing(*kinds):
    return lambda window, answer: WindowFailed("no") if window.kind in kinds else answer


def test_a_final_that_fails_makes_do_with_what_was_heard_and_warns():
    play = Play(Script(ONE, failing("final"))).hear(audio((0.6, 2.0), seconds=3)).stop()
    assert compact(play) == ["SpeechStarted", "SpeechEnded", "Warned", "Final"]
    last = play.of(Partial)[-1]
    assert play.text == last.stable + last.unstable == "one two"
    assert play.of(Warned)[0].code == "window_failed"


def test_partials_that_fail_are_made_up_for_by_the_final():
    play = Play(Script(ONE, failing("first", "partial"))).hear(audio((0.6, 2.0), seconds=3)).stop()
    assert play.text == "one two three"
    assert not play.of(Warned)


def answer(session, window, text=ONE):
    session.receive_hypothesis(Script(text).transcribe([window])[0])
    return session.events_to_send()


def until(end_s):
    """A session that has received and scored ``ONE`` so far, and the windows it asked for."""
    session, windows = Session("a", SessionOptions(language="en"), Policy()), []
    for chunk in np.split(audio((0.6, 2.0), seconds=3)[: round(end_s * S)], round(end_s * 100)):
        session.receive_audio(chunk)
        frames = session.take_frames()
        session.receive_scores([0.9 if np.abs(frame).max() > 0.01 else 0.0 for frame in frames])
        windows += session.windows_to_send()
    session.events_to_send()
    return session, windows


def test_an_answer_that_a_newer_one_has_overtaken_changes_nothing():
    session, (first, second, *_) = until(1.9)
    assert answer(session, second)
    assert answer(session, first) == []
    assert answer(session, first, "nonsense@0.7-0.9") == []


def test_words_that_become_stable_make_a_window_on_its_way_one_to_be_asked_again():
    """It was sent without them as its prefix, so its answer may not begin with them."""
    session, (first, second, third) = until(1.99)
    quick = "one@0.6-0.7 two@0.75-0.85 three@0.9-1.3"
    answer(session, first, quick)
    (shown,) = answer(session, second, quick)
    assert (shown.stable, shown.unstable) == ("one two", " three")
    (again,) = session.windows_to_send()
    assert again.end >= third.end
    assert (third.prefix, again.prefix) == ((), tuple(map(ord, " one two")))


def test_a_partial_that_comes_after_its_final_changes_nothing():
    session, windows = until(2.9)
    *_, partial, eager = windows
    final = answer(session, eager)[-1]
    assert isinstance(final, Final)
    assert answer(session, partial) == []


def test_a_partial_that_comes_after_the_eager_window_was_sent_changes_nothing():
    """The eager answer must begin with the stable text, so that may not grow meanwhile."""
    session, windows = until(2.4)
    *_, partial, eager = windows
    assert (partial.kind, eager.kind) == ("first", "final")
    assert answer(session, partial) == []
    assert answer(session, eager)


def test_the_second_answer_to_one_window_changes_nothing():
    session, (_, second, *_) = until(1.9)
    assert answer(session, second)
    assert answer(session, second, "nonsense@0.7-0.9") == []


def test_windows_nobody_sent_are_ignored():
    session, _ = until(1.9)
    session.receive_hypothesis(Hypothesis(lane="a", number=99, words=(), language="en"))
    session.window_failed(99)
    assert session.events_to_send() == []


# Language.


def told(*languages):
    """An engine that tells these languages, window by window, where it is asked to."""
    rest = list(languages)

    def tell(window):
        return rest.pop(0) if len(rest) > 1 else rest[0]

    return tell


LONGER = "a@0.6-0.8 one@0.82-1.0 two@1.1-1.5 three@1.6-2.0 four@2.1-2.5 five@2.6-3.0"


def test_the_language_is_decided_with_a_second_of_speech_and_held():
    """Nothing is stable before; windows ask for it until then."""
    play = Play(Script(LONGER, languages=told("de", "de", "es", "en"))).hear(audio((0.6, 3.0), seconds=4))
    asked = [window.language for window in play.windows]
    decided = asked.index("es")
    assert asked == [None] * decided + ["es"] * (len(asked) - decided)
    assert play.windows[decided - 1].end >= 1.6 * S
    assert play.windows[decided - 2].end < 1.6 * S
    assert all(not window.prefix for window in play.windows[:decided])
    assert play.of(Final)[0].language == "es"


def test_a_shorter_utterance_has_the_language_of_its_final():
    play = Play(Script("one@0.6-1.0", languages=told("de", "es"))).hear(audio((0.6, 1.0), seconds=2))
    assert play.of(Final)[0].language == "es"
    assert [window.language for window in play.windows] == [None, None]


def test_the_next_utterance_is_decided_anew_leaning_to_the_one_before():
    script_ = Script(ONE + " four@4.0-4.5 five@4.6-5.4", languages=lambda w: "en" if w.end < 3 * S else "de")
    play = Play(script_, options=SessionOptions(languages=("en", "de"))).hear(audio((0.6, 2.0), (4, 5.4), seconds=6))
    assert [final.language for final in play.of(Final)] == ["en", "de"]
    assert {window.previous_language for window in play.windows if window.end < 3 * S} == {None}
    assert {window.previous_language for window in play.windows if window.end > 4 * S} == {"en"}
    assert {window.languages for window in play.windows} == {("en", "de")}


def test_an_utterance_without_words_says_nothing_about_the_language():
    play = Play(Script("", languages=lambda _: "de")).hear(audio((0.6, 2.0), (3.5, 5), seconds=6))
    assert {window.previous_language for window in play.windows} == {None}


def test_a_language_that_is_given_is_asked_of_every_window():
    play = Play(Script(ONE), options=SessionOptions(language="es")).hear(audio((0.6, 2.0), seconds=3))
    assert {window.language for window in play.windows} == {"es"}
    assert play.of(Final)[0].language == "es"


def test_the_open_utterance_keeps_its_language_through_an_update():
    play = Play(Script(ONE + " four@4.0-4.5"), options=SessionOptions(language="es"))
    play.hear(audio((0.6, 1.7), seconds=1.7))
    play.session.update(SessionOptions(language="de"))
    play.hear(audio((0, 0.3), (2.3, 2.8), seconds=4))
    assert [final.language for final in play.of(Final)] == ["es", "de"]


# Scripts.


def said_in(text, language, space):
    """Partials and final of words spoken from 0.6 to 3 s; joined by ``space`` their words give the text."""
    play = Play(Script(text, space=space), options=SessionOptions(language=language))
    play.hear(audio((0.6, 3.0), seconds=4))
    partials, (final,) = play.of(Partial), play.of(Final)
    assert final.language == language
    stable = [partial.stable for partial in partials]
    assert len(set(stable)) >= 4
    for before, after in itertools.pairwise([*stable, final.text]):
        assert after.startswith(before)
    for words, joined in [*((p.words, p.stable) for p in partials), (final.words, final.text)]:
        assert space.join(w.text for w in words) == joined
    return final.text, [w.text for w in final.words]


def test_words_of_a_language_without_spaces_are_joined_without_spaces():
    text, words = said_in(
        "你好@0.6-1.0 ，@1.0-1.0 世界@1.1-1.5 今天@1.6-2.0 天气@2.1-2.5 很好@2.6-3.0 。@3.0-3.0", "zh", ""
    )
    assert text == "你好，世界今天天气很好。"
    assert words == ["你好，", "世界", "今天", "天气", "很好。"]


def test_words_written_from_right_to_left_come_in_the_order_in_which_they_are_said():
    text, words = said_in(
        "مرحبا@0.6-1.0 ،@1.0-1.0 كيف@1.1-1.5 حالك@1.6-2.0 اليوم@2.1-2.5 صديقي@2.6-3.0 ؟@3.0-3.0", "ar", " "
    )
    assert text == "مرحبا، كيف حالك اليوم صديقي؟"
    assert words == ["مرحبا،", "كيف", "حالك", "اليوم", "صديقي؟"]


# Guards.


def tripping(when):
    """Hypotheses that are too repetitive to be believed."""

    def twist(window, answer):
        return msgspec.structs.replace(answer, compression_ratio=3.0) if when(window) else answer

    return twist


def test_a_partial_that_trips_a_guard_is_withheld():
    play = Play(Script(ONE, tripping(lambda w: w.kind != "final"))).hear(audio((0.6, 2.0), seconds=3))
    (partial,) = play.of(Partial)  # the eager final's
    assert partial.stable + partial.unstable == play.text == "one two three"


def test_a_final_that_trips_a_guard_is_decoded_once_more_the_expensive_way():
    play = Play(Script(ONE, tripping(lambda w: w.kind == "final" and w.beam_size == 1)))
    play.hear(audio((0.6, 2.0), seconds=3)).stop()
    assert play.text == "one two three"
    retry = play.windows[-1]
    assert (retry.beam_size, retry.encoder_samples, retry.kind) == (5, 30 * S, "final")
    assert [window.beam_size for window in play.windows].count(5) == 1


def test_a_final_that_trips_twice_is_the_stable_text():
    play = Play(Script(ONE, tripping(lambda w: w.kind == "final"))).hear(audio((0.6, 2.0), seconds=3)).stop()
    assert play.text == play.of(Partial)[-1].stable == "one"
    assert [window.beam_size for window in play.windows].count(5) == 1
    assert not play.of(Warned)


# Speech without words, and long speech.


def test_eight_seconds_of_speech_without_words_end_an_utterance_and_raise_the_threshold():
    """As music does. What was scored 0.6 is not enough to begin another one, until one has words."""
    scores = iter([0.6] * 10_000)

    class Music:
        def score(self, frames):
            return [next(scores) for _ in frames]

    play = Play(Script(""), vad=Music()).hear(audio(seconds=20))
    (final,) = play.of(Final)
    assert (final.text, final.words, final.reason) == ("", (), "endpoint")
    assert final.end == pytest.approx(8 * S, abs=S)
    assert compact(play) == ["SpeechStarted", "SpeechEnded", "Final"]


def test_words_bring_the_threshold_back():
    scores = iter([0.6] * 300 + [0.0] * 20 + [0.7] * 40 + [0.0] * 40 + [0.6] * 10_000)

    class Scores:
        def score(self, frames):
            return [next(scores) for _ in frames]

    play = Play(Script("word@10.4-10.8 more@14-14.5"), vad=Scores()).hear(audio(seconds=16)).stop()
    assert [final.text for final in play.of(Final)] == ["", "word", "more"]


@pytest.mark.parametrize("start_s", np.arange(7.5, 9.5, 0.1).round(1))
def test_a_word_that_begins_as_an_utterance_ends_without_words_is_the_next_ones(start_s):
    """The end comes wherever eight seconds are over: also inside a word."""
    play = Play(Script(f"late@{start_s}-{start_s + 0.35:.2f}")).hear(audio((0.6, 11), seconds=13))
    assert play.text == "late"


def test_one_word_in_eight_seconds_is_enough_to_go_on():
    every = " ".join(f"w{i}@{i}.0-{i}.4" for i in range(1, 30, 6))
    play = Play(Script(every)).hear(audio((0.6, 30), seconds=32))
    assert len(play.of(Final)) == 1
    assert play.text == "w1 w7 w13 w19 w25"


def unbroken(seconds, pauses=()):
    """A word every half second, with a pause of 400 ms before those that begin at ``pauses``, else 100 ms."""
    return " ".join(
        f"w{i}@{0.5 * i + (0.3 if 0.5 * i in pauses else 0):.2f}-{0.5 * i + 0.4:.2f}" for i in range(2, 2 * seconds)
    )


def test_a_long_utterance_is_cut_at_a_pause_between_stable_words():
    """At 45 s a pause of 400 ms will do; both parts together are complete, and no word is in both."""
    text = unbroken(70, pauses=(30.0, 45.0))
    play = Play(Script(text)).hear(audio((1, 70), seconds=72))
    first, second = play.of(Final)
    assert first.reason == "max_length"
    assert 44.9 * S < first.end == second.start < 45.3 * S
    after = next(i for i, window in enumerate(play.windows) if window.anchor == second.start)
    assert play.windows[after].end - play.windows[after - 1].end >= 6_400  # nothing is decoded twice for it
    assert play.text.split() == [part.split("@")[0] for part in text.split()]
    assert compact(play) == ["SpeechStarted", "SpeechEnded", "Final"] * 2


def test_without_a_pause_it_is_cut_before_a_minute_is_over():
    text = unbroken(70)
    play = Play(Script(text)).hear(audio((1, 70), seconds=72))
    first, _ = play.of(Final)
    assert 50 * S < first.end <= 60.5 * S
    assert play.text.split() == [part.split("@")[0] for part in text.split()]


def test_a_cut_takes_back_the_preflight_of_what_it_cuts():
    """The eager hypothesis makes stable a word with a pause before it: the final is shorter than announced."""
    text = unbroken(46, pauses=(45.0,))
    quiet = SessionOptions(preflight=True, endpointing_ms=1_000)
    policy = Policy(hop=10 * S)
    play = Play(Script(text), options=quiet, policy=policy).hear(audio((1, 46), (46.4, 47.5), seconds=50))
    for at, event in enumerate(play.events):
        if isinstance(event, Final):
            before = [e for e in play.events[:at] if isinstance(e, Preflight | SpeechResumed)]
            same = [e for e in before if e.utterance == event.utterance]
            assert not same or isinstance(same[-1], SpeechResumed) or same[-1].text == event.text


# Windows.


def test_windows_carry_the_options():
    options = SessionOptions(prompt="P", hotwords="H", task="translate", language="de")
    window = Play(Script(ONE), options=options).hear(audio((0.6, 2.0), seconds=3)).windows[0]
    assert (window.prompt, window.hotwords, window.task, window.language) == ("P", "H", "translate", "de")
    assert (window.lane, window.kind, window.budget_s) == ("a", "first", 0.3)


def test_windows_hold_the_samples_of_their_span():
    sound = audio((0.6, 2.0), seconds=3)
    play = Play(Script(ONE)).hear(sound)
    for window in play.windows:
        expected = np.rint(sound[window.anchor : window.end] * 32_768).astype(np.int16)
        assert window.pcm == expected.tobytes()


def test_numbers_rise_and_partials_come_once_per_hop():
    play = Play(Script(ONE)).hear(audio((0.6, 2.0), seconds=3))
    assert [window.number for window in play.windows] == list(range(1, len(play.windows) + 1))
    ends = [window.end for window in play.windows if window.kind != "final"]
    assert all(6_400 <= later - earlier < 6_400 + 2 * 640 for earlier, later in itertools.pairwise(ends))


def test_a_lane_fed_all_at_once_waits_like_a_file():
    play = Play(Script(unbroken(30))).hear(audio((1, 30), seconds=31), chunk=AT_ONCE)
    steps = play.windows[:-1]
    assert play.wait().stop().text.split()[-1] == "w59"
    assert all(window.budget_s == 5.0 for window in steps)


def test_a_long_utterance_closed_at_once_has_no_partials_after_its_end():
    play = Play(Script(unbroken(30))).hear(audio((1, 30), seconds=31), chunk=AT_ONCE).stop()
    assert play.text.split()[-1] == "w59"
    assert compact(play) == kinds(play) == ["SpeechStarted", "SpeechEnded", "Final"]


# Resuming.


def test_a_resumed_session_keeps_clock_numbers_language_and_stable_text():
    point = ResumePoint(sample=10 * S, utterance=4, language="de", stable="one two", stable_end=round(11.5 * S))
    words = " ".join(part.replace("@", "@1") for part in ONE.split()).replace("-", "-1")
    play = Play(Script(words), resume=point)
    assert (play.session.received, play.session.undecoded) == (10 * S, 0)
    play.hear(audio((0.6, 2.0), seconds=3)).stop()

    assert play.windows[0].prefix_text == "one two"
    assert play.windows[0].end >= point.stable_end
    assert play.windows[0].previous_language == "de"
    (started,), (final,) = play.of(SpeechStarted), play.of(Final)
    assert (started.utterance, final.utterance, final.text) == (4, 4, "one two three")
    assert 10 * S <= started.time < final.words[0].start == round(10.6 * S)


def test_promised_text_that_no_window_confirms_stands_all_the_same():
    """Less than it was heard before the stop."""
    point = ResumePoint(stable="one two three four", stable_end=5 * S)
    play = Play(Script("one@0.6-1.0", failing("final")), resume=point).hear(audio((0.6, 1.0), seconds=2)).stop()
    assert play.text == "one two three four"


@pytest.mark.parametrize("end_s", [None, 5.0, 30.0])
def test_more_promised_text_than_audio_is_final_within_its_utterance(end_s):
    """The times are guesses, and may guess too much."""
    point = ResumePoint(stable=" ".join(["word"] * 100), stable_end=end_s and round(end_s * S))
    play = Play(Script("more@2.1-2.5", failing("final")), resume=point).hear(audio((0.6, 3.0), seconds=4)).stop()
    assert play.text == point.stable
    (final,) = play.of(Final)
    assert all(word.end <= final.end for word in final.words)
