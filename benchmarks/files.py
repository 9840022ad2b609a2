"""Whole files: how fast and how right, beside faster-whisper on the same model, threads and machine.

    python -m benchmarks.files                          # the `long` recordings, three rounds
    python -m benchmarks.files --sets long,seen,unseen --rounds 5 --json files.json
    python -m benchmarks.files --beside                 # what a file costs live sessions, in real time

Every system transcribes every recording once a round, in turn, so that a busy machine harms them alike. Each reads
the file itself. Speeds are seconds of audio a second, the median of the rounds.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Protocol

import msgspec
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks import evalset
from benchmarks.beside import Disturbance, disturb
from benchmarks.evalset import Recording
from benchmarks.report import Grid, rich_table
from streamasr.bench.scoring import Errors, Interval, count_errors, normalise, paired_bootstrap
from streamasr.core.events import Segment
from streamasr.core.options import FileOptions
from streamasr.inference.engine import Engine
from streamasr.inference.files import Preparation, Transcriber
from streamasr.inference.files import Progress as FileProgress
from streamasr.inference.models import ModelEntry, resolve

OURS, BATCHED, PLAIN, OPENAI = "streamasr", "faster-whisper, batched", "faster-whisper", "openai-whisper"
BATCH = 8
"""The batched pipeline's default."""


class System(Protocol):
    """Something that transcribes files."""

    def transcribe(self, path: Path, language: str) -> str:
        """The text of a file in a language."""


class Ours:
    """The file lane, as the command line uses it."""

    def __init__(
        self, entry: ModelEntry, threads: int, options: FileOptions, *, engine: Callable[..., Engine] | None = None
    ) -> None:
        self._entry = entry
        self._threads = threads
        self._options = options
        self._engine = engine
        self._runner = asyncio.Runner()
        self._transcriber = self._runner.run(self._start())
        self.preparation: list[Preparation] = []
        """Of every file so far."""

    def transcribe(self, path: Path, language: str) -> str:
        """The text of a file in a language."""
        return self._runner.run(self._transcribe(path, language))

    def close(self) -> None:
        """Stop the threads."""
        self._runner.run(self._backend.close())
        self._scorer.close()
        self._runner.close()

    async def _start(self) -> Transcriber:
        from streamasr.inference.ct2 import Ct2Engine
        from streamasr.inference.scorer import Scorer
        from streamasr.inference.vad import VadModel
        from streamasr.inference.worker import LocalBackend

        engine = self._engine or Ct2Engine
        self._backend = LocalBackend(
            lambda: engine(self._entry, threads=1, replicas=self._threads, clock=time.perf_counter)
        )
        await self._backend.start()
        self._scorer = Scorer()
        return Transcriber(self._backend, self._scorer, VadModel(), self._entry.policy())

    async def _transcribe(self, path: Path, language: str) -> str:
        from streamasr.inference.media import decode

        texts = []
        options = msgspec.structs.replace(self._options, language=language)
        async for item in self._transcriber.transcribe(decode(path), options):
            if isinstance(item, Segment):
                texts.append(item.text)
            elif isinstance(item, FileProgress):
                last = item.preparation
        self.preparation.append(last)
        return " ".join(texts)


class FasterWhisper:
    """faster-whisper, plain or by its batched pipeline; everything but beam and threads as it comes."""

    def __init__(self, entry: ModelEntry, threads: int, beam: int, *, batched: bool) -> None:
        import faster_whisper
        from ctranslate2 import set_random_seed

        set_random_seed(0)  # its fallback samples
        model = faster_whisper.WhisperModel(str(entry.path), device="cpu", cpu_threads=threads)
        self._pipeline = faster_whisper.BatchedInferencePipeline(model) if batched else None
        self._model = model
        self._beam = beam

    def transcribe(self, path: Path, language: str) -> str:
        """The text of a file in a language."""
        if self._pipeline is not None:
            segments, _ = self._pipeline.transcribe(
                str(path), language=language, beam_size=self._beam, batch_size=BATCH
            )
        else:
            segments, _ = self._model.transcribe(str(path), language=language, beam_size=self._beam)
        return " ".join(segment.text.strip() for segment in segments)


class OpenAIWhisper:
    """openai-whisper, where it is installed; everything but beam and threads as it comes."""

    def __init__(self, name: str, threads: int, beam: int) -> None:
        import torch
        import whisper

        torch.set_num_threads(threads)
        self._model = whisper.load_model(name, device="cpu")
        self._beam = beam

    def transcribe(self, path: Path, language: str) -> str:
        """The text of a file in a language."""
        from streamasr.inference.media import decode

        audio = np.concatenate(list(decode(path)))
        return str(self._model.transcribe(audio, language=language, beam_size=self._beam, fp16=False)["text"]).strip()


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One system's."""

    name: str
    speeds: list[float]
    """Seconds of audio a second, each round's."""
    errors: list[Errors]
    """Each recording's, in the last round."""
    texts: list[str]

    @property
    def speed(self) -> float:
        """Median of the rounds."""
        return median(self.speeds)

    @property
    def total(self) -> Errors:
        """Of all recordings."""
        return sum(self.errors, Errors())


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    systems: list[Figures]
    audio_s: float
    preparation_ms: dict[str, float]
    """Milliseconds of CPU a second of audio: decode, gate, both."""
    conditions: dict[str, object]


def measure(
    systems: dict[str, System],
    place: Path,
    recordings: Sequence[Recording],
    rounds: int,
    report: Callable[[], object] = lambda: None,
) -> list[Figures]:
    """Every system transcribes every recording once a round, in turn; a round before is not counted."""
    audio_s = sum(recording.duration for recording in recordings)
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    texts: dict[str, list[str]] = {name: [""] * len(recordings) for name in systems}
    for system in systems.values():  # what is loaded on first use is loaded now
        system.transcribe(place / recordings[0].path, recordings[0].lang)
    for _ in range(rounds):
        for spent in seconds.values():
            spent.append(0.0)
        for index, recording in enumerate(recordings):
            for name, system in systems.items():
                began = time.perf_counter()
                texts[name][index] = system.transcribe(place / recording.path, recording.lang)
                seconds[name][-1] += time.perf_counter() - began
                report()
    return [
        Figures(
            name=name,
            speeds=[audio_s / spent for spent in seconds[name]],
            errors=[
                count_errors(normalise(r.text, r.lang), normalise(text, r.lang))
                for r, text in zip(recordings, texts[name], strict=True)
            ],
            texts=texts[name],
        )
        for name in systems
    ]


def difference(ours: Figures, other: Figures) -> Interval:
    """Our word error rate minus theirs, in points, with its interval over recordings."""
    pairs = [(a.total, b.total, a.words) for a, b in zip(ours.errors, other.errors, strict=True)]
    return paired_bootstrap(pairs)


def speed_ratio(ours: Figures, other: Figures) -> float:
    """How many times as fast: the median of the rounds' ratios."""
    return median(a / b for a, b in zip(ours.speeds, other.speeds, strict=True))


def table(systems: Sequence[Figures]) -> Grid:
    """The figures beside each other."""
    ours = systems[0]
    lines = []
    for one in systems:
        d = difference(ours, one)
        same = one is ours
        lines.append(
            (
                one.name,
                f"{one.speed:.1f}",
                "–" if same else f"{speed_ratio(ours, one):.2f}",
                f"{one.total.wer:.1f}",
                "–" if same else f"{d.difference:+.1f} [{d.low:+.1f}, {d.high:+.1f}]",
            )
        )
    header = ("", "× real time", "we are × as fast", "WER, %", "ours − theirs, points")
    return Grid("Whole files; the difference has its 95 % interval over files.", header, tuple(lines))


def disturbance_table(found: Disturbance) -> Grid:
    """The rounds beside each other."""
    lines = tuple(
        (str(number), f"{a[0]:.2f} / {a[1]:.2f}", f"{b[0]:.2f} / {b[1]:.2f}", f"{100 * (b[1] / a[1] - 1):+.0f} %")
        for number, (a, b) in enumerate(zip(found.alone, found.beside, strict=True), 1)
    )
    header = ("round", "alone, s p50 / p95", "beside a file", "p95 moves")
    return Grid(f"Words shown after their end. Median of the moves: {100 * found.moved:+.0f} %.", header, lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write; returns the exit code."""
    arguments = _arguments(argv)
    console = Console(stderr=True)
    found = _disturb(arguments, console) if arguments.beside else _measure(arguments, console)
    out = Console()
    if isinstance(found, Disturbance):
        out.print(rich_table(disturbance_table(found)))
        out.print(f"{found.file_seconds:.0f} s of audio were transcribed beside them.")
    else:
        out.print(rich_table(table(found.systems)))
        parts = ", ".join(f"{name} {ms:.2f}" for name, ms in found.preparation_ms.items())
        out.print(f"CPU milliseconds a second of audio: {parts}")
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1))
    return 0


def _measure(arguments: argparse.Namespace, console: Console) -> Measured:
    entry = resolve(arguments.model)
    place = arguments.place or evalset.default_place()
    recordings = evalset.load(place, tuple(arguments.sets.split(",")), arguments.every)
    threads, beam = arguments.threads, arguments.beam
    ours = Ours(entry, threads, FileOptions(beam_size=beam))
    systems: dict[str, System] = {OURS: ours}
    systems[BATCHED] = FasterWhisper(entry, threads, beam, batched=True)
    if not arguments.no_plain:
        systems[PLAIN] = FasterWhisper(entry, threads, beam, batched=False)
    if arguments.openai:
        systems[OPENAI] = OpenAIWhisper(arguments.openai, threads, beam)
    with _progress(console) as progress:
        bar = progress.add_task("files", total=arguments.rounds * len(recordings) * len(systems))
        figures = measure(systems, place, recordings, arguments.rounds, lambda: progress.advance(bar))
    ours.close()
    audio_s = sum(recording.duration for recording in recordings)
    heard_s = recordings[0].duration + arguments.rounds * audio_s
    decode = 1000 * sum(p.decode_cpu_s for p in ours.preparation) / heard_s
    gate = 1000 * sum(p.gate_cpu_s for p in ours.preparation) / heard_s
    conditions: dict[str, object] = {
        "model": entry.name,
        "sets": arguments.sets,
        "files": len(recordings),
        "rounds": arguments.rounds,
        "threads": threads,
        "beam": beam,
        "cores": os.cpu_count(),
    }
    spent = {"decode": decode, "gate": gate, "together": decode + gate}
    return Measured(systems=figures, audio_s=audio_s, preparation_ms=spent, conditions=conditions)


def _disturb(arguments: argparse.Namespace, console: Console) -> Disturbance:
    place = arguments.place or evalset.default_place()
    with _progress(console) as progress:
        bar = progress.add_task("live streams", total=2 * arguments.rounds)
        return asyncio.run(
            disturb(
                arguments.model,
                place,
                streams=arguments.streams,
                rounds=arguments.rounds,
                report=lambda: progress.advance(bar),
            )
        )


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    )


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.files", description="Whole files beside faster-whisper; a file beside live streams."
    )
    parser.add_argument("--model", default="nano", help="nano, or a directory in CTranslate2 format")
    parser.add_argument("--place", type=Path, help="directory with manifest.jsonl (default: the fullest there is)")
    parser.add_argument("--sets", default="long", help="comma-separated (default: long)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th recording of a set")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds (default: 3)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, metavar="N", help="of every system")
    parser.add_argument("--beam", type=int, default=5, metavar="N", help="of every system (default: 5)")
    parser.add_argument("--no-plain", action="store_true", help="leave out faster-whisper without batches")
    parser.add_argument(
        "--openai", metavar="NAME", help="also openai-whisper, to be installed by hand: the same model's name there"
    )
    parser.add_argument("--beside", action="store_true", help="live streams with and without a file beside them")
    parser.add_argument("--streams", type=int, default=4, metavar="N", help="live streams at a time, with --beside")
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything, down to each recording's text")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
