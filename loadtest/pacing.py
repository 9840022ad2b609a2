"""The speakers: each sends its audio in time and notes when something came back. Nothing is scored here.

A lane's clock starts when its first sample is spoken; a frame can be sent when its last sample has been. Runs in
one event loop of one process; shares of lanes may run in several.
"""

import asyncio
import math
import random
import time
from array import array
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np

from benchmarks.evalset import SAMPLE_RATE, Pcm
from loadtest.targets import TARGETS, Heard, Target, TargetError, TargetOptions

TICK_S = 0.05
"""How often the event loop's own lag is taken."""
PHASE_S = 0.005
"""Lanes begin at multiples of this, so that frames of several are due together: a wake-up costs more than a frame."""
OPEN_AHEAD_S = 1.0
"""A session is opened so long before its lane speaks."""
HELD_S = 0.005
"""A send that takes longer was held up by the service, which does not read: that is no lateness of ours."""
GIVE_UP_S = 240.0
"""For what a service still has to say after the last sample."""


class Speaker(msgspec.Struct, frozen=True, kw_only=True):
    """One lane's audio, and when it is to be sent."""

    number: int
    pcm: Pcm
    begins_at: float
    """``time.monotonic()``, which all processes of a machine share."""
    speech_ends: tuple[float, ...] = ()
    """Where the client's voice-activity detection is right: seconds from the lane's first sample."""
    repeat_until: float | None = None
    """An idle socket: the audio is repeated up to this time (``time.monotonic()``)."""


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """What one process does."""

    target: str
    options: TargetOptions
    speakers: tuple[Speaker, ...]
    frame_ms: int = 20
    jitter_ms: float = 0.0
    vad_stop_ms: int = 200
    """0: the service finds the ends of speech itself."""


class Arrival(msgspec.Struct, frozen=True):
    """Something said, ``at`` seconds on its lane's clock."""

    at: float
    heard: Heard


class LaneLog(msgspec.Struct, kw_only=True):
    """What became of one lane."""

    number: int
    began: float = 0.0
    """``time.monotonic()`` of its first sample."""
    sent_s: float = 0.0
    """Audio sent, seconds."""
    arrivals: list[Arrival] = []
    late: bytes = b""
    """By how many seconds each frame was sent too late: float32."""
    error: str = ""
    refused: bool = False
    retry_after_s: float | None = None


class ShareLog(msgspec.Struct, frozen=True, kw_only=True):
    """What one process did."""

    lanes: tuple[LaneLog, ...]
    loop_lag: tuple[float, ...]
    """By how many seconds each tick of the event loop came too late."""
    cpu_s: float
    wall_s: float
    """From the first lane's begin to the last one's end."""


def run_share(share: Share) -> ShareLog:
    """Run a share in a fresh event loop: what a process of its own calls."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(speak_all(share))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes a faster event loop than the standard one; None: there is none."""
    with suppress(ImportError):
        import uvloop

        make: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
        return make
    return None


async def speak_all(share: Share) -> ShareLog:
    """Play all speakers of a share to their end."""
    first = min((speaker.begins_at for speaker in share.speakers), default=time.monotonic())
    lag = array("f")
    ticking = asyncio.create_task(_tick(lag))
    try:
        lanes = [asyncio.create_task(_play(share, speaker)) for speaker in share.speakers]
        await asyncio.sleep(max(0.0, first - time.monotonic()))
        began, cpu = time.monotonic(), time.process_time()
        logs = await asyncio.gather(*lanes)
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
    return ShareLog(
        lanes=tuple(logs),
        loop_lag=tuple(lag),
        cpu_s=time.process_time() - cpu,
        wall_s=time.monotonic() - began,
    )


async def _play(share: Share, speaker: Speaker) -> LaneLog:
    """One lane, from its connection to the last thing that was said."""
    log = LaneLog(number=speaker.number)
    target = TARGETS[share.target](share.options)
    try:
        await asyncio.sleep(max(0.0, speaker.begins_at - OPEN_AHEAD_S - time.monotonic()))
        await target.open()
        log.began = math.ceil(max(speaker.begins_at, time.monotonic()) / PHASE_S) * PHASE_S
        async with asyncio.timeout(None) as patience:
            await _talk(share, speaker, target, log, patience)
    except TargetError as error:
        log.error, log.refused, log.retry_after_s = f"{error.code}: {error}", error.refused, error.retry_after_s
    except TimeoutError:
        log.error = f"timeout: nothing more was said in {GIVE_UP_S:g} s, but the end was not either"
    finally:
        await target.close()
    return log


async def _talk(share: Share, speaker: Speaker, target: Target, log: LaneLog, patience: asyncio.Timeout) -> None:
    """Speak and listen until both have ended, or one fails."""

    async def listen() -> None:
        async for heard in target.events():
            log.arrivals.append(Arrival(time.monotonic() - log.began, heard))

    async def speak() -> None:
        await _send(share, speaker, target, log)
        patience.reschedule(asyncio.get_running_loop().time() + GIVE_UP_S)
        await target.finish()

    await _first_failure(listen(), speak())


async def _first_failure(*work: Coroutine[Any, Any, None]) -> None:
    """Run all to their end; the first that fails ends the others and is raised."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _send(share: Share, speaker: Speaker, target: Target, log: LaneLog) -> None:
    """All of a speaker's frames, each when it is due, and a flush where the client hears the end of speech."""
    audio = np.ascontiguousarray(speaker.pcm, "<i2").data.cast("B")  # idle sockets share theirs
    size = 2 * SAMPLE_RATE * share.frame_ms // 1000
    frames = -(-len(audio) // size)
    delay = _delays(share, speaker)
    ends = [end + share.vad_stop_ms / 1000 for end in speaker.speech_ends] if share.vad_stop_ms else []
    late, clock, number, spoken, due, free = array("f"), time.monotonic, 0, 0, 0.0, 0.0
    try:
        while number < frames if speaker.repeat_until is None else clock() < speaker.repeat_until:
            at = size * (number % frames)
            frame = bytes(audio[at : at + size])
            number += 1
            spoken += len(frame)
            heard_s = spoken / 2 / SAMPLE_RATE
            due = max(due, log.began + heard_s + delay())  # frames never overtake each other
            if (wait := due - clock()) > 0:
                await asyncio.sleep(wait)
            now = clock()
            late.append(max(0.0, now - max(due, free)))
            await target.send(frame)
            if clock() - now > HELD_S:
                free = clock()
            if ends and heard_s >= ends[0]:
                del ends[0]
                await target.flush()
    finally:
        log.sent_s = spoken / 2 / SAMPLE_RATE
        log.late = late.tobytes()


def _delays(share: Share, speaker: Speaker) -> Callable[[], float]:
    """How late each frame is on purpose, seconds."""
    draw, most = random.Random(speaker.number), share.jitter_ms / 1000
    return (lambda: draw.uniform(0.0, most)) if most else (lambda: 0.0)


async def _tick(lag: "array[float]") -> None:
    """Note how late a timer comes, for ever."""
    while True:
        due = time.monotonic() + TICK_S
        await asyncio.sleep(TICK_S)
        lag.append(max(0.0, time.monotonic() - due))
