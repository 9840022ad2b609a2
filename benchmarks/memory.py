"""What a stream takes of memory, and whether a server that runs for long stays as it is.

    python -m benchmarks.memory                        # per stream, then half an hour of sessions coming and going
    python -m benchmarks.memory --minutes 0            # per stream only: a minute and a half
    python -m benchmarks.memory --json .out/memory.json

A real server in a process of its own on real sockets; what is measured is the resident memory of that process, as the
system tells it. What the first streams make it allocate once (the engine's working memory, threads) is not counted
for a stream: as many as are measured have spoken before. Since memory that they gave back may be used again, the most
that a stream can take is told too: everything allocated since the server was ready, however often it is shared.
"""

import argparse
import asyncio
import contextlib
import json
import random
import sys
from collections.abc import AsyncIterator, Coroutine, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, median

import msgspec
import numpy as np
from rich.console import Console
from rich.progress import Progress
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.evalset import SAMPLE_RATE, Pcm
from loadtest.lanes import Source, idle_audio, lane, source
from loadtest.server import running
from loadtest.watching import process_usage

FRAME = SAMPLE_RATE // 25
"""Samples in one message (40 ms)."""
IDLE_MARK, SPEAKING_MARK = 1_000_000, 4_000_000
"""Bytes a stream may take."""
LANE_S = 30.0
WARM_S, SETTLED_S, MEASURED_S = 20.0, 8.0, 12.0
"""Streams speak so long before anything is measured; a new number settles for so long; then it is measured."""
CHURN_S = (3.0, 25.0)
"""How long a session of the churn lasts."""
DROPPED = 0.3
"""The share of them that vanish without a goodbye."""
EVERY_S = 1.0
FLAT = 0.05
"""Growth from the second quarter to the last that counts as flat."""


class Point(msgspec.Struct, frozen=True):
    """The server at one time."""

    at: float
    """Seconds since the server was ready."""
    phase: str
    streams: int
    rss_bytes: int


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured, in bytes."""

    began: str
    command: str
    idle_streams: int
    speaking_streams: int
    fresh: int
    """When it was ready."""
    empty: int
    """After the streams of the warm-up have gone."""
    idle: int
    speaking: int
    per_idle: float
    per_speaking: float
    per_speaking_most: float
    """The same, with all that was allocated since the server was ready, the engine's working memory included."""
    churn_minutes: float
    churn_sessions: int
    churn_early: int | None
    """The median of the churn's second quarter: the first fills pools."""
    churn_late: int | None
    """Of its last quarter."""
    after: int
    """When everybody has gone."""
    points: tuple[Point, ...]

    @property
    def growth(self) -> float:
        """From early to late in the churn, as a share; nan without churn."""
        return self.churn_late / self.churn_early - 1 if self.churn_late and self.churn_early else float("nan")


class Crowd:
    """The clients of one server, and its memory second by second."""

    def __init__(self, url: str, pid: int, speakers: Source, progress: Progress) -> None:
        self._url = f"{url}?sample_rate={SAMPLE_RATE}&language={speakers.language}"
        self._pid = pid
        self._speakers = speakers
        self._progress = progress
        self._began = asyncio.get_running_loop().time()
        self._draw = random.Random(0)
        self._open = 0
        self._spoken = [lane(speakers, number, LANE_S).pcm for number in range(8)]
        self.points: list[Point] = []
        self.sessions = 0

    async def hold(self, phase: str, seconds: float) -> list[int]:
        """Watch for so long; the resident bytes."""
        task = self._progress.add_task(phase, total=seconds)
        begun, found = asyncio.get_running_loop().time(), list[int]()
        while (past := asyncio.get_running_loop().time() - begun) < seconds:
            await asyncio.sleep(EVERY_S)
            _, rss = process_usage(self._pid)
            if rss is None:
                raise RuntimeError("the server has gone, or this system does not tell what memory it takes")
            at = round(asyncio.get_running_loop().time() - self._began, 1)
            self.points.append(Point(at, phase, self._open, rss))
            found.append(rss)
            self._progress.update(task, completed=past)
        self._progress.remove_task(task)
        return found

    @contextlib.asynccontextmanager
    async def streams(self, count: int, *, speaking: bool) -> AsyncIterator[None]:
        """So many clients while the block runs; then they stop and wait for their last words."""
        leave = asyncio.Event()
        audio = [
            self._spoken[n % len(self._spoken)] if speaking else idle_audio(self._speakers, n) for n in range(count)
        ]
        tasks = [asyncio.create_task(self._client(pcm, leave)) for pcm in audio]
        try:
            yield
        finally:
            leave.set()
            await asyncio.gather(*tasks)

    async def churn(self, count: int, phase: str, seconds: float) -> list[int]:
        """Watch while ``count`` clients at a time come, speak, and leave or vanish."""
        leave = asyncio.Event()
        slots = [asyncio.create_task(self._slot(leave)) for _ in range(count)]
        try:
            return await self.hold(phase, seconds)
        finally:
            leave.set()
            await asyncio.gather(*slots)

    async def _slot(self, leave: asyncio.Event) -> None:
        while not leave.is_set():
            soon = asyncio.Event()
            timer = asyncio.get_running_loop().call_later(self._draw.uniform(*CHURN_S), soon.set)
            client = self._client(self._draw.choice(self._spoken), soon, vanish=self._draw.random() < DROPPED)
            await _first(client, leave.wait())
            timer.cancel()

    async def _client(self, pcm: Pcm, leave: asyncio.Event, *, vanish: bool = False) -> None:
        """One client: the audio again and again, in time, until it is to leave."""
        clock = asyncio.get_running_loop().time
        frames = [piece.astype("<i2").tobytes() for piece in np.split(pcm, range(FRAME, len(pcm), FRAME))]
        async with connect(self._url, compression=None, max_queue=None) as socket:
            self._open += 1
            self.sessions += 1
            reading = asyncio.create_task(_read(socket))
            try:
                began, number = clock(), self._draw.randrange(len(frames))
                for sent in range(1, sys.maxsize):
                    await socket.send(frames[(number + sent) % len(frames)])
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout_at(began + sent * FRAME / SAMPLE_RATE):
                            await leave.wait()
                    if leave.is_set():
                        break
                if vanish:
                    socket.transport.abort()
                else:
                    await socket.send(json.dumps({"type": "stop"}))
                    await reading
            finally:
                self._open -= 1
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)


async def _read(messages: ClientConnection) -> None:
    async for _ in messages:
        pass


async def _first(work: Coroutine[None, None, None], end: Coroutine[None, None, bool]) -> None:
    """Do the work, or as much of it as there is time for; what it raises is raised."""
    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(end)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            await tasks[0]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def measure(speakers: Source, arguments: argparse.Namespace, progress: Progress) -> Figures:
    """Run all phases against a server of our own."""
    idle, speaking = arguments.idle, arguments.speaking
    async with running(arguments.serve) as server:
        if server.pid is None:
            raise RuntimeError("the server's process is not known")
        crowd = Crowd(server.url, server.pid, speakers, progress)
        fresh = await crowd.hold("fresh", arguments.scale * SETTLED_S)
        async with crowd.streams(speaking, speaking=True):
            await crowd.hold("warm-up", arguments.scale * WARM_S)
        await crowd.hold("settling", arguments.scale * SETTLED_S)
        empty = await crowd.hold("empty", arguments.scale * MEASURED_S)
        async with crowd.streams(idle, speaking=False):
            await crowd.hold("settling", arguments.scale * SETTLED_S)
            silent = await crowd.hold(f"{idle} idle", arguments.scale * MEASURED_S)
            async with crowd.streams(speaking, speaking=True):
                await crowd.hold("settling", arguments.scale * SETTLED_S)
                spoken = await crowd.hold(f"{idle} idle, {speaking} speaking", arguments.scale * MEASURED_S)
        minutes = arguments.minutes
        coming = await crowd.churn(speaking, "sessions come and go", 60 * minutes) if minutes else []
        await crowd.hold("settling", arguments.scale * SETTLED_S)
        after = await crowd.hold("empty again", arguments.scale * MEASURED_S)
    quarter = len(coming) // 4
    return Figures(
        began=datetime.now(UTC).isoformat(timespec="seconds"),
        command=f"python -m benchmarks.memory --idle {idle} --speaking {speaking} --minutes {minutes:g}",
        idle_streams=idle,
        speaking_streams=speaking,
        fresh=round(mean(fresh)),
        empty=round(mean(empty)),
        idle=round(mean(silent)),
        speaking=max(spoken),
        per_idle=(mean(silent) - mean(empty)) / max(1, idle),
        per_speaking=(max(spoken) - mean(silent)) / max(1, speaking),
        per_speaking_most=(max(spoken) - mean(fresh)) / max(1, speaking),
        churn_minutes=minutes,
        churn_sessions=crowd.sessions - 2 * speaking - idle,
        churn_early=round(median(coming[quarter : 2 * quarter])) if quarter else None,
        churn_late=round(median(coming[3 * quarter :])) if quarter else None,
        after=round(mean(after)),
        points=tuple(crowd.points),
    )


def lines(figures: Figures) -> list[str]:
    """The figures as people read them."""
    f = figures
    told = [
        f"ready {_mb(f.fresh)}, after the first streams {_mb(f.empty)}, with {f.idle_streams} idle {_mb(f.idle)},"
        f" with {f.speaking_streams} speaking beside them {_mb(f.speaking)}, afterwards {_mb(f.after)}",
        f"an idle stream takes {_mb(f.per_idle)} (mark {_mb(IDLE_MARK)}): {_verdict(f.per_idle <= IDLE_MARK)}",
        f"a speaking stream takes {_mb(f.per_speaking)} (mark {_mb(SPEAKING_MARK)},"
        f" at most {_mb(f.per_speaking_most)}): {_verdict(f.per_speaking <= SPEAKING_MARK)}",
    ]
    if f.churn_early and f.churn_late:
        told.append(
            f"{f.churn_sessions} sessions in {f.churn_minutes:g} minutes: {_mb(f.churn_early)} early,"
            f" {_mb(f.churn_late)} late ({f.growth:+.1%}): {_verdict(f.growth <= FLAT)}"
        )
    return told


def _mb(size: float) -> str:
    return f"{size / 1e6:.2f} MB" if abs(size) < 20e6 else f"{size / 1e6:.0f} MB"


def _verdict(held: bool) -> str:  # noqa: FBT001 - it is what the word is about
    return "held" if held else "missed"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and keep the points for a plot; 0 if every mark is held."""
    parser = argparse.ArgumentParser("python -m benchmarks.memory", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--idle", type=int, default=50, help="sockets on which nobody speaks")
    parser.add_argument("--speaking", type=int, default=12)
    parser.add_argument("--minutes", type=float, default=30.0, help="of sessions coming and going; 0: none")
    parser.add_argument("--serve", default="--model nano", help="arguments of the server")
    parser.add_argument("--scale", type=float, default=1.0, help="times the length of every other phase")
    parser.add_argument("--audio", type=Path, help="a manifest, or its directory")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures, with a point for each second")
    arguments = parser.parse_args(argv)
    console = Console(stderr=True)
    with Progress(console=console, transient=True) as progress:
        figures = asyncio.run(measure(source(arguments.audio), arguments, progress))
    sys.stdout.write("\n".join(lines(figures)) + "\n")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1) + b"\n")
    held = figures.per_idle <= IDLE_MARK and figures.per_speaking <= SPEAKING_MARK
    return 0 if held and not figures.growth > FLAT else 1


if __name__ == "__main__":
    sys.exit(main())
