"""Drives sessions with no socket: answers come late, out of order or never, and every promise is checked."""

import heapq
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamasr.core.events import (
    GRID,
    Event,
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
)
from streamasr.core.language import UNSPACED
from streamasr.core.options import ResumePoint, SessionOptions
from streamasr.core.policy import Policy
from streamasr.core.session import Session
from streamasr.inference.fake import ToneCodeEngine, ToneLane, tone_word_times, tone_words

RATE = 16_000
AT_ONCE = 10**7
"""A chunk that holds all there is."""
OPTIONS, POLICY = SessionOptions(), Policy()


class Promises:
    """What the protocol promises of one lane's events, checked one by one."""

    def __init__(self, resume: ResumePoint | None = None, language: str | None = None) -> None:
        point = resume or ResumePoint()
        self.language = language
        """The one that is known beforehand: only finals say theirs."""
        self.next = point.utterance
        self.last_end = point.sample
        self.open: SpeechStarted | None = None
        self.ended: SpeechEnded | None = None
        self.stable = point.stable
        self.preflight = False

    def check(self, event: Event) -> None:
        if isinstance(event, Flushed):
            assert self.open is None, "flushed inside an utterance"
        elif isinstance(event, SpeechStarted):
            assert self.open is None, f"{event} before the final of {self.open}"
            assert event.utterance == self.next
            assert event.time >= self.last_end
            self.open, self.ended, self.preflight = event, None, False
        elif not isinstance(event, Warned):
            assert self.open is not None
            assert event.utterance == self.open.utterance
            getattr(self, f"_{type(event).__name__.lower()}")(event)

    def _partial(self, event: Partial) -> None:
        assert self.ended is None, "a partial after the end of speech"
        assert event.start == self.open.time
        assert event.stable.startswith(self.stable), f"{event.stable!r} takes back {self.stable!r}"
        joined(event.stable, event.words, self.language)
        self.stable = event.stable

    def _preflight(self, event: Preflight) -> None:
        assert self.ended is None
        assert event.text.startswith(self.stable)
        joined(event.text, event.words, self.language)
        self.preflight = True

    def _speechresumed(self, event: SpeechResumed) -> None:
        assert self.ended is None
        assert self.preflight, "nothing to take back"
        self.preflight = False

    def _speechended(self, event: SpeechEnded) -> None:
        assert self.ended is None, "ended twice"
        assert event.time >= self.open.time
        self.ended = event

    def _final(self, event: Final) -> None:
        assert self.ended is not None, "a final before the end of speech"
        assert (event.start, event.end) == (self.open.time, self.ended.time)
        assert event.text.startswith(self.stable), f"{event.text!r} takes back {self.stable!r}"
        joined(event.text, event.words, event.language)
        starts = [word.start for word in event.words]
        assert starts == sorted(starts)
        assert all(event.start - GRID <= w.start <= w.end <= event.end + GRID for w in event.words), event
        self.next, self.last_end, self.open, self.stable = event.utterance + 1, event.end, None, ""


def joined(text: str, words: Sequence[Any], language: str | None = None) -> None:
    """Words, joined as the language joins words, give the text."""
    if language not in UNSPACED:
        assert [word.text for word in words] == text.split()
    assert "".join(word.text for word in words) == "".join(text.split())


class Play:
    """One session, its audio and an engine whose answer to a window comes ``delay`` samples later.

    As in the batcher, a partial may take the place of those that wait: ``superseded`` says whether one does.
    """

    def __init__(
        self,
        engine: Any = None,
        *,
        vad: Any = None,
        options: SessionOptions = OPTIONS,
        policy: Policy = POLICY,
        resume: ResumePoint | None = None,
        delay: Callable[[Window], int] = lambda _: 800,
        superseded: Callable[[Window], bool] = lambda _: False,
    ) -> None:
        self.session = Session("a", options, policy, resume)
        self.events: list[Event] = []
        self.windows: list[Window] = []
        self.now = resume.sample if resume else 0
        """Samples heard; goes on after the last one."""
        self._engine = engine or ToneCodeEngine()
        self._vad = vad or ToneLane()
        self._delay = delay
        self._superseded = superseded
        self._promises = Promises(resume, options.language)
        self._due: list[tuple[int, int, Window]] = []

    def hear(self, samples: NDArray[np.float32], chunk: int = 640) -> "Play":
        """Audio, a chunk at a time; answers that are due come between chunks."""
        for at in range(0, len(samples), chunk):
            part = samples[at : at + chunk]
            self.session.receive_audio(part)
            self.session.receive_scores(self._vad.score(self.session.take_frames()))
            self.now += len(part)
            self._settle()
        return self

    def flush(self, id: str | int | None = None) -> "Play":  # noqa: A002
        self.session.flush(id)
        self._settle()
        return self

    def stop(self) -> "Play":
        """Stop, and wait for every answer."""
        self.session.finish("stop")
        self.wait()
        assert self.session.finished
        assert not self.of(Final) or not self._promises.open
        return self

    def wait(self) -> "Play":
        """Until every answer that will come is here."""
        self._settle()
        while self._due:
            self.now = max(self.now, self._due[0][0])
            self._settle()
        return self

    def _settle(self) -> None:
        while True:
            for window in self.session.windows_to_send():
                self._submit(window)
            for event in self.session.events_to_send():
                self._promises.check(event)
                self.events.append(event)
            if not self._due or self._due[0][0] > self.now:
                return
            window = heapq.heappop(self._due)[2]
            answer = self._engine.transcribe([window])[0]
            if isinstance(answer, Hypothesis):
                self.session.receive_hypothesis(answer)
            else:
                self.session.window_failed(window.number)

    def _submit(self, window: Window) -> None:
        self.windows.append(window)
        if window.kind in ("first", "partial"):
            gone = [w for _, _, w in self._due if w.kind in ("first", "partial") and self._superseded(w)]
            self._due = [due for due in self._due if due[2] not in gone]
            heapq.heapify(self._due)
        heapq.heappush(self._due, (self.now + self._delay(window), window.number, window))

    def of(self, kind: type) -> list[Any]:
        """The events of a type so far."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def text(self) -> str:
        """The texts of all finals."""
        return " ".join(final.text for final in self.of(Final) if final.text)

    @property
    def ids(self) -> list[int]:
        """The tone words of all finals."""
        return [int(word[1:]) for word in self.text.split()]


class Speech:
    """Tone words with their true times."""

    def __init__(self) -> None:
        self.parts: list[NDArray[np.float32]] = []
        self.words: list[tuple[int, int, int]] = []
        """(word, start, end)."""
        self.samples = 0

    def say(self, ids: Sequence[int], gap: int = 1_280, then: int = RATE) -> "Speech":
        """Words ``gap`` apart and ``then`` samples of silence."""
        audio = tone_words(ids, gap=gap, tail=then)
        times = tone_word_times(ids, gap=gap)
        self.words += [
            (n, self.samples + start, self.samples + end) for n, (start, end) in zip(ids, times, strict=True)
        ]
        self.parts.append(audio)
        self.samples += len(audio)
        return self

    @property
    def audio(self) -> NDArray[np.float32]:
        return np.concatenate([np.zeros(0, np.float32), *self.parts])

    @property
    def ids(self) -> list[int]:
        return [n for n, _, _ in self.words]


def random_speech(
    rng: np.random.Generator, seconds: float, pauses: Iterable[int] = (1_600, 4_800, 8_000, 16_000)
) -> Speech:
    """Runs of words with pauses of these lengths (samples) between them, about so long."""
    speech, pauses = Speech(), list(pauses)
    speech.say([], then=int(rng.integers(0, RATE)))
    while speech.samples < seconds * RATE:
        ids = [int(n) for n in rng.integers(0, 64, int(rng.integers(1, 12)))]
        speech.say(ids, gap=int(rng.integers(960, 1_600)), then=int(rng.choice(pauses)))
    return speech
