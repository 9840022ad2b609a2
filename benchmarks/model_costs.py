"""What a window costs each size of model, beside nano: writes the table that the package carries.

    python -m benchmarks.model_costs [--sizes tiny,small …] [--write]

Every size is made with random weights in its real shape and int8, one at a time, and run by the engine on one core:
windows of noise whose words are forced, so that each has the tokens of so much speech. What is timed is the process's
CPU, and nano runs between the size's windows: each cell is the size's cost relative to nano's in the same minute, times
nano's least in all of the run. So what else the machine does, and how fast it is that minute, mostly cancels.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from streamasr.bench.memory import resident
from streamasr.core.events import SAMPLE_RATE, Window
from streamasr.inference import costs
from streamasr.inference.costs import CostTable, SizeCost
from streamasr.inference.ct2 import Ct2Engine
from streamasr.inference.engine import Stages
from streamasr.inference.models import resolve
from streamasr.inference.weights import Dimensions, dimensions
from tests import whispers

PAGE = Path(__file__).parents[1] / "docs" / "topics" / "model-costs.md"
BEGIN, END = "<!-- costs -->", "<!-- /costs -->"
SECONDS = (1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0)
STAGES = ("features", "encode", "decode", "align")
ROUNDS = 5
BUDGET_S = 40.0
"""Of CPU for one size: no further round is begun after it."""

OWN_SHAPE = tuple(name for name in whispers.SIZES if name.removesuffix(".en") not in set(whispers.SIZES) - {name})

Milliseconds = dict[str, list[float]]
"""By stage, one for each of ``SECONDS``: the least of all rounds."""


class Measured(msgspec.Struct, frozen=True):
    """What a process that holds one size and nano found."""

    size: Milliseconds
    nano: Milliseconds
    memory_mb: int
    nano_memory_mb: int
    rounds: int


class Timed(NamedTuple):
    """An engine, and the stages of its last batch."""

    engine: Ct2Engine
    last: list[Stages]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.model_costs", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--sizes", default=",".join(OWN_SHAPE), help="which, comma-separated")
    parser.add_argument("--write", action="store_true", help="replace the rows in the package and on the page")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(msgspec.json.encode(measure(arguments.measure)).decode())
        return
    found = {name: made_and_measured(name) for name in arguments.sizes.split(",")}
    table = assembled(found, costs.table())
    print(markdown(table))
    if arguments.write:
        write(table)


def made_and_measured(name: str) -> Measured:
    """Make a size in a temporary directory and measure it in a process of its own."""
    with tempfile.TemporaryDirectory() as place:
        whispers.build(whispers.SIZES[name], Path(place))
        command = [sys.executable, "-m", "benchmarks.model_costs", "--measure", place]
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)  # noqa: S603 - ourselves
    found = msgspec.json.decode(done.stdout, type=Measured)
    print(f"{name}: {found.rounds} rounds, {found.memory_mb} MB", file=sys.stderr)
    return found


def measure(place: Path) -> Measured:
    """Time the windows of the model in a directory and of nano, in turn."""
    import ctranslate2  # noqa: F401 - before memory is looked at

    held = [resident() or 0]
    nano = loaded("nano")
    held.append(resident() or 0)
    size = loaded(str(place))
    held.append(resident() or 0)
    least: dict[str, Milliseconds] = {
        name: {stage: [float("inf")] * len(SECONDS) for stage in STAGES} for name in ("nano", "size")
    }
    rounds, begun = 0, time.process_time()
    while rounds < ROUNDS and time.process_time() - begun < BUDGET_S:
        for i, seconds in enumerate(SECONDS):
            for name, timed in (("nano", nano), ("size", size), ("nano", nano)):
                timed.engine.transcribe([window(timed.engine, seconds)])
                for stage in STAGES:
                    took = 1000 * getattr(timed.last[-1], f"{stage}_s")
                    least[name][stage][i] = min(least[name][stage][i], took)
        rounds += 1
    nano_mb, size_mb = ((after - before) // 2**20 for before, after in pairwise(held))
    return Measured(size=least["size"], nano=least["nano"], memory_mb=size_mb, nano_memory_mb=nano_mb, rounds=rounds)


def loaded(name: str) -> Timed:
    """A model on one core, by the clock of this process's CPU."""
    timed = Timed(Ct2Engine(resolve(name), compute_type="int8", threads=1, clock=time.process_time), [])
    timed.engine.on_stages = timed.last.append
    return timed


def window(engine: Ct2Engine, seconds: float) -> Window:
    """Noise, and the tokens of so much speech, forced."""
    samples = round(seconds * SAMPLE_RATE)
    noise = np.random.default_rng(0).normal(0, 1000, samples).astype(np.int16)
    return Window(
        lane="",
        number=0,
        kind="final",
        anchor=0,
        pcm=noise.tobytes(),
        encoder_samples=samples,
        language="en",
        prefix=tuple(engine.vocabulary.encode(" a") * round(seconds * costs.TOKENS_PER_SECOND)),
        max_new_tokens=1,
    )


def assembled(found: dict[str, Measured], old: CostTable) -> CostTable:
    """The old table with the rows of what was measured, each times what nano takes at its least."""
    least = {
        stage: [min(each.nano[stage][i] for each in found.values()) for i in range(len(SECONDS))] for stage in STAGES
    }
    shape = dimensions(resolve("nano").path / "model.bin")
    memory = min(each.nano_memory_mb for each in found.values())
    rows = {"nano": SizeCost(memory_mb=memory, **_layers(shape), **_cells(least))}
    for name, each in found.items():
        relative = {
            stage: [each.size[stage][i] * least[stage][i] / each.nano[stage][i] for i in range(len(SECONDS))]
            for stage in STAGES
        }
        rows[name] = SizeCost(memory_mb=each.memory_mb, **_layers(whispers.SIZES[name]), **_cells(relative))
    return CostTable(measured_on=_machine(), seconds=SECONDS, sizes=_of_equal_encoders({**old.sizes, **rows}))


def _of_equal_encoders(rows: dict[str, SizeCost]) -> dict[str, SizeCost]:
    """The same, but sizes that have one encoder (large-v3, turbo, distil-large-v3) have its least cost in common."""

    def least(name: str) -> tuple[float, ...]:
        encoder = (rows[name].encoder_layers, rows[name].width)
        same = [row.encode_ms for row in rows.values() if (row.encoder_layers, row.width) == encoder]
        return tuple(map(min, zip(*same, strict=True)))

    return {name: msgspec.structs.replace(row, encode_ms=least(name)) for name, row in rows.items()}


def _layers(shape: whispers.Size | Dimensions) -> dict[str, int]:
    return {name: getattr(shape, name) for name in ("encoder_layers", "width", "decoder_layers")}


def _cells(milliseconds: Milliseconds) -> dict[str, tuple[float, ...]]:
    return {f"{stage}_ms": tuple(round(ms, 2) for ms in milliseconds[stage]) for stage in STAGES}


def _machine() -> str:
    import ctranslate2

    cpu = platform.processor() or platform.machine()
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), cpu)
    return f"one core of {named}, CTranslate2 {ctranslate2.__version__}, int8"


def _windows(row: SizeCost) -> list[float]:
    """Milliseconds of a whole window at each of the table's lengths."""
    return [sum(parts) for parts in zip(row.features_ms, row.encode_ms, row.decode_ms, row.align_ms, strict=True)]


def markdown(table: CostTable) -> str:
    """The table as the page has it: milliseconds of a window, and how many times nano's."""
    heads = ["size", *(f"{seconds:g} s" for seconds in table.seconds), "MB"]
    lines = [heads, ["---"] * len(heads)]
    nano = _windows(table.sizes["nano"])
    for name, row in sorted(table.sizes.items(), key=lambda item: _windows(item[1])):
        cells = [f"{ms:.0f} ({ms / base:.1f}×)" for ms, base in zip(_windows(row), nano, strict=True)]
        lines.append([name, *cells, str(row.memory_mb)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write(table: CostTable) -> None:
    """Replace the table in the package, and what the page shows of it."""
    place = Path(costs.__file__).with_name("costs.json")
    place.write_bytes(msgspec.json.format(msgspec.json.encode(table), indent=1) + b"\n")
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    text = f"{before}{BEGIN}\n{markdown(table)}\n\nMeasured on {table.measured_on}.\n{END}{after}"
    PAGE.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
