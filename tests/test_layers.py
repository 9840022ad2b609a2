"""The architecture, as a test. Change LAYERS only in a change that explains why."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "streamasr"
MAX_LINES = 400

# A module may import only from rows above its own. Siblings on one row are strangers.
LAYERS = [
    {"errors"},
    {
        "core.events",
        "core.options",
        "core.policy",
        "core.language",
        "ops.config",
        "ops.metrics",
        "ops.logs",
        "ops.tracing",
        "bench.scoring",
        "inference.machine",
        "inference.cuda",
        "bench.memory",
    },
    {"core.audio", "core.gate", "core.transcript", "core.captions", "wire.commands", "bench.truth"},
    {"core.windows", "core.packing", "core.sentences", "wire.settings", "results"},
    {"core.stabilizer"},
    {"core.utterance"},
    {"core.planner", "core.fallback"},
    {"core.session", "core.filelane", "inference.sources", "inference.blocking"},
    {
        "inference.backend",
        "inference.engine",
        "inference.batcher",
        "inference.features",
        "inference.tokens",
        "inference.media",
        "inference.hardware",
        "inference.catalog",
        "inference.weights",
        "inference.manifest",
        "inference.transfer",
        "inference.costs",
    },
    {
        "inference.models",
        "inference.sizing",
        "wire.native",
        "wire.openai_realtime",
        "wire.deepgram",
        "wire.wyoming",
        "wire.vosk",
        "wire.whisperlive",
    },
    {"wire", "wire.files", "inference.vad", "inference.ct2", "inference.fake", "inference.hub"},
    {"inference.worker", "inference.scorer", "inference.selection"},
    {"inference.remote", "inference.files", "inference.loading", "bench.simulated", "bench.meter", "bench.recordings"},
    {"bench.offline", "bench.streamed"},
    {"bench.capacity", "bench.sweep"},
    {"bench.measure"},
    {"bench.report", "bench.sharing"},
    {"server.load"},
    {"server.admission", "server.auth", "server.outbox", "server.protocol", "server.stats", "ops.checks"},
    {"server.registry"},
    {"server.sessions"},
    {"server.connection", "server.rest", "server.files", "server.tcp", "ops.doctor"},
    {"server.app"},
    {"embedded"},
    {"api"},
    {""},  # streamasr/__init__.py: the Python API's names, loaded when they are used
    {
        "demo",
        "commands.show",
        "commands.inputs",
        "commands.progress",
        "commands.upload",
        "commands.stages",
        "commands.ledger",
    },  # what several commands print alike
    {"commands.filerun"},
    {"commands.hearing"},
    {
        "commands.serve",
        "commands.demo",
        "commands.transcribe",
        "commands.bench",
        "commands.models",
        "commands.doctor",
    },
    {"cli"},
    {"__main__"},
]
RANK = {name: rank for rank, row in enumerate(LAYERS) for name in row}

# Packages whose modules may touch nothing but values: (package, forbidden prefix).
PURE = {
    "core": {
        "asyncio",
        "threading",
        "time",
        "socket",
        "logging",
        "os",
        "random",
        "websockets",
        "ctranslate2",
        "onnxruntime",
        "streamasr.ops",
    },
    "wire": {"asyncio", "threading", "time", "socket", "logging", "os", "websockets", "streamasr.ops"},
    "inference.batcher": {"asyncio", "threading", "time"},
    "server.admission": {"asyncio", "threading", "time", "websockets"},
    "server.load": {"asyncio", "threading", "time", "websockets"},
    "server.stats": {"asyncio", "threading", "time", "websockets"},
    "bench.scoring": {"asyncio", "threading", "time"},
}


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        name = "" if name == "__init__" else name
        if path.name == "__init__.py" and name not in RANK:
            assert not path.read_text().strip(), f"{path} must be empty"
            continue
        yield name, path


def imports(name, path):
    here = [part for part in name.split(".") if part] if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ["streamasr", *here[: len(here) - node.level + 1]] if node.level else []
            base = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{base}.{a.name}" for a in node.names)


def target(dotted):
    parts = dotted.removeprefix("streamasr.").split(".")
    while parts and ".".join(parts) not in RANK:
        parts.pop()
    return ".".join(parts)  # "" is the package itself


@pytest.mark.parametrize(("name", "path"), [pytest.param(*m, id=m[0]) for m in modules()])
def test_module_obeys_the_layers(name, path):
    """Every module has a row, imports only from rows above, stays pure if it must, and stays short."""
    assert name in RANK, f"add {name} to LAYERS"
    assert len(path.read_text().splitlines()) <= MAX_LINES
    for dotted in imports(name, path):
        if dotted.startswith("streamasr."):
            assert RANK[target(dotted)] < RANK[name], f"{name} must not import {dotted}"
        for package, forbidden in PURE.items():
            if name == package or name.startswith(package + "."):
                assert not any(dotted == f or dotted.startswith(f + ".") for f in forbidden), (
                    f"{name} is pure; {dotted}"
                )
