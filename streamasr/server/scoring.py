"""The voice-activity model's own thread: lanes' frames in, probabilities out, never on the event loop.

Owns who is scored when. Knows nothing of the model but ``score``.
"""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from streamasr.errors import EngineError

logger = logging.getLogger(__name__)

FRAMES_AT_ONCE = 16
"""Frames of one lane scored before the other lanes have their turn: a fast upload delays nobody by more."""


class LaneScorer(Protocol):
    """One stream's place in a voice-activity model."""

    def score(self, frames: NDArray[np.float32]) -> list[float]:
        """Speech probabilities of consecutive frames, shape (n, 512)."""


class VadSource(Protocol):
    """A voice-activity model."""

    def lane(self) -> LaneScorer:
        """A fresh stream."""


class _Job(NamedTuple):
    lane: LaneScorer
    frames: NDArray[np.float32]
    answer: asyncio.Future[list[float]]


class Scorer:
    """One thread; what queues up while it works goes over together, so that a crowd costs few hops."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="vad")
        self._queued: list[_Job] = []
        self._busy = False

    async def score(self, lane: LaneScorer, frames: NDArray[np.float32]) -> list[float]:
        """Speech probabilities of a lane's next frames, shape (n, 512). One call at a time for each lane.

        Raises:
            EngineError: the model failed on them.
        """
        scores: list[float] = []
        for first in range(0, len(frames), FRAMES_AT_ONCE):
            answer: asyncio.Future[list[float]] = asyncio.get_running_loop().create_future()
            self._queued.append(_Job(lane, frames[first : first + FRAMES_AT_ONCE], answer))
            if not self._busy:
                self._hand_over()
            scores += await answer
        return scores

    def close(self) -> None:
        """End the thread; waits for what it does now (milliseconds), which still needs the event loop."""
        self._thread.shutdown()

    def _hand_over(self) -> None:
        jobs = [job for job in self._queued if not job.answer.done()]
        self._queued = []
        self._busy = bool(jobs)
        if jobs:
            loop = asyncio.get_running_loop()
            self._thread.submit(_score, jobs).add_done_callback(
                lambda done: loop.call_soon_threadsafe(self._hand_back, jobs, done.result())
            )

    def _hand_back(self, jobs: Sequence[_Job], results: Sequence[list[float] | EngineError]) -> None:
        for job, result in zip(jobs, results, strict=True):
            if job.answer.done():
                continue  # its session is gone
            if isinstance(result, EngineError):
                job.answer.set_exception(result)
            else:
                job.answer.set_result(result)
        self._hand_over()


def _score(jobs: Sequence[_Job]) -> list[list[float] | EngineError]:
    """Run on the thread. One lane's failure is its own."""
    results: list[list[float] | EngineError] = []
    for job in jobs:
        try:
            results.append(job.lane.score(job.frames))
        except Exception:
            logger.exception("the voice-activity model failed")
            results.append(EngineError("the voice-activity model failed"))
    return results
