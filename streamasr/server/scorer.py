"""The voice-activity model's own thread: lanes' frames in, probabilities out, never on the event loop.

Owns who is scored when. Knows nothing of the model but ``score``.
"""

import asyncio
import logging
from collections.abc import Sequence
from queue import SimpleQueue
from threading import Thread
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from streamasr.errors import EngineError

logger = logging.getLogger(__name__)

FRAMES_AT_ONCE = 16
"""Frames of one lane scored before the other lanes have their turn: a fast upload delays nobody by more."""
LANES_AT_ONCE = 8
"""Lanes scored before the first of them is answered."""


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
    """One thread. What queues up while it works comes back to the event loop together, so that a crowd costs little."""

    def __init__(self) -> None:
        # A bare thread and queue: a hop costs the event loop an eighth of what an executor's does.
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="vad", daemon=True)
        self._thread.start()

    async def score(self, lane: LaneScorer, frames: NDArray[np.float32]) -> list[float]:
        """Speech probabilities of a lane's next frames, shape (n, 512). One call at a time for each lane.

        Raises:
            EngineError: the model failed on them.
        """
        scores: list[float] = []
        for first in range(0, len(frames), FRAMES_AT_ONCE):
            answer: asyncio.Future[list[float]] = asyncio.get_running_loop().create_future()
            self._jobs.put(_Job(lane, frames[first : first + FRAMES_AT_ONCE], answer))
            scores += await answer
        return scores

    def close(self) -> None:
        """End the thread; waits for what it does now (milliseconds), for which the event loop must still be open."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        """On the thread: score what has queued up, hand the answers back together."""
        while jobs := self._next():
            answers = [(job, _score(job)) for job in jobs]
            jobs[0].answer.get_loop().call_soon_threadsafe(_hand_back, answers)

    def _next(self) -> list[_Job]:
        """Waits for a job and takes those that are there with it; none at the end."""
        jobs: list[_Job] = []
        while (job := self._jobs.get()) is not None:
            jobs.append(job)
            if len(jobs) == LANES_AT_ONCE or self._jobs.empty():
                return jobs
        self._jobs.put(None)  # the end is met again when these are done
        return jobs


def _score(job: _Job) -> list[float] | EngineError:
    """One lane's failure is its own; one whose session has gone is passed over."""
    if job.answer.done():
        return []
    try:
        return job.lane.score(job.frames)
    except Exception:
        logger.exception("the voice-activity model failed")
        return EngineError("the voice-activity model failed")


def _hand_back(answers: Sequence[tuple[_Job, list[float] | EngineError]]) -> None:
    for job, answer in answers:
        if job.answer.done():
            continue
        if isinstance(answer, EngineError):
            job.answer.set_exception(answer)
        else:
            job.answer.set_result(answer)
