"""Live sessions: each client's lanes, what they wait for, and where they go on after a reconnect.

Owns every task between audio coming in and an event in the outbox, and ends them all on ``close``. Knows no socket
and no dialect; decides nothing about speech, which is ``core/session.py``'s affair.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Coroutine
from functools import partial
from math import gcd
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamasr.core.audio import AudioDecoder
from streamasr.core.events import SAMPLE_RATE, Event, Final, Warned, Window
from streamasr.core.options import FileOptions, ResumePoint, SessionOptions
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
from streamasr.inference.models import ModelEntry
from streamasr.inference.scorer import Job, LaneScorer
from streamasr.server.admission import FULL_RETRY_S
from streamasr.server.auth import TAIL, Signer, read_resume, resume_token
from streamasr.server.outbox import Outbox, Said
from streamasr.server.registry import Services
from streamasr.server.stats import Arrivals
from streamasr.wire.commands import Start

logger = logging.getLogger(__name__)

MAX_UNDECODED = 30 * SAMPLE_RATE
"""A lane with more audio than this waiting for its words takes no more: the socket is not read."""
UNSERVED_S = 30.0
"""A session that takes no more, and of which not a sample has been understood for so long, is told ``overloaded``."""
PIECES_S = ((8, 0.04), (16, 0.06), (32, 0.1))
"""(sessions, seconds): with up to so many sessions, audio is taken in pieces so long. What a piece costs hardly
depends on its length, so that a few sessions are better served by short ones, which show words sooner, and a crowd
by long ones, which leave more of a core to the engine. A flush or an end waits for no piece."""
LONGEST_PIECE_S = 0.13
"""With more sessions than ``PIECES_S`` knows."""


class _Lane:
    """One channel: its session, its place in the voice-activity model and where a reconnect would go on."""

    def __init__(self, name: str, channel: int, session: Session, vad: LaneScorer) -> None:
        self.name = name
        self.channel = channel
        self.session = session
        self.vad = vad
        self.skip = 0  # replayed samples that come before the point where this lane goes on
        self.point = ResumePoint()
        self.scoring: Job | None = None
        self.arrivals = Arrivals()

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

    def __init__(
        self, start: Start, services: Services, outbox: Outbox, on_room: Callable[[], None] | None = None
    ) -> None:
        check_options(start.options, services.model)
        self.id, points = secrets.token_hex(8), (ResumePoint(),) * start.format.channels
        if start.resume is not None:
            self.id, points = _resume_points(start, services.signer)
        self.audio_received, begin = replay_from(points, start.format.sample_rate)
        self._services = services
        self._outbox = outbox
        self._on_room = on_room
        self._full = False
        self._unserved: asyncio.TimerHandle | None = None
        self._decoder = AudioDecoder(start.format)
        services.crowd.enter()
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

    def offer(self, data: bytes) -> bool:
        """Take bytes in the format of the start; whether there is room for more.

        If there is not, a lane has too much undecoded audio: nothing is to be offered until ``on_room`` is called.
        What comes after ``stop`` or ``drain`` is not taken.
        """
        self._waiting += data
        piece = piece_s(self._services.crowd.size) * self._decoder.bytes_per_second
        if len(self._waiting) >= piece:
            self._take_what_fits()
        return not self._full

    async def receive_audio(self, data: bytes) -> None:
        """The same for whoever can wait for room."""
        room = self.offer(data)
        while not room and self._full and not self._ending:
            self._progress.clear()
            await self._progress.wait()

    def _take_what_fits(self) -> None:
        """Take what waits, a second at a time, as long as no lane has too much undecoded audio."""
        second = self._decoder.bytes_per_second
        while self._waiting and not self._ending:
            if self._undecoded > MAX_UNDECODED:
                if not self._full:
                    self._full = True
                    self._watch()
                return
            part = bytes(self._waiting[:second])
            del self._waiting[:second]
            self._take(self._decoder.decode(part))
        self._full = False

    def _look_for_room(self) -> None:
        """Go on with what waits; if it has all been taken, more may come."""
        self._take_what_fits()
        if not self._full and self._on_room is not None:
            self._on_room()

    def _watch(self) -> None:
        """Look in a while whether anything has been understood meanwhile."""
        if self._unserved:
            self._unserved.cancel()
        self._unserved = asyncio.get_running_loop().call_later(UNSERVED_S, self._look_at_progress, self._decoded)

    def _look_at_progress(self, decoded: int) -> None:
        if not self._full or self._ending:
            return
        if self._decoded > decoded:
            self._watch()
        else:
            logger.warning("session %s cannot be served: nothing was understood for %g s", self.id, UNSERVED_S)
            self._outbox.fail(Refused("the server cannot keep up", retry_after_s=FULL_RETRY_S))

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
        if self._full:  # a drain: what nobody had room for is replayed elsewhere
            self._waiting.clear()
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
        self._services.crowd.leave()
        if self._unserved:
            self._unserved.cancel()
        for lane in self._lanes:
            if lane.scoring is not None:
                lane.scoring.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*list(self._tasks), return_exceptions=True)
        for lane in self._lanes:
            self._services.backend.discard(lane.name)

    @property
    def _undecoded(self) -> int:
        return max(lane.session.undecoded for lane in self._lanes)

    @property
    def _decoded(self) -> int:
        return sum(lane.session.received - lane.session.undecoded for lane in self._lanes)

    def _take_waiting(self) -> None:
        self._take(self._decoder.decode(bytes(self._waiting)))
        self._waiting.clear()

    def _take(self, samples: NDArray[np.float32]) -> None:
        """Samples of every channel, shape (channels, n)."""
        if self._decoder.non_finite and not self._warned_non_finite:
            self._warned_non_finite = True
            self._warn("non_finite_samples", "NaN and infinite samples count as silence (said once)")
        now = time.monotonic()
        for lane in self._lanes:
            lane.receive_audio(samples[lane.channel])
            lane.arrivals.add(lane.session.received, now)
            self._hand_out(lane)

    def _advance(self, lane: _Lane) -> None:
        """Hand on what a lane wants and says; called after everything that goes into it."""
        for event in lane.session.events_to_send():
            self._say(event, lane)
        for window in lane.session.windows_to_send():
            self._spawn(self._transcribe(lane, window))
        self._hand_out(lane)
        self._progress.set()
        if self._full and self._undecoded <= MAX_UNDECODED:
            asyncio.get_running_loop().call_soon(self._look_for_room)
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
            if event.reason == "endpoint":
                self._tell_lag(lane, event.end - self._services.policy.tail)
        self._outbox.say(Said(event, lane.channel, token))

    def _tell_lag(self, lane: _Lane, last_speech: int) -> None:
        now, came = time.monotonic(), lane.arrivals.of(last_speech)
        if came is not None:
            self._services.stats.final_said(now - came, now)

    def _warn(self, code: str, message: str) -> None:
        self._outbox.say(Said(Warned(code, message)))

    def _hand_out(self, lane: _Lane) -> None:
        """Have new frames scored; one call at a time for each lane."""
        if lane.scoring is None and len(frames := lane.session.take_frames()):
            lane.scoring = self._services.scorer.submit(lane.vad, frames, partial(self._scored, lane))

    def _scored(self, lane: _Lane, scores: list[float] | EngineError) -> None:
        lane.scoring = None
        if isinstance(scores, EngineError):
            self._failed(scores)
            return
        try:
            lane.session.receive_scores(scores)
            self._advance(lane)
        except Exception as error:  # noqa: BLE001 - told to the client, and logged
            self._failed(error)

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
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        logger.error("session %s failed", self.id, exc_info=error)
        self._outbox.fail(error if isinstance(error, EngineError) else EngineError(str(error)))


def piece_s(sessions: int) -> float:
    """How long a piece of audio is, seconds, with so many sessions."""
    return next((seconds for most, seconds in PIECES_S if sessions <= most), LONGEST_PIECE_S)


def check_options(options: SessionOptions | FileOptions, model: ModelEntry) -> None:
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
