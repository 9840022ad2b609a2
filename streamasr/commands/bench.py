"""``streamasr bench``: a model measured on a user's own recordings, what it says, and the files it writes."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING

from streamasr.errors import ConfigError
from streamasr.ops import config

if TYPE_CHECKING:
    from rich.console import Console

    from streamasr.bench.measure import Setup
    from streamasr.bench.offline import Advance, Phase
    from streamasr.bench.recordings import Recording, Source
    from streamasr.bench.report import Facts
    from streamasr.inference.ct2 import Ct2Engine
    from streamasr.inference.hardware import Placement
    from streamasr.inference.loading import Loaded, Loading, ModelSource
    from streamasr.inference.models import ModelEntry
    from streamasr.ops.config import Settings

MINUTES = 30.0

ABOUT = """\
Measures a model on recordings of your own: how right the live text is beside the same model offline, how late
and how steady it is, what it costs here, and how many streams this machine carries. Nothing is played in real
time, and nothing leaves this machine.

AUDIO and TRUTH are files, directories or patterns; what ends in .txt, .srt, .vtt, .json or .jsonl is a truth, and
belongs to the recording of the same name (a single one to a single recording). Without truths, live text is
compared with offline text.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to measure, with which model, and where to keep it."""
    parser.description = ABOUT
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.usage = f"{parser.prog} AUDIO… [TRUTH…] [options]"
    parser.add_argument("paths", nargs="+", metavar="PATH", help="recordings, and what is said in them")
    what = parser.add_argument_group("What is measured")
    what.add_argument(
        "--language", default="auto", metavar="CODE", help="of the speech [%(default)s: told by the model]"
    )
    what.add_argument(
        "--minutes", type=float, default=MINUTES, metavar="N", help="take no more audio than this [%(default)g]"
    )
    what.add_argument("--no-streams", action="store_true", help="do not try how many streams this machine carries")
    what.add_argument(
        "--sweep",
        action="store_true",
        help="also find how short the encoder's input may be (takes several times as long)",
    )
    what.add_argument("--floors", metavar="S,S…", help="for --sweep: the shortest inputs to try, in seconds")
    what.add_argument("--margins", metavar="S,S…", help="for --sweep: the seconds to try after the speech")
    where = parser.add_argument_group("What is kept")
    where.add_argument(
        "--entry",
        type=Path,
        metavar="FILE",
        help="what --sweep found, for --model-entry or as streamasr.toml beside the model",
    )
    where.add_argument(
        "--json", type=Path, metavar="FILE", help="all figures, to share: no audio, no text, no file names"
    )
    where.add_argument(
        "--with-text", action="store_true", help="for --json: with file names, truths and what was heard"
    )
    config.add_arguments(parser, {"Model"})


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, write; 1 if a recording could not be read, or the entry that was asked for is not known."""
    settings = config.load(arguments, os.environ)
    floors, margins = _grid(arguments)
    for flag, path in (("--entry", arguments.entry), ("--json", arguments.json)):
        if path is not None and not path.absolute().parent.is_dir():
            raise ConfigError(f"{flag}: {path} cannot be written: there is no directory {path.parent}")
    sources = _sources(arguments.paths)

    from datetime import UTC, datetime

    from rich.console import Console

    from streamasr.bench.measure import Plan, measure
    from streamasr.bench.report import advice, report
    from streamasr.bench.sharing import entry_text, shared

    console = Console(stderr=True)
    with _phases(console) as phase:
        recordings, bad = _read(sources, 60 * arguments.minutes, phase, console)
        if not recordings:
            return 1
        setup, facts, entry = _setup(settings, arguments.language, phase)
        _check_languages(recordings, arguments.language, entry)
        measured = measure(recordings, setup, Plan(not arguments.no_streams, floors, margins))
    out = Console(highlight=False)
    out.print(report(measured.figures, facts))
    written = None
    if arguments.entry and measured.figures.sweep is not None:
        found = entry_text(measured.figures.sweep, entry, f"{datetime.now(UTC):%Y-%m-%d}", facts.machine)
        if found is not None:
            _write(arguments.entry, found.encode(), "--entry")
            written = str(arguments.entry)
    if arguments.json:
        texts = measured.texts if arguments.with_text else []
        _write(arguments.json, shared(measured.figures, facts, entry, texts), "--json")
    out.print(advice(measured.figures, facts, written))
    if arguments.entry and written is None:
        console.print(
            f"streamasr: {arguments.entry} was not written: there was too little speech to tell", markup=False
        )
    return 1 if bad or (arguments.entry and written is None) else 0


def _grid(arguments: argparse.Namespace) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The floors and margins to try; none without ``--sweep``."""
    if not arguments.sweep:
        for name in ("floors", "margins", "entry"):
            if getattr(arguments, name):
                raise ConfigError(f"--{name} is for --sweep, which was not asked for")
        return (), ()
    from streamasr.bench.sweep import FLOORS_S, MARGINS_S

    floors = _seconds("--floors", arguments.floors) if arguments.floors else FLOORS_S
    margins = _seconds("--margins", arguments.margins) if arguments.margins else MARGINS_S
    return floors, margins


def _seconds(flag: str, text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"{flag}: expected seconds separated by commas, got {text!r}") from error
    if not all(0 <= value <= 30 for value in values):
        raise ConfigError(f"{flag}: expected seconds from 0 to 30, got {text!r}")
    return values


def _sources(paths: Sequence[str]) -> "list[Source]":
    """The recordings that were named, with their truths."""
    from streamasr.bench.recordings import is_truth, pair
    from streamasr.commands.inputs import find

    said = [path for path in paths if is_truth(Path(path)) and not Path(path).is_dir()]
    named = [path for path in paths if path not in said]
    truths = [Path(file) for path in said for file in (glob(path) or [path])]  # noqa: PTH207 - it may be absolute
    if not named:
        raise ConfigError(f"{paths[0]} is what was said; expected a recording too")
    beside = [file for path in named if Path(path).is_dir() for file in Path(path).rglob("*") if is_truth(file)]
    found = find(named, None)
    audio = [recording.path for recording in found.recordings if recording.path is not None]
    if found.problems and not (audio and beside):  # a directory may hold truths only
        raise ConfigError(found.problems[0])
    if not audio:
        raise ConfigError(f"{named[0]}: there is no recording; expected audio or video files")
    return pair(audio, truths, beside)


def _read(
    sources: "Sequence[Source]", limit_s: float, phase: "Phase", console: "Console"
) -> "tuple[list[Recording], int]":
    """As many recordings as the limit allows, and how many of them could not be read."""
    from streamasr.bench.recordings import read
    from streamasr.errors import ClientError

    advance = phase("reading", limit_s)
    recordings: list[Recording] = []
    bad, left_s = 0, limit_s
    for number, source in enumerate(sources):
        try:
            recording = read(source, left_s, advance) if left_s >= 1 else None
        except ClientError as error:
            console.print(f"streamasr: {error.message}", markup=False, highlight=False)
            bad += 1
            continue
        if recording is None:
            if not recordings:
                raise ConfigError(
                    f"{source.path} is longer than {limit_s / 60:g} minutes, and its truth has no word times to cut it"
                    " by; expected a shorter recording or a larger --minutes"
                )
            rest = len(sources) - number
            console.print(f"The last {rest} of {len(sources)} recordings are left out: --minutes {limit_s / 60:g}.")
            break
        recordings.append(recording)
        left_s -= recording.seconds
    return recordings, bad


def _load(settings: "Settings") -> "tuple[ModelEntry, Placement, Ct2Engine]":
    """The model that the settings mean, fetched if need be, and the engine that runs it as the server would."""
    import asyncio
    import time

    from streamasr.commands.show import at_terminal, loading_shown
    from streamasr.inference import hardware
    from streamasr.inference.ct2 import Ct2Engine
    from streamasr.inference.loading import Loading, model_source

    with loading_shown() as watcher:
        loaded = asyncio.run(_bring(model_source(settings, terminal=at_terminal()), Loading(watcher)))
        entry = loaded.model
        watcher(f"loading {entry.name}", None)
        placement = hardware.pick(
            hardware.survey(),
            device=settings.device,
            compute_type=settings.compute_type,
            threads=settings.threads,
            needs=entry.needs,
        )
        engine = Ct2Engine(
            entry,
            device=placement.device,
            device_index=placement.device_indexes[:1],  # the simulated clock is that of one device
            compute_type=placement.compute_type,
            threads=placement.threads,
            max_batch=settings.max_batch,
            clock=time.perf_counter,
        )
    for line in (loaded.reason, loaded.notice):
        if line:
            print(f"streamasr: {line}", file=sys.stderr)
    return entry, placement, engine


def _check_languages(recordings: "Sequence[Recording]", asked: str, entry: "ModelEntry") -> None:
    """A model that does not know a language would be measured on what it makes of it."""
    known = f"{entry.name} knows only {', '.join(entry.languages)}"
    if asked != "auto" and asked not in entry.languages:
        raise ConfigError(f"--language: expected a language of the model, got {asked!r}: {known}")
    for recording in recordings:
        language = recording.truth.language if recording.truth and asked == "auto" else None
        if language is not None and language not in entry.languages:
            raise ConfigError(f"{recording.name}: its truth is in {language!r}, but {known}")


async def _bring(source: "ModelSource", loading: "Loading") -> "Loaded":
    return await source(loading)


def _setup(settings: "Settings", language: str, phase: "Phase") -> "tuple[Setup, Facts, ModelEntry]":
    """What is measured, and with what."""
    import time

    from streamasr.bench import memory
    from streamasr.bench.measure import Setup
    from streamasr.bench.meter import Meter
    from streamasr.bench.report import facts_of
    from streamasr.core.options import SessionOptions
    from streamasr.inference import machine
    from streamasr.inference.engine import Stages
    from streamasr.inference.vad import VadModel

    before = memory.resident()
    entry, placement, engine = _load(settings)
    after = memory.resident()
    policy = entry.policy(encoder_window_s=settings.encoder_window)
    stages: list[Stages] = []
    engine.on_stages = stages.append
    setup = Setup(
        meter=Meter(engine, policy, time.perf_counter, stages),
        vad=VadModel(),
        policy=policy,
        guards=entry.guards,
        options=SessionOptions(language=language),
        clock=time.perf_counter,
        phase=phase,
    )
    placed = (placement.device, placement.compute_type, placement.threads)
    return setup, facts_of(entry, placed, str(machine.cores()), (before, after)), entry


@contextmanager
def _phases(console: "Console") -> "Iterator[Phase]":
    """A bar for each phase at a terminal, a line elsewhere."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bars:

        def phase(text: str, total: float) -> "Advance":
            if not console.is_terminal:
                console.print(f"streamasr: {text}", markup=False, highlight=False)
            for before in bars.tasks:  # what was measured in the end is all there was
                bars.update(before.id, total=before.completed or 1, completed=before.completed or 1)
            task = bars.add_task(text, total=total or None)

            def advance(amount: float) -> None:
                bars.advance(task, amount)

            return advance

        yield phase


def _write(path: Path, content: bytes, flag: str) -> None:
    """Write a file that was asked for."""
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ConfigError(f"{flag}: {path} cannot be written: {error.strerror}") from error
