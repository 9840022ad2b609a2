"""Frames go to one thread and come back to the lane they came from, a crowd in few hops."""

import asyncio
import threading

import numpy as np
import pytest

from streamasr.core.events import FRAME
from streamasr.errors import EngineError
from streamasr.inference.scorer import FRAMES_AT_ONCE, Scorer, _settle

PATIENCE_S = 10.0


class Lane:
    """Answers with each frame's first sample; keeps what it was given."""

    def __init__(self, log: list[tuple["Lane", int]] | None = None) -> None:
        self.log = [] if log is None else log
        self.threads: set[int] = set()

    def score(self, frames):
        self.threads.add(threading.get_ident())
        self.log.append((self, len(frames)))
        return [float(frame[0]) for frame in frames]


class HeldLane(Lane):
    """Keeps the thread busy until it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()
        self.let = threading.Event()

    def score(self, frames):
        self.begun.set()
        self.let.wait(PATIENCE_S)
        return super().score(frames)


class BrokenLane(Lane):
    def score(self, frames):
        raise RuntimeError("broken")


def frames(*values: float) -> np.ndarray:
    return np.repeat(np.array(values, np.float32)[:, None], FRAME, axis=1)


@pytest.fixture
def scorer():
    made = Scorer()
    yield made
    made.close()


async def test_scores_come_back_in_order_to_the_lane_that_asked(scorer):
    lanes = [Lane() for _ in range(5)]
    asked = [frames(*range(10 * n, 10 * n + 3)) for n in range(5)]
    answers = await asyncio.gather(*map(scorer.score, lanes, asked))

    assert answers == [[10.0 * n, 10.0 * n + 1, 10.0 * n + 2] for n in range(5)]
    assert {thread for lane in lanes for thread in lane.threads} - {threading.get_ident()} == lanes[0].threads


async def test_no_frames_need_no_hop(scorer):
    assert await scorer.score(Lane(), frames()) == []


async def test_a_long_upload_leaves_room_for_others_between_its_parts(scorer):
    """The upload's second part is begun only after the lanes that queued up during its first."""
    log: list[tuple[Lane, int]] = []
    first, upload, live = HeldLane(), Lane(log), Lane(log)
    held = asyncio.create_task(scorer.score(first, frames(0)))
    await asyncio.to_thread(first.begun.wait, PATIENCE_S)
    uploading = asyncio.create_task(scorer.score(upload, frames(*range(3 * FRAMES_AT_ONCE))))
    speaking = asyncio.create_task(scorer.score(live, frames(7)))
    await asyncio.wait((uploading, speaking), timeout=0)
    first.let.set()

    assert await uploading == list(map(float, range(3 * FRAMES_AT_ONCE)))
    assert await speaking == [7.0]
    assert await held == [0.0]
    assert log == [(upload, FRAMES_AT_ONCE), (live, 1), (upload, FRAMES_AT_ONCE), (upload, FRAMES_AT_ONCE)]


async def test_a_lane_that_fails_fails_alone(scorer, caplog):
    failing = scorer.score(BrokenLane(), frames(1))
    fine = scorer.score(Lane(), frames(2))
    broken, answer = await asyncio.gather(failing, fine, return_exceptions=True)

    assert isinstance(broken, EngineError)
    assert answer == [2.0]
    assert "broken" in caplog.text


async def test_frames_of_a_session_that_has_gone_are_not_scored(scorer):
    first, gone = HeldLane(), Lane()
    held = asyncio.create_task(scorer.score(first, frames(0)))
    await asyncio.to_thread(first.begun.wait, PATIENCE_S)
    leaving = asyncio.create_task(scorer.score(gone, frames(1)))
    await asyncio.wait((leaving,), timeout=0)
    leaving.cancel()
    first.let.set()
    await held
    assert await scorer.score(Lane(), frames(3)) == [3.0]

    assert leaving.cancelled()
    assert gone.log == []


async def test_scores_that_come_after_whoever_waited_was_cancelled_harm_nobody(scorer):
    """The answer arrives in the same turn of the event loop in which the wait is cancelled."""
    failures = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    answer: asyncio.Future[list[float]] = asyncio.get_running_loop().create_future()
    answer.cancel()

    _settle(answer, [1.0])

    assert answer.cancelled()
    assert failures == []
