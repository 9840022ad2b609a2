"""Streams recordings with known words through a server: how right, how soon, how steady its words are.

    python -m benchmarks.accuracy                         # all sets, one stream at a time, in real time
    python -m benchmarks.accuracy --speed 20 --parallel 4 # word errors only, sooner
    python -m benchmarks.accuracy --report docs/topics/accuracy.md

Owns the command line and the order of the work; the measuring is in the modules beside it.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks import evalset, report, server
from benchmarks.evalset import Pcm, Recording
from benchmarks.reference import Reference, WholeFile
from benchmarks.results import Heard, Row, Score, Streamed, rows, score
from benchmarks.streaming import TruthError, stream
from streamasr.inference.models import resolve
from streamasr_client import StreamError


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be measured, and how."""

    url: str | None
    """Of a running server; None: one of our own."""
    model: str
    """Of the reference, and of a server of our own."""
    place: Path
    sets: tuple[str, ...]
    every: int
    speed: float
    parallel: int
    level_dbfs: float | None
    """The speech level that every recording is brought to; None: as recorded."""
    language: str | None
    """What the sessions ask for; None: each recording's own."""
    tail_s: float
    reference: bool
    whole_file: bool

    @property
    def real_time(self) -> bool:
        """Whether lags mean something."""
        return self.speed == 1.0


class Task(msgspec.Struct, frozen=True):
    """One recording with its samples, as they will be sent."""

    recording: Recording
    pcm: Pcm


Outcome = Streamed | StreamError | TruthError
"""What came back of one recording, or why nothing did."""


class Figures(msgspec.Struct, frozen=True):
    """What came of it."""

    rows: list[Row]
    scores: list[Score]
    failures: list[str]
    """A line for each recording whose session failed; it is in no figure."""
    conditions: str


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write; returns the exit code."""
    arguments = _arguments(argv)
    plan = _plan(arguments)
    console = Console(stderr=True)
    tasks = [Task(recording, _audio(plan, recording)) for recording in _recordings(plan)]
    with _progress(console) as progress:
        heard = _hear(plan, tasks, progress)
        streamed = asyncio.run(_stream_all(plan, tasks, progress))
    scores, failures = [], []
    for task, outcome, other in zip(tasks, streamed, heard, strict=True):
        if isinstance(outcome, Streamed):
            scores.append(score(task.recording, outcome, other, real_time=plan.real_time))
        else:
            failures.append(f"{task.recording.id} failed: {type(outcome).__name__}: {outcome}")
    figures = Figures(rows(scores), scores, failures, _conditions(plan, scores, sys.argv[1:] if argv is None else argv))
    _publish(plan, figures, arguments)
    return 1 if failures else 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy", description="Accuracy and lag on recordings with known words."
    )
    what = parser.add_argument_group("what is measured")
    what.add_argument("--url", help="a running server's WebSocket address (default: start one)")
    what.add_argument("--model", default="nano", help="of the reference, and of a server started here")
    what.add_argument("--place", type=Path, help="directory with manifest.jsonl (default: the fullest there is)")
    what.add_argument("--sets", default="", help="comma-separated (default: all)")
    what.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th recording of a set")
    what.add_argument("--no-reference", action="store_true", help="leave out the model on true utterances")
    what.add_argument("--no-whole-file", action="store_true", help="leave out faster-whisper on whole files")
    how = parser.add_argument_group("how")
    how.add_argument("--speed", type=float, default=1.0, help="times real time; other than 1: no lags")
    how.add_argument("--parallel", type=int, default=1, metavar="N", help="streams at a time")
    how.add_argument("--level", type=float, metavar="DBFS", help="bring speech to this RMS level, such as -40")
    how.add_argument("--language", help="what sessions ask for, such as auto (default: the recording's)")
    how.add_argument("--tail", type=float, default=1.0, metavar="S", help="silence after each recording")
    where = parser.add_argument_group("where to")
    where.add_argument("--json", type=Path, metavar="FILE", help="everything, down to each recording's texts")
    where.add_argument("--report", type=Path, metavar="PAGE", help="rewrite the generated part of this page")
    return parser.parse_args(argv)


def _plan(arguments: argparse.Namespace) -> Plan:
    return Plan(
        url=arguments.url,
        model=arguments.model,
        place=arguments.place or evalset.default_place(),
        sets=tuple(name for name in arguments.sets.split(",") if name),
        every=arguments.every,
        speed=arguments.speed,
        parallel=arguments.parallel,
        level_dbfs=arguments.level,
        language=arguments.language,
        tail_s=arguments.tail,
        reference=not arguments.no_reference,
        whole_file=not arguments.no_whole_file,
    )


def _recordings(plan: Plan) -> list[Recording]:
    return evalset.load(plan.place, plan.sets, plan.every)


def _audio(plan: Plan, recording: Recording) -> Pcm:
    pcm = evalset.read_audio(plan.place, recording)
    return pcm if plan.level_dbfs is None else evalset.at_level(pcm, recording, plan.level_dbfs)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def _hear(plan: Plan, tasks: Sequence[Task], progress: Progress) -> list[Heard]:
    """What the model hears without streaming; before the server runs, so that neither disturbs the other."""
    entry = resolve(plan.model)
    reference = Reference(entry) if plan.reference else None
    whole = WholeFile(entry) if plan.whole_file else None
    if reference is None and whole is None:
        return [Heard()] * len(tasks)
    heard = []
    for task in progress.track(tasks, description="without streaming"):
        pcm, recording = task.pcm, task.recording
        heard.append(
            Heard(
                reference=reference.transcribe(pcm, recording) if reference else None,
                whole_file=whole.transcribe(pcm, recording, conditioned=True) if whole else None,
                whole_file_alone=whole.transcribe(pcm, recording, conditioned=False) if whole else None,
            )
        )
    return heard


async def _stream_all(plan: Plan, tasks: Sequence[Task], progress: Progress) -> list[Outcome]:
    if plan.url is not None:
        return await _stream_to(plan.url, plan, tasks, progress)
    async with server.running(plan.model) as url:
        return await _stream_to(url, plan, tasks, progress)


async def _stream_to(url: str, plan: Plan, tasks: Sequence[Task], progress: Progress) -> list[Outcome]:
    """Every recording through the server, ``parallel`` at a time."""
    bar = progress.add_task("streaming", total=len(tasks))
    places = asyncio.Semaphore(plan.parallel)

    async def one(task: Task) -> Outcome:
        async with places:
            language = plan.language or task.recording.lang
            try:
                return await stream(url, task.pcm, language, speed=plan.speed, tail_s=plan.tail_s)
            except (StreamError, TruthError) as error:
                return error
            finally:
                progress.advance(bar)

    async with asyncio.TaskGroup() as group:
        running = [group.create_task(one(task), name=task.recording.id) for task in tasks]
    return [task.result() for task in running]


def _publish(plan: Plan, figures: Figures, arguments: argparse.Namespace) -> None:
    """Print; write what was asked for, but a page only if nothing failed."""
    tables = report.grids(figures.rows, real_time=plan.real_time)
    console = Console()
    if not console.is_terminal:  # a file has room for whole tables
        console = Console(width=160)
    for table in tables:
        console.print(report.rich_table(table))
    for line in (*figures.failures, figures.conditions):
        console.print(line, markup=False)
    if arguments.json:
        conditions = {"text": figures.conditions, "failures": figures.failures} | msgspec.to_builtins(
            plan, enc_hook=str
        )
        arguments.json.write_bytes(report.as_json(conditions, figures.rows, figures.scores))
    if arguments.report and not figures.failures:
        page = arguments.report.read_text("utf-8")
        arguments.report.write_text(report.rewrite(page, figures.conditions, tables), "utf-8")


def _conditions(plan: Plan, scores: Sequence[Score], argv: Sequence[str]) -> str:
    """Under which conditions the figures are true: a sentence or two."""
    pace = "in real time" if plan.real_time else f"at {plan.speed:g} times real time"
    level = "as recorded" if plan.level_dbfs is None else f"at {plan.level_dbfs:g} dBFS"
    late = max((s.late for s in scores), default=0.0)
    return (
        f"`{' '.join(['python -m benchmarks.accuracy', *argv])}` on {datetime.now(UTC):%Y-%m-%d}: "
        f"model {plan.model}, {plan.parallel} at a time, {pace}, speech {level}, "
        f"{plan.tail_s:g} s of silence after each recording, {os.cpu_count()} cores; "
        f"no audio was sent more than {late:.2f} s late."
    )


if __name__ == "__main__":
    sys.exit(main())
