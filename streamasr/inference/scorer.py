"""The voice-activity model's own thread: lanes' frames in, probabilities out, never on the event loop.

Owns who is scored when. Knows nothing of the model but ``score``.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamasr.errors import EngineError

logger = logging.getLogger(__name__)

FRAMES_AT_ONCE = 16
"""Frames of one lane scored before the other lanes have their turn: a fast upload delays nobody by more."""
LANES_AT_ONCE = 8
"""Lanes scored before the first of them is answered."""
HOP_EVERY_S = 0.01
"""How often frames go to the thread at most: in a crowd a hop for each lane would cost more than the scoring."""


class LaneScorer(Protocol):
    """One stream's place in a voice-activity model."""

    def score(self, frames: NDArray[np.float32]) -> list[float]:
        """Speech probabilities of consecutive frames, shape (n, 512)."""


class VadSource(Protocol):
    """A voice-activity model."""

    def lane(self) -> LaneScorer:
        """A fresh stream."""


Done = Callable[[list[float] | EngineError], None]
"""Told, on the event loop, a lane's scores, or that the model failed on them."""


class Job:
    """Frames on their way, to be told of when they are all scored."""

    def __init__(self, lane: LaneScorer, frames: NDArray[np.float32], done: Done) -> None:
        self._loop = asyncio.get_running_loop()
        self._lane = lane
        self._frames = frames
        self._scores: list[float] = []
        self._failure: EngineError | None = None
        self._done: Done | None = done

    def cancel(self) -> None:
        """Nobody wants to know any more: what has not been scored never is."""
        self._done = None

    def score_some(self) -> bool:
        """On the thread: the next ``FRAMES_AT_ONCE``; whether that was the last. One lane's failure is its own."""
        if self._done is None:
            return True
        try:
            self._scores += self._lane.score(self._frames[:FRAMES_AT_ONCE])
        except Exception:
            logger.exception("the voice-activity model failed")
            self._failure = EngineError("the voice-activity model failed")
            return True
        self._frames = self._frames[FRAMES_AT_ONCE:]
        return not len(self._frames)

    def hand_back(self) -> None:
        """On the loop."""
        if self._done is not None:
            self._done(self._failure or self._scores)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Where it came from."""
        return self._loop


class Scorer:
    """One thread. What queues up while it works comes back to the event loop together, so that a crowd costs little."""

    def __init__(self) -> None:
        # A bare thread and queue: a hop costs the event loop an eighth of what an executor's does.
        self._jobs: SimpleQueue[list[Job] | None] = SimpleQueue()
        self._gathered: list[Job] = []
        """Those that go with the next hop."""
        self._hopped_at = float("-inf")
        self.cpu_s = 0.0
        """Seconds of CPU that the thread has used."""
        self._thread = Thread(target=self._work, name="vad", daemon=True)
        self._thread.start()

    def submit(self, lane: LaneScorer, frames: NDArray[np.float32], done: Done) -> Job:
        """Have a lane's next frames scored, shape (n, 512), n ≥ 1. One call at a time for each lane.

        ``done`` is called once, later, and must not raise.
        """
        job = Job(lane, frames, done)
        self._gathered.append(job)
        if len(self._gathered) == 1:
            now = job.loop.time()
            wait = self._hopped_at + HOP_EVERY_S - now
            if wait > 0:
                job.loop.call_later(wait, self._hop, now + wait)
            else:
                self._hop(now)
        return job

    def _hop(self, now: float) -> None:
        self._hopped_at = now
        self._jobs.put(self._gathered)
        self._gathered = []

    async def score(self, lane: LaneScorer, frames: NDArray[np.float32]) -> list[float]:
        """The same for whoever waits for it; n may be 0.

        Raises:
            EngineError: the model failed on them.
        """
        if not len(frames):
            return []
        answer: asyncio.Future[list[float]] = asyncio.get_running_loop().create_future()
        job = self.submit(lane, frames, partial(_settle, answer))
        try:
            return await answer
        finally:
            job.cancel()

    def close(self) -> None:
        """End the thread; waits for what it does now (milliseconds), for which the event loop must still be open."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        """On the thread: score what has queued up, a few frames of a few lanes at a time; hand back what is done."""
        waiting: deque[Job] = deque()
        while True:
            while not waiting or not self._jobs.empty():
                jobs = self._jobs.get()
                if jobs is None:
                    return
                waiting += jobs
            some = [waiting.popleft() for _ in range(min(LANES_AT_ONCE, len(waiting)))]
            finished = []
            for job in some:
                if job.score_some():
                    finished.append(job)
                else:
                    waiting.append(job)  # behind those who came meanwhile
            self.cpu_s = time.thread_time()
            if finished:
                finished[0].loop.call_soon_threadsafe(_hand_back, finished)


def _hand_back(jobs: Sequence[Job]) -> None:
    for job in jobs:
        job.hand_back()


def _settle(answer: asyncio.Future[list[float]], scores: list[float] | EngineError) -> None:
    if answer.done():  # whoever waited was cancelled a moment ago
        return
    if isinstance(scores, EngineError):
        answer.set_exception(scores)
    else:
        answer.set_result(scores)
