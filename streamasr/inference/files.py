"""The shell around a file lane: blocks of audio in, segments out, while one waits.

Owns the thread that reads, the windows on their way, and how far is read ahead. Knows no container and no
network: where the blocks come from is the caller's affair; how audio is cut and put together is
``core/filelane.py``'s.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import contextmanager

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamasr.core.events import SAMPLE_RATE, Segment, Window
from streamasr.core.filelane import FileLane, Lost
from streamasr.core.options import FileOptions
from streamasr.core.policy import Policy
from streamasr.errors import WindowFailed
from streamasr.inference.backend import Backend
from streamasr.inference.blocking import BlockingThread
from streamasr.inference.scorer import LaneScorer, Scorer, VadSource

__all__ = ["Lost", "Preparation", "Progress", "Transcriber"]

WINDOWS_AHEAD = 64
"""So many of the longest windows' audio is read ahead of what was said: two batches of the largest size."""

Audio = NDArray[np.float32]


class Preparation(msgspec.Struct, kw_only=True):
    """What a recording has cost outside the engine so far, seconds."""

    decode_s: float = 0.0
    """From the container to samples."""
    decode_cpu_s: float = 0.0
    gate_s: float = 0.0
    """The voice-activity model."""
    gate_cpu_s: float = 0.0
    assembly_s: float = 0.0
    """Cutting windows, putting words together."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a recording is."""

    seconds_done: float
    """Audio whose words are all known."""
    seconds_read: float
    """Audio read so far: all of it, when this stands still."""
    language: str | None
    """None until it is decided."""
    language_probability: float
    preparation: Preparation


class Transcriber:
    """Transcribes recordings, any number at a time.

    Args:
        backend: where windows go.
        scorer: the voice-activity model's thread.
        vad: the voice-activity model.
        policy: of the model that the backend runs.
        windows_ahead: how much is read ahead, in longest windows.
    """

    def __init__(
        self,
        backend: Backend,
        scorer: Scorer,
        vad: VadSource,
        policy: Policy,
        *,
        windows_ahead: int = WINDOWS_AHEAD,
    ) -> None:
        self._backend = backend
        self._scorer = scorer
        self._vad = vad
        self._policy = policy
        self._ahead = windows_ahead * self._policy.longest_window

    async def transcribe(
        self, blocks: Iterator[Audio], options: FileOptions
    ) -> AsyncGenerator[Segment | Lost | Progress, None]:
        """Transcribe a recording; segments come in order, as soon as they and all before them are known.

        Args:
            blocks: mono 16 kHz audio, shape (n,); taken on a thread of its own, as fast as the engine works.
            options: how.

        Yields:
            Segments; what was lost because the engine failed on it; progress, in between and at the end.

        Raises:
            MediaError: ``blocks`` raised it; what came before is said first. So for anything else it raises.
            Unavailable: the engine has stopped.
        """
        lane = FileLane(f"file-{secrets.token_hex(6)}", options, self._policy)
        work = _Work(self._backend, self._scorer, self._vad.lane(), lane)
        work.start(blocks, self._ahead)
        try:
            while await work.changed():
                for result in lane.segments_to_send():
                    yield result
                work.room.set()
                yield work.progress()
        finally:
            await work.close()


class _Work:
    """One recording's tasks."""

    def __init__(self, backend: Backend, scorer: Scorer, vad: LaneScorer, lane: FileLane) -> None:
        self._backend = backend
        self._scorer = scorer
        self._lane = lane
        self._preparation = Preparation()
        self._vad = _TimedLane(vad, self._preparation)
        self._thread = BlockingThread("reader")
        self._blocks: Iterator[Audio] = iter(())
        self._coming: asyncio.Future[Audio | None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._windows: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Task[None] | None = None
        """The first window's task that ended with an error that is not the window's own."""
        self._news = asyncio.Event()
        self.room = asyncio.Event()
        """To be set when results were taken: there may be room to read on."""

    def start(self, blocks: Iterator[Audio], ahead: int) -> None:
        """Begin to read, at most ``ahead`` samples further than what has been said."""
        self._blocks = blocks
        self._reading = asyncio.create_task(self._read(ahead))
        self._reading.add_done_callback(lambda _: self._news.set())

    async def changed(self) -> bool:
        """Wait until there may be more to say; False at the end. Raises what went wrong."""
        if self._reading is not None and self._reading.done() and not self._windows and not self._news.is_set():
            self._reading.result()
            return False
        await self._news.wait()
        self._news.clear()
        if self._failed is not None:
            self._failed.result()
        return True

    def progress(self) -> Progress:
        """How far it is."""
        lane = self._lane
        return Progress(
            seconds_done=lane.position / SAMPLE_RATE,
            seconds_read=lane.received / SAMPLE_RATE,
            language=lane.language,
            language_probability=lane.language_probability,
            preparation=msgspec.structs.replace(self._preparation),
        )

    async def close(self) -> None:
        """Forget everything that is on its way; the blocks are closed on their thread, when it comes to it."""
        tasks = [task for task in (self._reading, *self._windows, self._coming) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._backend.discard(self._lane.name)
        if isinstance(self._blocks, Generator):
            self._thread.call(self._blocks.close)
        self._thread.close()

    async def _read(self, ahead: int) -> None:
        """Take all blocks; what was read before one could not be is transcribed all the same."""
        try:
            await self._take_blocks(ahead)
        except Exception:
            self._end()
            raise
        self._end()

    async def _take_blocks(self, ahead: int) -> None:
        self._coming = self._next_block()
        while (block := await self._coming) is not None:
            self._coming = self._next_block()  # decoded while this one is scored
            frames = self._receive(block)
            scores = await self._scorer.score(self._vad, frames)
            with self._timed_assembly():
                self._lane.receive_scores(scores)
            self._advance()
            while self._lane.undecoded > ahead:
                self.room.clear()
                await self.room.wait()

    def _receive(self, block: Audio) -> Audio:
        with self._timed_assembly():
            self._lane.receive_audio(block)
            return self._lane.take_frames()

    def _end(self) -> None:
        with self._timed_assembly():
            self._lane.finish()
        self._advance()

    def _next_block(self) -> asyncio.Future[Audio | None]:
        return self._thread.call(self._decode)

    def _decode(self) -> Audio | None:
        """On the thread: the next block; None at the end."""
        began, cpu = time.perf_counter(), time.thread_time()
        block = next(self._blocks, None)
        self._preparation.decode_s += time.perf_counter() - began
        self._preparation.decode_cpu_s += time.thread_time() - cpu
        return block

    def _advance(self) -> None:
        """Send the windows that are wanted."""
        for window in self._lane.windows_to_send():
            task = asyncio.create_task(self._transcribe(window))
            self._windows.add(task)
            task.add_done_callback(self._answered)
        self._news.set()

    async def _transcribe(self, window: Window) -> None:
        try:
            hypothesis = await self._backend.submit(window)
        except WindowFailed:
            self._lane.window_failed(window.number)
        else:
            with self._timed_assembly():
                self._lane.receive_hypothesis(hypothesis)
        self._advance()

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._windows.discard(task)
        if not task.cancelled() and task.exception() is not None and self._failed is None:
            self._failed = task
        self._news.set()

    @contextmanager
    def _timed_assembly(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._preparation.assembly_s += time.perf_counter() - began


class _TimedLane:
    """A lane of the voice-activity model that keeps account of its time."""

    def __init__(self, lane: LaneScorer, preparation: Preparation) -> None:
        self._lane = lane
        self._preparation = preparation

    def score(self, frames: Audio) -> list[float]:
        """Speech probabilities of consecutive frames, shape (n, 512)."""
        began, cpu = time.perf_counter(), time.thread_time()
        scores = self._lane.score(frames)
        self._preparation.gate_s += time.perf_counter() - began
        self._preparation.gate_cpu_s += time.thread_time() - cpu
        return scores
