"""The simulated clock: real sessions, file lanes, gate, batcher and decodes, under virtual time.

A stream's audio arrives in 20 ms chunks at its own pace, a recording's as fast as it is transcribed. The engine's
real answer to a batch arrives after the time that a cost function gives it, not after the time it took; audio is
scored at once, or when a ``Front`` says. So lag and accuracy come out the same on every run and machine, and faster
than real time.
"""

import heapq
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from streamasr.core.events import SAMPLE_RATE, Event, Hypothesis, Segment, Window
from streamasr.core.filelane import FileLane, Lost
from streamasr.core.options import FileOptions, SessionOptions
from streamasr.core.policy import Policy
from streamasr.core.session import Session
from streamasr.inference.batcher import Batcher
from streamasr.inference.engine import Engine

CHUNK = SAMPLE_RATE // 50
"""Samples in one arriving chunk of audio (20 ms)."""
BLOCK = SAMPLE_RATE
"""Samples of a recording that are read at once."""
WINDOWS_AHEAD = 16
"""So many of the longest windows' audio is read ahead of what a recording has said."""


class Said(NamedTuple):
    """An event and the virtual time at which a client would have it, seconds since the stream began."""

    at: float
    event: Event


class Stream(NamedTuple):
    """One client: its audio, when it begins, what it asks for."""

    pcm: NDArray[np.int16]
    options: SessionOptions = SessionOptions()
    begins_at: float = 0.0
    flushes: tuple[int, ...] = ()
    """Samples of ``pcm``, ascending, after which the client says that speech has ended."""


class Ran(NamedTuple):
    """A batch, as it begins to run."""

    at: float
    seconds: float
    windows: list[Window]
    waited: tuple[float, ...]
    """Seconds each window had been queued."""


class Recording(NamedTuple):
    """A file that is transcribed beside the streams."""

    pcm: NDArray[np.int16]
    options: FileOptions = FileOptions()
    begins_at: float = 0.0


class Scorer(Protocol):
    """What scores a lane's frames: ``VadLane`` or a stand-in."""

    def score(self, frames: NDArray[np.float32]) -> list[float]:
        """Frames of shape (n, 512) to n speech probabilities."""


class Front(Protocol):
    """What stands between a client and the sessions: it takes audio in pieces, and takes its time."""

    chunk: int
    """Samples of a piece."""

    def scored_at(self, now: float, samples: int) -> float:
        """When a piece that arrives now has been scored; not before those that came earlier."""


class _Lane:
    """A stream being played."""

    def __init__(self, stream: Stream, session: Session, vad: Scorer) -> None:
        self.stream = stream
        self.session = session
        self.vad = vad
        self.sent = 0
        self.log: list[Said] = []

    def chunk(self, longest: int) -> int:
        """Samples of the chunk that comes next: it does not reach beyond a flush."""
        flushes, end = self.stream.flushes, len(self.stream.pcm)
        at = bisect_right(flushes, self.sent)
        return min(longest, min(end, flushes[at] if at < len(flushes) else end) - self.sent)

    def hear(self, pcm: NDArray[np.int16], end: int) -> None:
        """Let the session have a chunk that ends at sample ``end``, and what the client says then."""
        self.session.receive_audio(pcm.astype(np.float32) / np.float32(32768))
        frames = self.session.take_frames()
        if len(frames):
            self.session.receive_scores(self.vad.score(frames))
        if end in self.stream.flushes:
            self.session.flush(end)
        if end == len(self.stream.pcm):
            self.session.finish("stop")


class _Reader:
    """A recording being read."""

    def __init__(self, recording: Recording, lane: FileLane, vad: Scorer, ahead: int) -> None:
        self.recording = recording
        self.session = lane
        self.said: list[Segment | Lost] = []
        self._vad = vad
        self._ahead = ahead
        self._read = 0
        self._finished = False

    def read(self) -> None:
        """Read as far ahead as is allowed."""
        pcm = self.recording.pcm
        while self._read < len(pcm) and self.session.undecoded < self._ahead:
            block = pcm[self._read : self._read + BLOCK]
            self._read += len(block)
            self.session.receive_audio(block.astype(np.float32) / np.float32(32768))
            self.session.receive_scores(self._vad.score(self.session.take_frames()))
        if self._read == len(pcm) and not self._finished:
            self._finished = True
            self.session.finish()


class Simulation:
    """Streams, one engine, one virtual clock."""

    def __init__(
        self,
        engine: Engine,
        vad: Callable[[], Scorer],
        policy: Policy,
        cost: Callable[[Sequence[Window]], float] = lambda _: 0.0,
        *,
        keep_windows: bool = True,
        front: Front | None = None,
        on_batch: Callable[[Ran], None] = lambda _: None,
    ) -> None:
        """Set up.

        Args:
            engine: answers windows; how long it really takes does not count.
            vad: makes a scorer for a lane.
            policy: the sessions' policy.
            cost: virtual seconds that a batch takes; asked right after it was run.
            keep_windows: whether ``windows`` is filled; hours of audio would fill the memory.
            front: when streams' audio is scored; None: as soon as it arrives, in chunks of 20 ms.
            on_batch: told of every batch.
        """
        self._engine = engine
        self._vad = vad
        self._policy = policy
        self._cost = cost
        self._batcher = Batcher(engine.max_batch_size, engine.batch_key, engine.cost)
        self._agenda: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = 0
        self._busy = False
        self._lanes: dict[str, _Lane] = {}
        self._readers: dict[str, _Reader] = {}
        self.windows: list[Window] = []
        """Every window that was run."""
        self._keep_windows = keep_windows
        self._front = front
        self._on_batch = on_batch
        self._submitted: dict[tuple[str, int], float] = {}
        self.superseded = 0
        """Partials that a newer one of their lane replaced in the queue."""

    def run(self, streams: Sequence[Stream], recordings: Sequence[Recording] = ()) -> list[list[Said]]:
        """Play all streams to their end, and transcribe ``recordings`` beside them.

        Returns:
            What each stream's client was told, and when.
        """
        for number, stream in enumerate(streams):
            name = f"lane{number}"
            session = Session(name, stream.options, self._policy)
            lane = self._lanes[name] = _Lane(stream, session, self._vad())
            self._at(stream.begins_at + lane.chunk(self._chunk) / SAMPLE_RATE, self._feeder(name))
        for number, recording in enumerate(recordings):
            name = f"file{number}"
            file_lane = FileLane(name, recording.options, self._policy)
            reader = _Reader(recording, file_lane, self._vad(), WINDOWS_AHEAD * self._policy.longest_window)
            self._readers[name] = reader
            self._at(recording.begins_at, partial(self._settle, name))
        while self._agenda:
            now, _, action = heapq.heappop(self._agenda)
            action(now)
        return [lane.log for lane in self._lanes.values()]

    @property
    def transcripts(self) -> list[list[Segment | Lost]]:
        """What was said of each recording."""
        return [reader.said for reader in self._readers.values()]

    def _at(self, time: float, action: Callable[[float], None]) -> None:
        self._order += 1
        heapq.heappush(self._agenda, (time, self._order, action))

    @property
    def _chunk(self) -> int:
        return self._front.chunk if self._front else CHUNK

    def _feeder(self, name: str) -> Callable[[float], None]:
        lane = self._lanes[name]

        def feed(now: float) -> None:
            pcm = lane.stream.pcm[lane.sent : lane.sent + lane.chunk(self._chunk)]
            lane.sent += len(pcm)
            hear = partial(self._hear, name, pcm, lane.sent)
            if self._front is None:
                hear(now)
            else:
                self._at(self._front.scored_at(now, len(pcm)), hear)
            if lane.sent < len(lane.stream.pcm):
                self._at(now + lane.chunk(self._chunk) / SAMPLE_RATE, feed)

        return feed

    def _hear(self, name: str, pcm: NDArray[np.int16], end: int, now: float) -> None:
        self._lanes[name].hear(pcm, end)
        self._settle(name, now)

    def _submit(self, window: Window, now: float) -> None:
        self._submitted[window.lane, window.number] = now
        for replaced in self._batcher.submit(window, now):
            del self._submitted[replaced.lane, replaced.number]
            self.superseded += 1

    def _settle(self, name: str, now: float) -> None:
        """Pass on what a lane wants and says, and give the engine work if it is free."""
        if name in self._readers:
            self._settle_reader(self._readers[name], now)
        else:
            lane = self._lanes[name]
            for window in lane.session.windows_to_send():
                self._submit(window, now)
            lane.log += [Said(now - lane.stream.begins_at, event) for event in lane.session.events_to_send()]
        if self._busy or not (batch := self._batcher.next_batch(now)):
            return
        self._busy = True
        if self._keep_windows:
            self.windows += batch
        answers = self._engine.transcribe(batch)

        def answer(then: float) -> None:
            self._busy = False
            for window, result in zip(batch, answers, strict=True):
                session = (self._readers.get(window.lane) or self._lanes[window.lane]).session
                if isinstance(result, Hypothesis):
                    session.receive_hypothesis(result)
                else:
                    session.window_failed(window.number)
            for lane_name in dict.fromkeys(window.lane for window in batch):
                self._settle(lane_name, then)

        seconds = self._cost(batch)
        waited = tuple(now - self._submitted.pop((window.lane, window.number)) for window in batch)
        self._on_batch(Ran(now, seconds, batch, waited))
        self._at(now + seconds, answer)

    def _settle_reader(self, reader: _Reader, now: float) -> None:
        """Read on, as far as what was said has made room."""
        reader.said += reader.session.segments_to_send()
        reader.read()
        for window in reader.session.windows_to_send():
            self._submit(window, now)
