"""How many live streams this machine carries: copies of the recordings on the simulated clock, really decoded.

Every trial gives the real engine, on one device, the batches that so many streams make, so that batching, guards
and retries cost what they cost here. Nothing is modelled but the clock; what that leaves out is said in
``streamed.py``.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamasr.bench.meter import Meter
from streamasr.bench.scoring import percentile, word_lags
from streamasr.bench.simulated import Simulation, Stream
from streamasr.bench.streamed import Played, final_words, shown
from streamasr.core.events import FRAME, SAMPLE_RATE
from streamasr.core.options import SessionOptions
from streamasr.core.policy import Policy
from streamasr.inference.scorer import VadSource

P95_S = 1.5
"""A number of streams is carried if the slowest twentieth of their words is shown within this."""
STAGGER_S = 2.0
"""Streams begin within this of each other."""
LEAST_S = 12.0
"""How long each stream is, in seconds …"""
IN_ALL_S = 40.0
"""… and all of them together at least."""
TAPE_S = 600.0
"""Of the recordings so much is used, in seconds."""
MOST = 256
"""More streams than this are not tried."""
CLOSE = 1.25
"""The search ends when the number that failed is at most so much larger than the one that held."""
FIRST = 1.0
"""The share of the engine's time at which the search begins, as one stream uses it."""


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """So many streams at a time."""

    streams: int
    shown_p50: float
    shown_p95: float
    """Seconds from a word's end to its display; nan if no word was shown."""
    windows_per_batch: float

    @property
    def carried(self) -> bool:
        """Whether words came in time."""
        return self.shown_p95 <= P95_S


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    streams: int
    """The most that were carried; 0: not even one."""
    at_least: bool
    """Whether more were not tried."""
    by_engine_share: float
    """What one stream's use of the engine alone would make: 1 / (engine seconds per second of audio)."""
    by_process: float
    """The most that one process can take in: the gate, or everything else on the event loop, is then always busy."""
    tried: tuple[Tried, ...]


class _Tape(NamedTuple):
    """The recordings in a row, with the score of every frame."""

    pcm: NDArray[np.int16]
    scores: list[float]


class _TapeLane:
    """A stream's place in a tape that is scored already."""

    def __init__(self, scores: Sequence[float]) -> None:
        self._scores = scores
        self._at = 0

    def score(self, frames: NDArray[np.float32]) -> list[float]:
        """The next frames' scores."""
        self._at += len(frames)
        return list(self._scores[self._at - len(frames) : self._at])


class Search:
    """Tries numbers of streams."""

    def __init__(self, meter: Meter, vad: VadSource, policy: Policy, pcms: Sequence[NDArray[np.int16]]) -> None:
        self._meter = meter
        self._policy = policy
        self._tape = _tape(pcms, vad)

    def run(
        self, played: Sequence[Played], options: SessionOptions, language: str, advance: Callable[[float], None]
    ) -> Capacity:
        """Find the most streams that are carried; ``advance`` is told of each number tried."""
        audio_s = sum(p.audio_s for p in played)
        engine = sum(p.engine_s for p in played) / audio_s
        process = max(sum(p.gate_s for p in played), sum(p.session_s for p in played)) / audio_s
        by_share, by_process = 1 / max(engine, 1e-6), 1 / max(process, 1e-6)
        most = max(1, min(MOST, int(by_process)))
        tried: list[Tried] = []
        held, failed, number = 0, most + 1, max(1, min(most, round(FIRST * by_share)))
        while failed > held + 1 and failed > CLOSE * held:
            tried.append(self._try(number, options, language))
            advance(1)
            held, failed = (number, failed) if tried[-1].carried else (held, number)
            if failed > most:
                number = min(most, max(number + 1, round(1.5 * number)))
            elif held == 0:
                number = max(1, round(number / 2))
            else:
                number = max(held + 1, min(failed - 1, round((held * failed) ** 0.5)))
        return Capacity(
            streams=held,
            at_least=held == most,
            by_engine_share=by_share,
            by_process=by_process,
            tried=tuple(tried),
        )

    def _try(self, streams: int, options: SessionOptions, language: str) -> Tried:
        frames = round(max(LEAST_S, IN_ALL_S / streams) * SAMPLE_RATE / FRAME)
        whole = len(self._tape.scores)
        lanes, plays = [], []
        for number in range(streams):
            # The golden ratio spreads beginnings evenly, however many there are.
            place, offset = (number * 0.618034) % 1, round((number * 0.618034) % 1 * whole)
            indices = np.arange(offset, offset + frames) % whole
            pcm = self._tape.pcm.reshape(whole, FRAME)[indices].reshape(-1)
            lanes.append(_TapeLane([self._tape.scores[i] for i in indices]))
            plays.append(Stream(pcm, options, begins_at=STAGGER_S * place))
        fresh = iter(lanes)
        simulation = Simulation(
            self._meter, lambda: next(fresh), self._policy, self._meter.last_cost, keep_windows=False
        )
        logs = [tuple(shown(log)) for log in simulation.run(plays)]
        batches = self._meter.take()
        lags = [lag.shown for log in logs for lag in word_lags(final_words(log), log, language)]
        p95 = percentile(lags, 95)
        return Tried(
            streams=streams,
            shown_p50=percentile(lags, 50),
            shown_p95=p95,
            windows_per_batch=sum(len(b.windows) for b in batches) / max(1, len(batches)),
        )


def _tape(pcms: Sequence[NDArray[np.int16]], vad: VadSource) -> _Tape:
    """The recordings in a row, each with a second of silence, in whole frames."""
    pieces, scores, held = [], list[float](), 0
    for pcm in pcms:
        count = min(-(-(len(pcm) + SAMPLE_RATE) // FRAME), round(TAPE_S * SAMPLE_RATE / FRAME) - held)
        if count <= 0:
            break
        padded = np.zeros(count * FRAME, np.int16)
        padded[: len(pcm)] = pcm[: len(padded)]
        lane = vad.lane()
        frames = padded.reshape(count, FRAME).astype(np.float32) / np.float32(32768)
        scores += [score for at in range(0, count, 64) for score in lane.score(frames[at : at + 64])]
        pieces.append(padded)
        held += count
    return _Tape(np.concatenate(pieces), scores)
