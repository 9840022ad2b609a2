"""What the server itself costs: CPU a second of one stream, without the voice-activity model and the engine.

    python -m benchmarks.frontend                        # 8 streams, 20 ms frames, 20 s
    python -m benchmarks.frontend --profile front.svg    # where it goes, as a flame graph (needs py-spy)

A server of its own process hears real frames over real sockets. Its voice-activity model and its engine answer at
once and cost next to nothing: speech for four seconds of every five, a word every 0.4 s. What is left is what
every stream pays before anything is recognised: socket, protocol, decoding, gate, planning, events, JSON.
"""

import argparse
import asyncio
import contextlib
import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.client import connect

from streamasr.core.events import FRAME, SAMPLE_RATE
from streamasr.inference.fake import FixedCostEngine
from streamasr.inference.loading import Loaded, Loading
from streamasr.inference.models import resolve
from streamasr.inference.worker import LocalBackend
from streamasr.ops.config import Settings
from streamasr.server.app import App, bind, run

SPEECH_S, PERIOD_S = 4, 5
WARM_UP_S = 3.0
READY_S = 30.0


class Spoken:
    """A lane's scores by the clock alone: speech for ``SPEECH_S`` of every ``PERIOD_S`` seconds."""

    def __init__(self) -> None:
        self._frames = 0

    def score(self, frames: NDArray[np.float32]) -> list[float]:
        """One for each frame, shape (n, 512)."""
        first, self._frames = self._frames, self._frames + len(frames)
        return [0.9 if n * FRAME / SAMPLE_RATE % PERIOD_S < SPEECH_S else 0.0 for n in range(first, self._frames)]


class SpokenVad:
    """Stands in for the voice-activity model."""

    def lane(self) -> Spoken:
        """A new lane."""
        return Spoken()


class Cost(NamedTuple):
    """What came of a run."""

    server_ms: float
    """CPU of the server a stream-second, milliseconds, all its threads."""
    client_ms: float
    events: int
    """Messages the clients were sent."""


def serve() -> int:
    """The server's process: prints its port, then its CPU seconds for every line it is sent."""

    async def source(_: Loading) -> Loaded:
        engine = FixedCostEngine([(SAMPLE_RATE * 30, 0.0, 0.0)], lambda _: None)
        return Loaded(model=resolve("nano"), backend=LocalBackend(lambda: engine))

    app = App(Settings(port=0, log_level="warning"), source, SpokenVad)
    listener = bind(app.settings)

    def ready() -> None:
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), told)

    def told() -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            return
        used = resource.getrusage(resource.RUSAGE_SELF)
        sys.stdout.write(f"{used.ru_utime + used.ru_stime}\n")
        sys.stdout.flush()

    return run(app, listener, ready)


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """The server's process and its port."""
    command = (sys.executable, "-m", "benchmarks.frontend", "--serve")
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(READY_S):
            yield process, int(await _line(process))
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def measure(streams: int, seconds: float, frame_ms: int, profile: Path | None) -> Cost:
    """Run the streams; the CPU of the seconds after the warm-up."""
    async with serving() as (process, port):
        url = f"ws://127.0.0.1:{port}/v1/stream?sample_rate={SAMPLE_RATE}&language=en"
        frame = b"\0" * (2 * SAMPLE_RATE * frame_ms // 1000)
        begins = asyncio.get_running_loop().time() + 1.0
        ends = begins + WARM_UP_S + seconds
        offsets = [begins + number * frame_ms / 1000 / streams for number in range(streams)]
        talking = [asyncio.create_task(_talk(url, frame, offset, frame_ms / 1000, ends + 0.5)) for offset in offsets]
        await _until(begins + WARM_UP_S)
        before, ours = await _used(process), _own()
        watching = _watch(process.pid, profile, seconds) if profile else contextlib.nullcontext()
        async with watching:
            await _until(ends)
        used, mine = await _used(process) - before, _own() - ours
        events = sum(await asyncio.gather(*talking))
    share = 1000 / (seconds * streams)
    return Cost(used * share, mine * share, events)


async def _talk(url: str, frame: bytes, begins: float, step: float, ends: float) -> int:
    """One client: a frame every ``step`` seconds; how many messages came back."""
    async with connect(url, compression=None, max_queue=None) as socket:

        async def count() -> int:
            return len([message async for message in socket])

        counting = asyncio.create_task(count())
        number = 0
        while (due := begins + number * step) < ends:
            await _until(due)
            await socket.send(frame)
            number += 1
        await socket.send(json.dumps({"type": "stop"}))
        return await counting


@contextlib.asynccontextmanager
async def _watch(pid: int, picture: Path, seconds: float) -> AsyncIterator[None]:
    """A flame graph of the process while the block runs."""
    program = shutil.which("py-spy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if program is None:
        raise SystemExit("py-spy is not installed: pip install py-spy")
    options = (
        "--pid",
        str(pid),
        "--duration",
        str(int(seconds)),
        "--rate",
        "250",
        "--native",
        "--output",
        str(picture),
    )
    process = await asyncio.create_subprocess_exec(program, "record", *options, stderr=asyncio.subprocess.DEVNULL)
    yield
    await process.wait()


async def _line(process: asyncio.subprocess.Process) -> str:
    if process.stdout is None:
        raise RuntimeError("the server's output cannot be read")
    return (await process.stdout.readline()).decode()


async def _used(process: asyncio.subprocess.Process) -> float:
    if process.stdin is None:
        raise RuntimeError("the server cannot be asked")
    process.stdin.write(b"\n")
    return float(await _line(process))


def _own() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def _until(time: float) -> None:
    await asyncio.sleep(max(0.0, time - asyncio.get_running_loop().time()))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.frontend", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--frame-ms", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", type=Path, metavar="SVG", help="write a flame graph of the last round")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.serve:
        return serve()
    costs = []
    for number in range(arguments.rounds):
        profile = arguments.profile if number == arguments.rounds - 1 else None
        cost = asyncio.run(measure(arguments.streams, arguments.seconds, arguments.frame_ms, profile))
        sys.stdout.write(f"server {cost.server_ms:.2f} ms, clients {cost.client_ms:.2f} ms, {cost.events} messages\n")
        costs.append(cost.server_ms)
    sys.stdout.write(f"median {np.median(costs):.2f} ms of CPU a stream-second ({arguments.streams} streams)\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
