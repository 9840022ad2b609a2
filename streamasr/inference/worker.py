"""The backend in this process: one batcher, one engine, and the one thread the engine lives on.

Owns the way of a window from the event loop to the device and of its answer back, and knows how busy the
device is. Must not know what a window is for, nor anything of sessions.

The loop decides, the thread works: whenever the device is free and something is queued, the loop takes a
batch and hands it over. So what is queued stays open to change until the moment it runs.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from streamasr.core.events import Hypothesis, Window
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


class LocalBackend:
    """A ``Backend`` (there its methods are described) whose engine runs on a thread of its own.

    Args:
        engine_factory: makes the engine, loaded and warmed up; called on that thread.
        observer: called on the event loop after every batch; must not raise.
        clock: monotonic seconds; called on the loop and on the thread.
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
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._engine: Engine | None = None  # touched on the thread only
        self._batcher: Batcher | None = None  # there is one while windows are taken
        self._jobs: dict[tuple[str, int], _Job] = {}  # what is queued, by lane and number
        self._something_queued = asyncio.Event()
        self._driver: asyncio.Task[None] | None = None
        self._device = _Device()
        self._closed = False

    async def start(self) -> None:
        """Load the engine. Whatever the factory raises is raised."""
        loop = asyncio.get_running_loop()
        engine = await loop.run_in_executor(self._thread, self._load)
        if self._closed:
            raise Unavailable("closed while the engine was being loaded")
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
            self._refuse(old, WindowSuperseded(f"by window {window.number}"))
        job = self._jobs[key] = _Job(window, now, asyncio.get_running_loop().create_future())
        self._something_queued.set()
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
        """The share of the last ``_Device.SPAN_S`` seconds in which the device was idle."""
        return self._device.idle_share(self._clock())

    async def close(self) -> None:
        """Discard what is queued, finish what runs, free the device. Closing again does nothing."""
        if self._closed:
            return
        self._closed = True
        self._stop(WindowDiscarded, "the backend is closing")
        try:
            if self._driver is not None:
                await self._driver
        finally:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._unload)
            self._thread.shutdown()

    async def _drive(self, engine: Engine, batcher: Batcher) -> None:
        """Keep the device busy while there is something to do."""
        loop = asyncio.get_running_loop()
        jobs: list[_Job] = []
        try:
            while self._batcher is not None:
                now = self._clock()
                jobs = [self._jobs.pop((window.lane, window.number)) for window in batcher.next_batch(now)]
                if not jobs:
                    self._something_queued.clear()
                    await self._something_queued.wait()
                    continue
                self._device.begin(now)
                windows = [job.window for job in jobs]
                answers, engine_s = await loop.run_in_executor(self._thread, self._transcribe, engine, windows)
                self._device.end(self._clock())
                failed = sum([job.settle(answer) for job, answer in zip(jobs, answers, strict=True)])
                if self._observer is not None:
                    self._observer(_record(jobs, failed, now, engine_s))
        except Exception:
            logger.exception("the backend has failed: it takes no more windows")
            raise
        finally:
            # After close nothing is left. Otherwise this is a bug, and nobody shall wait for ever.
            for job in jobs:
                job.settle(Unavailable("the engine has stopped"))
            self._stop(Unavailable, "the engine has stopped")

    def _stop(self, kind: type[EngineError], why: str) -> None:
        self._batcher = None
        for job in list(self._jobs.values()):
            self._refuse(job.window, kind(why))
        self._something_queued.set()

    def _refuse(self, window: Window, reason: EngineError) -> None:
        self._jobs.pop((window.lane, window.number)).settle(reason)

    def _load(self) -> Engine:
        self._engine = self._engine_factory()
        return self._engine

    def _unload(self) -> None:
        if self._engine is not None:
            self._engine.close()

    def _transcribe(self, engine: Engine, windows: Sequence[Window]) -> tuple[list[Hypothesis | WindowFailed], float]:
        """On the thread: the answers, and the seconds they took."""
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


def _record(jobs: Sequence["_Job"], failed: int, formed_at: float, engine_s: float) -> BatchRecord:
    longest = max(job.window.encoder_samples for job in jobs)
    own = sum(job.window.encoder_samples for job in jobs)
    return BatchRecord(
        size=len(jobs),
        failed=failed,
        encoder_samples=longest,
        padded_share=1 - own / (longest * len(jobs)) if longest else 0.0,
        queue_ages=tuple(formed_at - job.submitted_at for job in jobs),
        engine_s=engine_s,
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


class _Device:
    """When the device worked lately. Every time is passed in."""

    SPAN_S = 5.0

    def __init__(self) -> None:
        self._worked: deque[tuple[float, float]] = deque()
        self._working_since: float | None = None

    def begin(self, now: float) -> None:
        self._working_since = now

    def end(self, now: float) -> None:
        if self._working_since is not None:
            self._worked.append((self._working_since, now))
        self._working_since = None
        while self._worked and self._worked[0][1] <= now - self.SPAN_S:
            self._worked.popleft()

    def idle_share(self, now: float) -> float:
        since = now - self.SPAN_S
        spans = list(self._worked)
        if self._working_since is not None:
            spans.append((self._working_since, now))
        busy = sum(max(0.0, end - max(begin, since)) for begin, end in spans)
        return max(0.0, 1 - busy / self.SPAN_S)
