"""Measures ``machine.json``: what nano's batches, the gate and the front end cost on this machine, in CPU time.

CPU time, not the clock on the wall: what else runs here disturbs it little. It takes a minute or two.
"""

import asyncio
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import msgspec
import numpy as np
from rich.progress import track

from benchmarks import frontend
from benchmarks.machine import Machine, Rows
from loadtest.results import Results
from streamasr.core.events import SAMPLE_RATE, Window
from streamasr.inference import machine
from streamasr.inference.ct2 import Ct2Engine
from streamasr.inference.engine import Stages
from streamasr.inference.models import resolve

SECONDS = (1.0, 2.0, 4.0, 8.0, 12.0, 30.0)
SIZES = (1, 2, 4, 8)
TOKENS_PER_SECOND = 3
MOST_TOKENS = 40
SPENT_S = 0.25
"""CPU seconds after which a batch need not be run again; it is run twice at least."""
LOAD_STREAMS, LOAD_S = 8, 8
FRONT_STREAMS, FRONT_S = 8, 12.0
BESIDE_ROUNDS = 8
LOOP_SHARE, LOOP_BURST_S = 0.4, 0.0005
"""What stands in for the event loop: how busy it is, and how long at a time."""
BUSY = "import numpy as n\na = n.random.rand(200, 200)\nprint(flush=True)\nwhile True: a = n.tanh(a @ a / 200)"


class _Bench:
    """The engine, asked for batches of noise that says so many tokens."""

    def __init__(self) -> None:
        self.stages: list[Stages] = []
        self.clock = time.process_time
        self._engine = Ct2Engine(resolve("nano"), threads=1, max_batch=max(SIZES), clock=self._now)
        self._engine.on_stages = self.stages.append
        self._word = self._engine.vocabulary.encode(" a")

    def _now(self) -> float:
        return self.clock()

    def run(self, seconds: float, size: int, tokens: int, beam: int = 1) -> Stages:
        """The median stages of a batch; ``tokens`` are forced: however little is heard in noise, they are decoded."""
        rng = np.random.default_rng(0)
        samples = round(seconds * SAMPLE_RATE)
        batch = [
            Window(
                lane=str(number),
                number=0,
                kind="file",  # its features are not remembered
                anchor=0,
                pcm=rng.normal(0, 1_000, samples).astype(np.int16).tobytes(),
                encoder_samples=samples,
                prefix=tuple(self._word * tokens),
                language="en",
                beam_size=beam,
                max_new_tokens=1,
            )
            for number in range(size)
        ]
        self.stages.clear()
        begun = time.process_time()
        while len(self.stages) < 2 or (time.process_time() - begun < SPENT_S and len(self.stages) < 9):
            self._engine.transcribe(batch)
        return Stages(
            features_s=median(s.features_s for s in self.stages),
            encode_s=median(s.encode_s for s in self.stages),
            decode_s=median(s.decode_s for s in self.stages),
            align_s=median(s.align_s for s in self.stages),
            assembly_s=median(s.assembly_s for s in self.stages),
        )


def calibrate() -> Machine:
    """Measure all of it."""
    bench = _Bench()
    encode: dict[tuple[int, float], float] = {}
    start: dict[tuple[int, float], float] = {}
    token: dict[tuple[int, float], float] = {}
    features: dict[float, float] = {}
    assembly: list[float] = []
    for size, seconds in track([(size, s) for size in SIZES for s in SECONDS], "batches"):
        many = min(MOST_TOKENS, round(TOKENS_PER_SECOND * seconds) + 2)
        few, full = bench.run(seconds, size, 1), bench.run(seconds, size, many)
        encode[size, seconds] = min(few.encode_s, full.encode_s)
        # Rounds of so short a time may come out the wrong way about; a token is never free of cost.
        slope = max(0.0, (full.decode_s + full.align_s - few.decode_s - few.align_s) / (many - 1))
        token[size, seconds] = slope
        start[size, seconds] = max(0.0, few.decode_s + few.align_s - slope)
        features[seconds] = min(features.get(seconds, np.inf), few.features_s / size)
        assembly.append(full.assembly_s / size)
    greedy, beam = bench.run(4.0, 1, 14), bench.run(4.0, 1, 14, beam=5)
    beside = _beside(lambda: bench.run(4.0, 1, 14))
    gate_ms, client_ms = _under_load()
    front = asyncio.run(frontend.measure(FRONT_STREAMS, FRONT_S, 20, None))
    return Machine(
        measured_on=f"{_processor()}, CTranslate2 {_version('ctranslate2')}, nano in int8",
        cores=machine.cores().usable,
        seconds=SECONDS,
        sizes=SIZES,
        features_ms=tuple(_ms(features[s]) for s in SECONDS),
        encode_ms=_rows(encode),
        start_ms=_rows(start),
        token_ms=_rows(token),
        assembly_ms=_ms(median(assembly)),
        beam=round(max(1.0, beam.decode_s / greedy.decode_s), 2),
        beside=round(beside, 2),
        gil=round(_gil(bench), 2),
        gate_ms=gate_ms,
        front_ms=round(front.server_ms, 2),
        client_ms=client_ms,
    )


def _under_load() -> tuple[float, float]:
    """A stream-second of the gate and of the load generator, as a real run has them: with cold caches."""
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "run.json"
        size = ["--streams", str(LOAD_STREAMS), "--seconds", str(LOAD_S), "--json", str(file)]
        command = [sys.executable, "-m", "loadtest", *size]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if not file.exists():
            raise RuntimeError(f"the load tool did not run:\n{done.stderr}")
        (figures,) = msgspec.json.decode(file.read_bytes(), type=Results).runs
    if figures.server is None:
        raise RuntimeError("the server did not tell what it did")
    share = 1000 / figures.spoken_s
    return round(figures.server.stages_s["gate"] * share, 2), round(figures.tool.cpu_s * share, 2)


def _beside(work: Callable[[], Stages]) -> float:
    """How many times longer the work takes while all other cores are busy: rounds with and without, in turns."""
    ratios = []
    for _ in range(BESIDE_ROUNDS):
        alone = _total(work())
        with _busy(max(1, machine.cores().usable - 1)):
            ratios.append(_total(work()) / alone)
    return max(1.0, median(ratios))


def _gil(bench: _Bench) -> float:
    """How much longer the engine's Python takes beside a thread that wants the lock for ``LOOP_SHARE`` of the time.

    On the clock on the wall, for waiting takes no CPU: in turns with and without, the median ratio. As much as it
    would be if the lock were wanted always.
    """
    stop = threading.Event()

    def loop() -> None:
        while not stop.is_set():
            ends = time.perf_counter() + LOOP_BURST_S
            while time.perf_counter() < ends:
                pass
            stop.wait(LOOP_BURST_S * (1 / LOOP_SHARE - 1))

    bench.clock = time.perf_counter
    ratios = []
    for _ in range(BESIDE_ROUNDS):
        alone = bench.run(4.0, 1, 14)
        stop.clear()
        thread = threading.Thread(target=loop)
        thread.start()
        try:
            beside = bench.run(4.0, 1, 14)
        finally:
            stop.set()
            thread.join()
        ratios.append((beside.features_s + beside.assembly_s) / (alone.features_s + alone.assembly_s))
    bench.clock = time.process_time
    return max(0.0, median(ratios) - 1) / LOOP_SHARE


@contextmanager
def _busy(count: int) -> Iterator[None]:
    """So many processes that never rest, of one thread each."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-c", BUSY]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)  # noqa: S603 - our own few lines
        for _ in range(count)
    ]
    try:
        for process in processes:
            if process.stdout is not None:
                process.stdout.readline()  # it has begun
        yield
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _total(stages: Stages) -> float:
    return stages.features_s + stages.encode_s + stages.decode_s + stages.align_s + stages.assembly_s


def _rows(cells: dict[tuple[int, float], float]) -> Rows:
    return tuple(tuple(_ms(cells[size, seconds]) for seconds in SECONDS) for size in SIZES)


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 3)


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def _processor() -> str:
    """The processor's name, as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines: Sequence[str] = cpuinfo.read_text().splitlines() if cpuinfo.exists() else ()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} cores of {names[0]}" if names else platform.processor() or platform.machine()
