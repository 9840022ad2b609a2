"""One run: speakers and idle sockets against one server, watched, and scored when the streams have ended."""

import asyncio
import multiprocessing
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from functools import cache
from itertools import pairwise
from typing import Any

import msgspec

from benchmarks.evalset import UTTERANCE_GAP_S
from loadtest import lanes, summary
from loadtest.lanes import Lane, Source
from loadtest.pacing import OPEN_AHEAD_S, LaneLog, Share, ShareLog, Speaker, run_share, speak_all
from loadtest.results import Conditions, Figures, Step
from loadtest.scoring import LaneScore, score
from loadtest.server import Running
from loadtest.summary import Stretch
from loadtest.targets import TargetOptions
from loadtest.watching import Watcher, moments, server_side

LEAD_S = 0.5
SPAWN_S = 3.0
"""Processes of the tool's own need this long to begin."""
PROGRESS_S = 0.25
SURELY_S = 0.3
"""A pause so much longer than the silence that ends an utterance ends it, whatever the true times' errors."""

Progress = Callable[[float, float], None]
"""Told (seconds of the run so far, seconds of it in all)."""


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be run."""

    streams: int
    idle: int = 0
    seconds: float = lanes.SHORTEST_S
    """How long each lane speaks; in a ramp, how long each step lasts."""
    warm_up_s: float = 5.0
    stagger_s: float = 3.0
    """The lanes begin one after another within this time."""
    steps: int = 1
    """More than one: a ramp. The lanes are added in so many steps."""
    frame_ms: int = 20
    jitter_ms: float = 0.0
    vad_stop_ms: int = 200
    target: str = "native"
    options: TargetOptions
    processes: int = 1


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """When each lane speaks: seconds on the run's clock."""

    begins: tuple[float, ...]
    steps: tuple[tuple[int, Stretch], ...]
    """How many lanes speak in which stretch; lags are taken there."""
    ends: float


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a run, before it is scored."""

    began: float
    """``time.monotonic()`` of the run's second 0."""
    shares: tuple[ShareLog, ...]
    watcher: Watcher

    @property
    def logs(self) -> list[LaneLog]:
        """All lanes, the idle ones after the speaking ones."""
        return sorted((log for share in self.shares for log in share.lanes), key=lambda log: log.number)


def plan(setup: Setup) -> Plan:
    """When the lanes begin, and which stretches count: from when all of a step speak until the next begins."""
    counts = [round(setup.streams * n / setup.steps) for n in range(setup.steps + 1)]
    begins: list[float] = []
    steps = []
    for number, (before, after) in enumerate(pairwise(counts)):
        start = number * (setup.stagger_s + setup.warm_up_s + setup.seconds)
        added = after - before
        begins += [start + setup.stagger_s * n / added for n in range(added)]
        steady = start + setup.stagger_s + setup.warm_up_s
        steps.append((after, Stretch(steady, steady + setup.seconds)))
    return Plan(begins=tuple(begins), steps=tuple(steps), ends=steps[-1][1].end)


def gap_s(setup: Setup) -> float:
    """The pause that ends an utterance: what the client hears, or one at which the server surely ends it too."""
    if setup.vad_stop_ms:
        return UTTERANCE_GAP_S
    endpointing_s = (setup.options.endpointing_ms or 0) / 1000
    return max(lanes.PAUSE_S[0], endpointing_s + SURELY_S)


async def run(
    setup: Setup,
    source: Source,
    server: Running,
    conditions: Conditions,
    references: Mapping[str, str] | None = None,
    progress: Progress = lambda _, __: None,
) -> Figures:
    """Run, then score; ``references``: each piece's text without streaming."""
    when = plan(setup)
    speakers = [lanes.lane(source, n, when.ends - begins, gap_s(setup)) for n, begins in enumerate(when.begins)]
    ran = await _stream(setup, source, speakers, when, server, progress)
    return await asyncio.to_thread(_figures, setup, speakers, when, ran, conditions, references)


async def _stream(
    setup: Setup, source: Source, speaking: Sequence[Lane], when: Plan, server: Running, progress: Progress
) -> Ran:
    """Play all lanes; the server is read before, every second of it, and after."""
    watcher = Watcher(server.url, setup.options.key, server.pid)
    began = time.monotonic() + OPEN_AHEAD_S + LEAD_S + (SPAWN_S if setup.processes > 1 else 0.0)
    shares = _shares(setup, _speakers(setup, source, speaking, when, began))

    def speaking_now() -> int:
        now = time.monotonic() - began
        return sum(b <= now < b + lane.seconds for b, lane in zip(when.begins, speaking, strict=True))

    last = max(b + lane.seconds for b, lane in zip(when.begins, speaking, strict=True))
    await watcher.read(0)
    async with _beside(watcher.watch(speaking_now)), _beside(_tell(progress, began, last)):
        logs = await _play(shares)
    await watcher.read(0)
    return Ran(began=began, shares=tuple(logs), watcher=watcher)


def _speakers(setup: Setup, source: Source, speaking: Sequence[Lane], when: Plan, began: float) -> list[Speaker]:
    """Everybody who sends: the lanes, and beside them those who say nothing."""
    read = cache(lambda number: lanes.idle_audio(source, number))
    kinds = max(1, len(source.noises))
    talkers = [
        Speaker(
            number=number,
            pcm=lane.pcm,
            begins_at=began + begins,
            speech_ends=tuple(u.end for u in lane.utterances),
        )
        for number, (begins, lane) in enumerate(zip(when.begins, speaking, strict=True))
    ]
    silent = [
        Speaker(
            number=len(talkers) + number,
            pcm=read(number % kinds),
            begins_at=began + setup.stagger_s * number / max(1, setup.idle),
            repeat_until=began + when.ends,
        )
        for number in range(setup.idle)
    ]
    return talkers + silent


def _shares(setup: Setup, speakers: Sequence[Speaker]) -> list[Share]:
    """The speakers dealt out to the tool's processes."""
    return [
        Share(
            target=setup.target,
            options=setup.options,
            speakers=tuple(speakers[n :: setup.processes]),
            frame_ms=setup.frame_ms,
            jitter_ms=setup.jitter_ms,
            vad_stop_ms=setup.vad_stop_ms,
        )
        for n in range(setup.processes)
    ]


async def _play(shares: Sequence[Share]) -> list[ShareLog]:
    """Run the shares: one in this very loop, several each in a process."""
    if len(shares) == 1:
        return [await speak_all(shares[0])]
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(len(shares), mp_context=multiprocessing.get_context("spawn")) as pool:
        return await asyncio.gather(*(loop.run_in_executor(pool, run_share, share) for share in shares))


def _figures(
    setup: Setup,
    speaking: Sequence[Lane],
    when: Plan,
    ran: Ran,
    conditions: Conditions,
    references: Mapping[str, str] | None,
) -> Figures:
    """Score every lane and put them together."""
    logs = ran.logs
    talkers, silent = logs[: len(speaking)], logs[len(speaking) :]
    scores = [_score(lane, log, ran, references) for lane, log in zip(speaking, talkers, strict=True) if log.began]
    streams_end = ran.began + when.ends
    steps: list[Step] = [summary.step(streams, scores, stretch) for streams, stretch in when.steps]
    return Figures(
        conditions=conditions,
        lags=summary.lags(scores, when.steps[-1][1]),
        quality=summary.quality(scores, idle_words=summary.idle_words(silent, setup.options.language)),
        troubles=summary.troubles(logs),
        spoken_s=round(sum(log.sent_s for log in talkers), 2),
        tool=summary.health(ran.shares),
        server=server_side(ran.watcher.readings, streams_end),
        series=moments(ran.watcher.readings, ran.began),
        steps=tuple(steps) if setup.steps > 1 else (),
    )


def _score(lane: Lane, log: LaneLog, ran: Ran, references: Mapping[str, str] | None) -> LaneScore:
    reference = None if references is None else " ".join(references[piece] for piece in lane.pieces)
    return score(lane, log.arrivals, log.began - ran.began, reference)


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Something that goes on as long as the block runs."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _tell(progress: Progress, began: float, whole: float) -> None:
    """Say how far the run is, again and again."""
    while True:
        progress(min(whole, max(0.0, time.monotonic() - began)), whole)
        await asyncio.sleep(PROGRESS_S)
