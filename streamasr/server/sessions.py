"""Live sessions: each client's lanes, what they wait for, and where they go on after a reconnect.

Owns every task between audio coming in and an event in the outbox, and ends them all on ``close``; and who is
present, for admission and drain. Knows no socket and no dialect; decides nothing about speech, which is
``core/session.py``'s affair.
"""

import asyncio
import logging
import secrets
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from math import gcd
from typing import Any, Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamasr.core.audio import AudioDecoder
from streamasr.core.events import SAMPLE_RATE, Event, Final, Warned, Window
from streamasr.core.options import ResumePoint, SessionOptions
from streamasr.core.policy import Policy
from streamasr.core.session import Session
from streamasr.errors import (
    EngineError,
    InvalidSetting,
    Refused,
    ResumeLost,
    WindowDiscarded,
    WindowFailed,
    WindowSuperseded,
)
from streamasr.inference.backend import Backend
from streamasr.inference.models import ModelEntry
from streamasr.ops.config import Settings
from streamasr.server.admission import admit
from streamasr.server.auth import TAIL, Signer, read_resume, resume_token
from streamasr.server.outbox import Outbox, Said
from streamasr.server.scorer import LaneScorer, Scorer, VadSource
from streamasr.wire.commands import Start

logger = logging.getLogger(__name__)

MAX_UNDECODED = 30 * SAMPLE_RATE
"""A lane with more audio than this waiting for its words takes no more: the socket is not read."""
PIECES_A_SECOND = 1 / 0.06
"""Audio is taken in pieces of 60 ms, about two frames: with 20 ms on the socket that is a third of the work, and
two frames are what a call of the voice-activity model is worth. A flush or an end waits for no piece."""


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """What all sessions share."""

    backend: Backend
    vad: VadSource
    scorer: Scorer
    signer: Signer
    model: ModelEntry
    policy: Policy


class Drainable(Protocol):
    """A connection, as the registry knows it."""

    def drain(self) -> None:
        """Finalise what was received, say it and end."""


class Registry:
    """Which connections are open, whether another may be opened, and how all of them end."""

    def __init__(self, services: Services, settings: Settings) -> None:
        self.services = services
        self.settings = settings
        self.ready = False
        self.draining = False
        self._open: set[Drainable] = set()
        self._one_ended = asyncio.Event()

    def __len__(self) -> int:
        return len(self._open)

    def refusal(self) -> Refused | None:
        """Why no session may be opened now; None if one may."""
        return admit(
            open_sessions=len(self),
            max_sessions=self.settings.max_sessions,
            ready=self.ready,
            draining=self.draining,
        )

    def not_ready(self) -> Refused | None:
        """Why the server takes no sessions at all; None if it does, be it full."""
        return admit(open_sessions=0, max_sessions=None, ready=self.ready, draining=self.draining)

    @contextmanager
    def registered(self, connection: Drainable) -> Iterator[None]:
        """Count a connection as open while the block runs."""
        self._open.add(connection)
        try:
            yield
        finally:
            self._open.discard(connection)
            self._one_ended.set()

    async def drain(self) -> None:
        """Let nobody in, have every session finalised and wait until all connections have ended."""
        self.draining = True
        for connection in list(self._open):
            connection.drain()
        await self.at_most(0)

    async def at_most(self, connections: int) -> None:
        """Return as soon as no more than so many are open."""
        while len(self) > connections:
            self._one_ended.clear()
            await self._one_ended.wait()


class _Lane:
    """One channel: its session, its place in the voice-activity model and where a reconnect would go on."""

    def __init__(self, name: str, channel: int, session: Session, vad: LaneScorer) -> None:
        self.name = name
        self.channel = channel
        self.session = session
        self.vad = vad
        self.skip = 0  # replayed samples that come before the point where this lane goes on
        self.point = ResumePoint()
        self.scoring = False

    def receive_audio(self, samples: NDArray[np.float32]) -> None:
        skipped = min(self.skip, len(samples))
        self.skip -= skipped
        if skipped < len(samples):
            self.session.receive_audio(samples[skipped:])


class LiveSession:
    """One client's session. Its events and its end go to ``outbox``; so does its failure, if it fails.

    Raises:
        InvalidSetting: the model cannot do what the start asks for.
        ResumeLost: its token is not one of ours.
    """

    def __init__(self, start: Start, services: Services, outbox: Outbox) -> None:
        check_options(start.options, services.model)
        self.id, points = secrets.token_hex(8), (ResumePoint(),) * start.format.channels
        if start.resume is not None:
            self.id, points = _resume_points(start, services.signer)
        self.audio_received, begin = replay_from(points, start.format.sample_rate)
        self._services = services
        self._outbox = outbox
        self._decoder = AudioDecoder(start.format)
        self._piece = self._decoder.bytes_per_second / PIECES_A_SECOND
        self._waiting = bytearray()
        self._ending: Literal["done", "drained"] | None = None
        self._ended = False
        self._warned_non_finite = False
        self._progress = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        # The lane's name is new for each connection: the one before may not have been noticed to be gone.
        unique = secrets.token_hex(8)
        self._lanes = [
            self._lane(f"{unique}/{channel}", channel, start.options, point) for channel, point in enumerate(points)
        ]
        for lane in self._lanes:
            lane.skip = lane.point.sample - begin
        logger.info("session %s %s at %.1f s", self.id, "goes on" if start.resume else "begins", begin / SAMPLE_RATE)

    def _lane(self, name: str, channel: int, options: SessionOptions, point: ResumePoint) -> _Lane:
        resume = None if point == ResumePoint() else point
        session = Session(name, options, self._services.policy, resume)
        lane = _Lane(name, channel, session, self._services.vad.lane())
        lane.point = point
        return lane

    @property
    def token(self) -> str:
        """With this the session goes on after the last final of every channel."""
        return resume_token(self._services.signer, self.id, [lane.point for lane in self._lanes])

    @property
    def audio_seconds(self) -> float:
        """Audio received since the session's first sample, seconds."""
        return max(lane.session.received for lane in self._lanes) / SAMPLE_RATE

    @property
    def utterances(self) -> int:
        """Utterances finalised since the session's first sample, of all channels."""
        return sum(lane.point.utterance for lane in self._lanes)

    async def receive_audio(self, data: bytes) -> None:
        """Take bytes in the format of the start; waits while a lane has too much undecoded audio.

        What comes after ``stop`` or ``drain`` is not taken.
        """
        self._waiting += data
        if len(self._waiting) < self._piece:
            return
        data, self._waiting = bytes(self._waiting), bytearray()
        second = self._decoder.bytes_per_second
        for first in range(0, len(data), second):
            while not self._ending and self._undecoded > MAX_UNDECODED:
                self._progress.clear()
                await self._progress.wait()
            if self._ending:
                return
            self._take(self._decoder.decode(memoryview(data)[first : first + second]))

    def flush(self, id: str | int | None) -> None:  # noqa: A002 - the word of the protocol
        """Finalise what was received; too late when everything is being finalised anyway."""
        if self._ending:
            return
        self._take_waiting()
        for lane in self._lanes:
            lane.session.flush(id)
            self._advance(lane)

    def update(self, options: SessionOptions) -> None:
        """Go on with these options.

        Raises:
            InvalidSetting: the model cannot do what they ask for; nothing is changed.
        """
        check_options(options, self._services.model)
        for lane in () if self._ending else self._lanes:
            lane.session.update(options)
            self._advance(lane)

    def finish(self, reason: Literal["stop", "drain"]) -> None:
        """Finalise everything; the outbox gets the end after the last final. Only the first call counts."""
        if self._ending:
            return
        self._take_waiting()
        if self._decoder.pending_bytes and reason == "stop":
            self._warn("incomplete_sample", "the audio ended in the middle of a sample, which was left out")
        self._take(self._decoder.finish())
        self._ending = "done" if reason == "stop" else "drained"
        for lane in self._lanes:
            lane.session.finish(reason)
            self._advance(lane)

    async def close(self) -> None:
        """End every task and forget the windows that wait; to be called on every way out."""
        seconds, utterances = self.audio_seconds, self.utterances
        logger.info("session %s ended at %.1f s, %d utterances", self.id, seconds, utterances)
        self._ending = self._ending or "drained"
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*list(self._tasks), return_exceptions=True)
        for lane in self._lanes:
            self._services.backend.discard(lane.name)

    @property
    def _undecoded(self) -> int:
        return max(lane.session.undecoded for lane in self._lanes)

    def _take_waiting(self) -> None:
        self._take(self._decoder.decode(bytes(self._waiting)))
        self._waiting.clear()

    def _take(self, samples: NDArray[np.float32]) -> None:
        """Samples of every channel, shape (channels, n)."""
        if self._decoder.non_finite and not self._warned_non_finite:
            self._warned_non_finite = True
            self._warn("non_finite_samples", "NaN and infinite samples count as silence (said once)")
        for lane in self._lanes:
            lane.receive_audio(samples[lane.channel])
            self._advance(lane)

    def _advance(self, lane: _Lane) -> None:
        """Hand on what a lane wants and says; called after everything that goes into it."""
        for event in lane.session.events_to_send():
            self._say(event, lane)
        for window in lane.session.windows_to_send():
            self._spawn(self._transcribe(lane, window))
        if not lane.scoring and len(frames := lane.session.take_frames()):
            lane.scoring = True
            self._spawn(self._score(lane, frames))
        self._progress.set()
        if self._ending and not self._ended and all(lane.session.finished for lane in self._lanes):
            self._ended = True
            self._outbox.end(self._ending)

    def _say(self, event: Event, lane: _Lane) -> None:
        token = None
        if isinstance(event, Final):
            tail = f"{lane.point.tail} {event.text}".strip()[-TAIL:]
            lane.point = ResumePoint(
                sample=event.end, utterance=event.utterance + 1, language=event.language or None, tail=tail
            )
            token = self.token
        self._outbox.say(Said(event, lane.channel, token))

    def _warn(self, code: str, message: str) -> None:
        self._outbox.say(Said(Warned(code, message)))

    async def _score(self, lane: _Lane, frames: NDArray[np.float32]) -> None:
        while len(frames):
            lane.session.receive_scores(await self._services.scorer.score(lane.vad, frames))
            self._advance(lane)
            frames = lane.session.take_frames()
        lane.scoring = False

    async def _transcribe(self, lane: _Lane, window: Window) -> None:
        try:
            hypothesis = await self._services.backend.submit(window)
        except (WindowSuperseded, WindowDiscarded):
            return
        except WindowFailed as error:
            logger.warning("session %s: window %d failed: %s", self.id, window.number, error)
            lane.session.window_failed(window.number)
        else:
            lane.session.receive_hypothesis(hypothesis)
        self._advance(lane)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.error("session %s failed", self.id, exc_info=error)
            self._outbox.fail(error if isinstance(error, EngineError) else EngineError(str(error)))


def check_options(options: SessionOptions, model: ModelEntry) -> None:
    """Whether the model can do what is asked of it.

    Raises:
        InvalidSetting: ``field`` names the option that it cannot follow.
    """
    named = [("language", options.language)] if options.language != "auto" else []
    for field, code in [*named, *(("languages", code) for code in options.languages)]:
        if code not in model.languages:
            known = ", ".join(model.languages)
            raise InvalidSetting(f"{field}: the model {model.name} knows {known}, got {code}", field=field)
    if options.task == "translate" and not model.translates:
        raise InvalidSetting(f"task: the model {model.name} only transcribes", field="task")


def replay_from(points: tuple[ResumePoint, ...], sample_rate: int) -> tuple[int, int]:
    """Where a client replays from, so that no lane misses a sample.

    Returns:
        The sample of the input, and the same moment in samples of the session clock: the last one not after
        any lane's point that is a whole sample on both.
    """
    common = gcd(sample_rate, SAMPLE_RATE)
    steps = min(point.sample for point in points) // (SAMPLE_RATE // common)
    return steps * (sample_rate // common), steps * (SAMPLE_RATE // common)


def _resume_points(start: Start, signer: Signer) -> tuple[str, tuple[ResumePoint, ...]]:
    session, points = read_resume(signer, start.resume or "")
    if len(points) != start.format.channels:
        raise ResumeLost(f"the token is of a session with {len(points)} channels", field="resume")
    return session, tuple(
        msgspec.structs.replace(point, stable=stable, stable_end=None if end is None else round(end * SAMPLE_RATE))
        for point, stable, end in zip(points, start.stable, start.stable_end, strict=True)
    )
