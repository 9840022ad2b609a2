"""A recording streamed through real sessions on the simulated clock, each batch costing what it really took.

The lag is what this machine would show live, without waiting for it in real time. What it leaves out: sockets,
and the gate, the sessions and the engine taking each other's time.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamasr.bench.meter import Batch, Meter
from streamasr.bench.scoring import Shown, TimedWord, normalise
from streamasr.bench.simulated import Said, Simulation, Stream
from streamasr.core.events import FRAME, SAMPLE_RATE, Final, Partial
from streamasr.core.options import SessionOptions
from streamasr.core.policy import Policy
from streamasr.inference.scorer import LaneScorer, VadSource

TAIL_S = 1.0
"""Silence after each recording, enough for the last endpoint."""

Pcm = NDArray[np.int16]


class Played(NamedTuple):
    """What came of one recording."""

    log: tuple[Shown, ...]
    batches: tuple[Batch, ...]
    audio_s: float
    gate_s: float
    """Spent on telling speech from silence."""
    session_s: float
    """Spent on everything else but the engine."""

    @property
    def text(self) -> str:
        """The finals' texts, joined."""
        return " ".join(shown.stable for shown in self.log if shown.final and shown.stable)

    @property
    def engine_s(self) -> float:
        """Seconds that the engine worked."""
        return sum(batch.seconds for batch in self.batches)


class TimedVad:
    """A voice-activity model that is timed, and tells how far it is."""

    def __init__(self, vad: VadSource, clock: Callable[[], float], advance: Callable[[float], None]) -> None:
        self._vad = vad
        self._clock = clock
        self._advance = advance
        self.seconds = 0.0

    def lane(self) -> "TimedLane":
        """A fresh stream."""
        return TimedLane(self, self._vad.lane())

    def timed(self, lane: LaneScorer, frames: NDArray[np.float32]) -> list[float]:
        """Score, and count the time."""
        before = self._clock()
        scores = lane.score(frames)
        self.seconds += self._clock() - before
        self._advance(len(frames) * FRAME / SAMPLE_RATE)
        return scores


class TimedLane:
    """One stream of a ``TimedVad``."""

    def __init__(self, model: TimedVad, lane: LaneScorer) -> None:
        self._model = model
        self._lane = lane

    def score(self, frames: NDArray[np.float32]) -> list[float]:
        """As its lane."""
        return self._model.timed(self._lane, frames)


class Player:
    """Plays recordings, one at a time, as a microphone would."""

    def __init__(self, meter: Meter, vad: VadSource, policy: Policy, clock: Callable[[], float]) -> None:
        self._meter = meter
        self._vad = vad
        self._policy = policy
        self._clock = clock

    def play(self, pcm: Pcm, options: SessionOptions, advance: Callable[[float], None]) -> Played:
        """One recording, shape (n,), and a second of silence; ``advance`` is told the seconds done."""
        tape = np.concatenate([pcm, np.zeros(round(TAIL_S * SAMPLE_RATE), np.int16)])
        vad = TimedVad(self._vad, self._clock, advance)
        simulation = Simulation(self._meter, vad.lane, self._policy, self._meter.last_cost, keep_windows=False)
        began = self._clock()
        log = simulation.run([Stream(tape, options)])[0]
        took = self._clock() - began
        batches = self._meter.take()
        return Played(
            log=tuple(shown(log)),
            batches=batches,
            audio_s=len(tape) / SAMPLE_RATE,
            gate_s=vad.seconds,
            session_s=max(0.0, took - vad.seconds - sum(batch.seconds for batch in batches)),
        )


def shown(log: Sequence[Said]) -> Iterator[Shown]:
    """What a client would have shown."""
    for at, event in log:
        if isinstance(event, Partial):
            yield Shown(at=at, utterance=event.utterance, stable=event.stable, unstable=event.unstable)
        elif isinstance(event, Final):
            words = tuple(TimedWord(w.text, w.start / SAMPLE_RATE, w.end / SAMPLE_RATE) for w in event.words)
            yield Shown(at=at, utterance=event.utterance, stable=event.text, final=True, words=words)


def final_words(log: Sequence[Shown]) -> list[TimedWord]:
    """The words of the finals, with the times that the model gave them."""
    return [word for arrival in log if arrival.final for word in arrival.words]


def broken_promises(log: Sequence[Shown]) -> int:
    """How often stable text was changed after all. There must be none."""
    stable: dict[int, str] = {}
    broken = 0
    for arrival in log:
        broken += not arrival.stable.startswith(stable.get(arrival.utterance, ""))
        stable[arrival.utterance] = arrival.stable
    return broken


def erased_words(log: Sequence[Shown], language: str) -> int:
    """How many shown words went away again: those of each display after its common beginning with the next."""
    before: dict[int, list[str]] = {}
    erased = 0
    for arrival in log:
        words = normalise(arrival.stable + arrival.unstable, language)
        old = before.get(arrival.utterance, [])
        same = next((i for i, (a, b) in enumerate(zip(old, words, strict=False)) if a != b), min(len(old), len(words)))
        erased += len(old) - same
        before[arrival.utterance] = words
    return erased
