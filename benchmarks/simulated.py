"""The simulated clock: real sessions, gate, batcher and decodes, under virtual time.

Audio arrives in 20 ms chunks at its own pace; the engine's real answer to a batch arrives after the time that
a cost function gives it, not after the time it took. So lag and accuracy come out the same on every run and
machine, and faster than real time.
"""

import heapq
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from streamasr.core.events import SAMPLE_RATE, Event, Hypothesis, Window
from streamasr.core.options import SessionOptions
from streamasr.core.policy import Policy
from streamasr.core.session import Session
from streamasr.inference.batcher import Batcher
from streamasr.inference.engine import Engine

CHUNK = SAMPLE_RATE // 50
"""Samples in one arriving chunk of audio (20 ms)."""


class Said(NamedTuple):
    """An event and the virtual time at which a client would have it, seconds since the stream began."""

    at: float
    event: Event


class Stream(NamedTuple):
    """One client: its audio, when it begins, what it asks for."""

    pcm: NDArray[np.int16]
    options: SessionOptions = SessionOptions()
    begins_at: float = 0.0


class Scorer(Protocol):
    """What scores a lane's frames: ``VadLane`` or a stand-in."""

    def score(self, frames: NDArray[np.float32]) -> list[float]:
        """Frames of shape (n, 512) to n speech probabilities."""


class _Lane:
    """A stream being played."""

    def __init__(self, stream: Stream, session: Session, vad: Scorer) -> None:
        self.stream = stream
        self.session = session
        self.vad = vad
        self.sent = 0
        self.log: list[Said] = []


class Simulation:
    """Streams, one engine, one virtual clock."""

    def __init__(
        self,
        engine: Engine,
        vad: Callable[[], Scorer],
        policy: Policy,
        cost: Callable[[Sequence[Window]], float] = lambda _: 0.0,
    ) -> None:
        """Set up.

        Args:
            engine: answers windows; how long it really takes does not count.
            vad: makes a scorer for a lane.
            policy: the sessions' policy.
            cost: virtual seconds that a batch takes.
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
        self.windows: list[Window] = []
        """Every window that was run."""

    def run(self, streams: Sequence[Stream]) -> list[list[Said]]:
        """Play all streams to their end; what each client was told, and when."""
        for number, stream in enumerate(streams):
            name = f"lane{number}"
            session = Session(name, stream.options, self._policy)
            self._lanes[name] = _Lane(stream, session, self._vad())
            self._at(stream.begins_at + CHUNK / SAMPLE_RATE, self._feeder(name))
        while self._agenda:
            now, _, action = heapq.heappop(self._agenda)
            action(now)
        return [lane.log for lane in self._lanes.values()]

    def _at(self, time: float, action: Callable[[float], None]) -> None:
        self._order += 1
        heapq.heappush(self._agenda, (time, self._order, action))

    def _feeder(self, name: str) -> Callable[[float], None]:
        def feed(now: float) -> None:
            lane = self._lanes[name]
            chunk = lane.stream.pcm[lane.sent : lane.sent + CHUNK]
            lane.sent += len(chunk)
            lane.session.receive_audio(chunk.astype(np.float32) / np.float32(32768))
            frames = lane.session.take_frames()
            if len(frames):
                lane.session.receive_scores(lane.vad.score(frames))
            if lane.sent < len(lane.stream.pcm):
                self._at(now + CHUNK / SAMPLE_RATE, feed)
            else:
                lane.session.finish("stop")
            self._settle(name, now)

        return feed

    def _settle(self, name: str, now: float) -> None:
        """Pass on what a session wants and says, and give the engine work if it is free."""
        lane = self._lanes[name]
        for window in lane.session.windows_to_send():
            self._batcher.submit(window, now)
        lane.log += [Said(now - lane.stream.begins_at, event) for event in lane.session.events_to_send()]
        if self._busy or not (batch := self._batcher.next_batch(now)):
            return
        self._busy = True
        self.windows += batch
        answers = self._engine.transcribe(batch)

        def answer(then: float) -> None:
            self._busy = False
            for window, result in zip(batch, answers, strict=True):
                session = self._lanes[window.lane].session
                if isinstance(result, Hypothesis):
                    session.receive_hypothesis(result)
                else:
                    session.window_failed(window.number)
            for lane_name in dict.fromkeys(window.lane for window in batch):
                self._settle(lane_name, then)

        self._at(now + self._cost(batch), answer)
