"""The backend in this process: one batcher, one engine, and a thread for each batch the engine takes at once.

Owns the way of a window from the event loop to a device and of its answer back, and knows how busy the
devices are. Must not know what a window is for, nor anything of sessions.

The loop decides, the threads work: whenever a device is free and something is queued, the loop takes a batch
and hands it over. So what is queued stays open to change until the moment it runs.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import msgspec

from streamasr.core.events import Hypothesis, Window, WindowKind
from streamasr.errors import EngineError, Unavailable, WindowDiscarded, WindowFailed, WindowSuperseded
from streamasr.inference.batcher import Batcher
from streamasr.inference.engine import Engine

logger = logging.getLogger(__name__)


class BatchRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to know about one batch that has run."""

    size: int
    """Windows in it."""
    failed: int
    """Those that could not be transcribed."""
    encoder_samples: int
    """The longest window's: what every window was padded to."""
    padded_share: float
    """The share of the encoder's work that was padding to the longest window, 0 to 1."""
    queue_ages: tuple[float, ...]
    """Seconds each window had waited when the batch was formed, in the order of the batch."""
    engine_s: float
    """Seconds the engine worked, retries included."""
    ended_at: float
    """When its answers were there, by the backend's clock."""
    devices: int
    """How many batches may run at once."""
    lanes: tuple[str, ...]
    """Each window's lane, in the order of the batch."""
    kinds: tuple[WindowKind, ...]
    """What each window was for, in the order of the batch."""
    spans: tuple[tuple[int, int], ...]
    """First and last sample of each window, on its lane's clock, in the order of the batch."""
    superseded: int
    """Windows that newer ones took the place of since the batch before was told of."""


class LocalBackend:
    """A ``Backend`` (there its methods are described) whose engine runs on threads of its own.

    Args:
        engine_factory: makes the engine, loaded and warmed up; called on such a thread.
        observer: called on the event loop after every batch; must not raise.
        clock: monotonic seconds; called on the loop and on the threads.
    """

    def __init__(
        self,
        engine_factory: Callable[[], Engine],
        *,
        observer: Callable[[BatchRecord], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine_factory = engine_factory
        self._observer = observer
        self._clock = clock
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._engine: Engine | None = None
        self._batcher: Batcher | None = None  # there is one while windows are taken
        self._jobs: dict[tuple[str, int], _Job] = {}  # what is queued, by lane and number
        self._look_again = asyncio.Event()  # something was queued, or a device has become free
        self._loading: asyncio.Future[Engine] | None = None
        self._driver: asyncio.Task[None] | None = None
        self._devices = _Devices()
        self._superseded = 0  # since the observer was called last
        self._closed = False

    async def start(self) -> None:
        """Load the engine. Whatever the factory raises is raised."""
        loop = asyncio.get_running_loop()
        self._loading = loop.run_in_executor(self._threads, self._load)
        engine = await self._loading
        if self._closed:
            raise Unavailable("closed while the engine was being loaded")
        if engine.parallel > 1:
            self._threads.shutdown(wait=False)
            self._threads = ThreadPoolExecutor(engine.parallel, thread_name_prefix="engine")
        self._devices = _Devices(engine.parallel)
        self._batcher = Batcher(engine.max_batch_size, engine.batch_key, engine.cost)
        self._driver = loop.create_task(self._drive(engine, self._batcher))

    async def submit(self, window: Window) -> Hypothesis:
        """Transcribe one window. If the caller is cancelled while it is queued, it never runs."""
        batcher, key = self._batcher, (window.lane, window.number)
        if batcher is None:
            raise Unavailable("the engine is not running")
        if key in self._jobs:
            raise ValueError(f"window {window.number} of lane {window.lane} is already queued")
        now = self._clock()
        for old in batcher.submit(window, now):
            self._superseded += 1
            self._refuse(old, WindowSuperseded(f"by window {window.number}"))
        job = self._jobs[key] = _Job(window, now, asyncio.get_running_loop().create_future())
        self._look_again.set()
        try:
            return await job.answer
        finally:
            if self._jobs.get(key) is job:  # cancelled before its turn
                del self._jobs[key]
                batcher.withdraw(*key)

    def discard(self, lane: str) -> None:
        """Forget a lane's queued windows; those that run are answered all the same."""
        for window in self._batcher.discard(lane) if self._batcher else ():
            self._refuse(window, WindowDiscarded("its session is gone"))

    def headroom(self) -> float:
        """The share of the last ``_Devices.SPAN_S`` seconds in which the devices were idle."""
        return self._devices.idle_share(self._clock())

    async def close(self) -> None:
        """Discard what is queued, finish what runs, free the device. Closing again does nothing."""
        if self._closed:
            return
        self._closed = True
        self._stop(WindowDiscarded, "the backend is closing")
        try:
            if self._loading is not None:
                await asyncio.wait((self._loading,))
            if self._driver is not None:
                await self._driver
        finally:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._unload)
            self._threads.shutdown()

    async def _drive(self, engine: Engine, batcher: Batcher) -> None:
        """Keep the devices busy while there is something to do."""
        running: set[asyncio.Task[None]] = set()
        try:
            while self._batcher is not None:
                for task in [task for task in running if task.done()]:
                    running.remove(task)
                    task.result()
                now = self._clock()
                windows = batcher.next_batch(now) if len(running) < engine.parallel else []
                if windows:
                    jobs = [self._jobs.pop((window.lane, window.number)) for window in windows]
                    task = asyncio.get_running_loop().create_task(self._run(engine, jobs, now), name="batch")
                    task.add_done_callback(lambda _: self._look_again.set())
                    running.add(task)
                else:
                    self._look_again.clear()
                    await self._look_again.wait()
        except Exception:
            logger.exception("the backend has failed: it takes no more windows")
            raise
        finally:
            # After close nothing is left. Otherwise this is a bug, and nobody shall wait for ever.
            self._stop(Unavailable, "the engine has stopped")
            await asyncio.gather(*running, return_exceptions=True)

    async def _run(self, engine: Engine, jobs: Sequence["_Job"], now: float) -> None:
        """One batch on one device."""
        begun = self._devices.begin(now)
        try:
            windows = [job.window for job in jobs]
            loop = asyncio.get_running_loop()
            answers, engine_s = await loop.run_in_executor(self._threads, self._transcribe, engine, windows)
            ended = self._clock()
            self._devices.end(begun, ended)
            failed = sum([job.settle(answer) for job, answer in zip(jobs, answers, strict=True)])
            if self._observer is not None:
                run = _Run(now, ended, engine_s, failed, engine.parallel, self._superseded)
                self._superseded = 0
                self._observer(_record(jobs, run))
        finally:
            for job in jobs:
                job.settle(Unavailable("the engine has stopped"))

    def _stop(self, kind: type[EngineError], why: str) -> None:
        self._batcher = None
        for job in list(self._jobs.values()):
            self._refuse(job.window, kind(why))
        self._look_again.set()

    def _refuse(self, window: Window, reason: EngineError) -> None:
        self._jobs.pop((window.lane, window.number)).settle(reason)

    def _load(self) -> Engine:
        self._engine = self._engine_factory()
        return self._engine

    def _unload(self) -> None:
        if self._engine is not None:
            self._engine.close()

    def _transcribe(self, engine: Engine, windows: Sequence[Window]) -> tuple[list[Hypothesis | WindowFailed], float]:
        """On a thread: the answers, and the seconds they took."""
        started = self._clock()
        answers = _answers(engine, windows)
        return answers, self._clock() - started


def _answers(engine: Engine, windows: Sequence[Window]) -> list[Hypothesis | WindowFailed]:
    """One answer for each window. A batch that raises is run again one by one: a bad window fails alone."""
    try:
        return _checked(engine.transcribe(windows), len(windows))
    except Exception as error:
        logger.exception("transcribing %s failed", [f"{window.lane}#{window.number}" for window in windows])
        if len(windows) > 1:
            return [answer for window in windows for answer in _answers(engine, [window])]
        failed = WindowFailed(f"{type(error).__name__}: {error}")
        failed.__cause__ = error
        return [failed]


def _checked(answers: list[Hypothesis | WindowFailed], expected: int) -> list[Hypothesis | WindowFailed]:
    if len(answers) != expected:
        raise EngineError(f"the engine gave {len(answers)} answers for {expected} windows")
    return answers


class _Run(NamedTuple):
    """How one batch went."""

    formed_at: float
    ended_at: float
    engine_s: float
    failed: int
    devices: int
    superseded: int


def _record(jobs: Sequence["_Job"], run: _Run) -> BatchRecord:
    longest = max(job.window.encoder_samples for job in jobs)
    own = sum(job.window.encoder_samples for job in jobs)
    return BatchRecord(
        size=len(jobs),
        failed=run.failed,
        encoder_samples=longest,
        padded_share=1 - own / (longest * len(jobs)) if longest else 0.0,
        queue_ages=tuple(run.formed_at - job.submitted_at for job in jobs),
        engine_s=run.engine_s,
        ended_at=run.ended_at,
        devices=run.devices,
        lanes=tuple(job.window.lane for job in jobs),
        kinds=tuple(job.window.kind for job in jobs),
        spans=tuple((job.window.anchor, job.window.end) for job in jobs),
        superseded=run.superseded,
    )


class _Job(msgspec.Struct, frozen=True, eq=False):
    """A submitted window and where its answer goes."""

    window: Window
    submitted_at: float
    answer: asyncio.Future[Hypothesis]

    def settle(self, answer: Hypothesis | EngineError) -> bool:
        """Give the answer to whoever still waits for it; returns whether it is an error."""
        if not self.answer.done():
            if isinstance(answer, EngineError):
                self.answer.set_exception(answer)
            else:
                self.answer.set_result(answer)
        return isinstance(answer, EngineError)


class _Devices:
    """When the devices worked lately. Every time is passed in."""

    SPAN_S = 5.0

    def __init__(self, count: int = 1) -> None:
        self._count = count
        self._worked: deque[tuple[float, float]] = deque()
        self._working: dict[int, float] = {}
        self._begun = 0

    def begin(self, now: float) -> int:
        """One begins; returns what to call ``end`` with."""
        self._begun += 1
        self._working[self._begun] = now
        return self._begun

    def end(self, begun: int, now: float) -> None:
        self._worked.append((self._working.pop(begun), now))
        while self._worked[0][1] <= now - self.SPAN_S:
            self._worked.popleft()

    def idle_share(self, now: float) -> float:
        since = now - self.SPAN_S
        spans = [*self._worked, *((begin, now) for begin in self._working.values())]
        busy = sum(max(0.0, end - max(begin, since)) for begin, end in spans)
        return max(0.0, 1 - busy / (self.SPAN_S * self._count))
