"""The streaming policy's numbers, swept on the simulated clock.

    python -m benchmarks.sweep --change hop=300 --change hop=600 --change pre_roll=300 longest_window=6000

Each ``--change`` is one row: the default policy with these numbers changed (milliseconds; scores and
confidences as they are). Real decodes; the engine's time comes from the committed cost table, so every figure
is the same on every machine. ``--report`` writes the table between the markers of a Markdown page.
"""

import argparse
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from rich.progress import track

from benchmarks.evalset import Pcm, Recording, default_place, load, read_audio
from benchmarks.reference import Reference
from benchmarks.results import Heard, Row, Score, Streamed, rows, score
from streamasr.bench.simulated import Simulation, Stream
from streamasr.bench.streamed import erased_words, final_words, shown
from streamasr.core.events import SAMPLE_RATE, Window
from streamasr.core.options import SessionOptions
from streamasr.core.policy import Policy, ms
from streamasr.inference.ct2 import Ct2Engine
from streamasr.inference.models import resolve
from streamasr.inference.vad import VadModel

PAUSE_S, KEPT_S = 0.2, 0.05
"""``--no-pauses``: gaps longer than this are cut out, but for so much beside each word."""
BEGIN, END = "<!-- sweep -->", "<!-- /sweep -->"
COLUMNS = (
    "set",
    "WER",
    "reference",
    "difference",
    "shown p50/p95",
    "stable p50/p95",
    "erased",
    "word times",
    "doubled",
    "lost runs",
)


class Sweep:
    """The recordings, their references, and the engine that all rows share."""

    def __init__(
        self, place: Path, recordings: Sequence[Recording], language: str | None, *, pauses: bool = True
    ) -> None:
        entry = resolve("nano")
        self.policy = entry.policy()
        self._engine = Ct2Engine(entry, threads=1)
        self._vad = VadModel()
        self._language = language
        self._pauses = pauses
        reference = Reference(entry)
        self._heard: list[tuple[Recording, Pcm, Heard]] = []
        for recording in track(recordings, "reference"):
            pcm = read_audio(place, recording)
            heard = Heard(reference=reference.transcribe(pcm, recording))
            self._heard.append((recording, pcm if pauses else without_pauses(pcm, recording), heard))

    def row(self, changes: dict[str, float], label: str) -> tuple[list[Row], str]:
        """Stream everything under a changed policy; figures per set, and what it took and was like, in words."""
        policy = changed(self.policy, changes)
        scores: list[Score] = []
        windows = taken_back = words = 0
        for recording, pcm, heard in track(self._heard, label):
            simulation = Simulation(self._engine, self._vad.lane, policy, partial(batch_cost, self._engine))
            options = SessionOptions(
                language=self._language or recording.lang, endpointing_ms=round(changes.get("endpointing", 500))
            )
            log = simulation.run([Stream(pcm, options)])[0]
            windows += len(simulation.windows)
            seen = tuple(shown(log))
            taken_back += erased_words(seen, recording.lang)
            words += len(final_words(seen))
            scores.append(score(recording, Streamed(log=seen), heard, real_time=self._pauses))
        restless = f"{100 * taken_back / words:.0f} shown words taken back for each 100" if words else "no words"
        return rows(scores), f"{windows} windows; {restless}"


def without_pauses(pcm: Pcm, recording: Recording) -> Pcm:
    """The recording as though its speaker never paused; the truth's times no longer hold."""
    spans: list[list[float]] = []
    for word in recording.words:
        if spans and word.start - spans[-1][1] < PAUSE_S:
            spans[-1][1] = word.end
        else:
            spans.append([word.start, word.end])
    pieces = [
        pcm[max(0, round((start - KEPT_S) * SAMPLE_RATE)) : round((end + KEPT_S) * SAMPLE_RATE)] for start, end in spans
    ]
    return np.concatenate(pieces) if pieces else pcm


def batch_cost(engine: Ct2Engine, batch: Sequence[Window]) -> float:
    """Virtual seconds of a batch."""
    return engine.cost(len(batch), max(window.encoder_samples for window in batch))


def changed(policy: Policy, changes: dict[str, float]) -> Policy:
    """The policy with some numbers changed: whole numbers of samples are given in milliseconds."""
    values = {
        name: ms(value) if isinstance(getattr(policy, name), int) else value
        for name, value in changes.items()
        if name != "endpointing"
    }
    return msgspec.structs.replace(policy, **values)


def lines(label: str, figures: Sequence[Row], about: str) -> list[str]:
    """One Markdown table."""
    table = [f"**{label}** ({about})", "", "| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    for row in figures:
        d = row.difference
        lags = [f"{p50:.2f}/{p95:.2f} s" for p50, p95 in (row.shown, row.stable)]
        timed = [*lags, f"{row.erased_share:.0f} %", f"{500 * (row.start_error + row.end_error):.0f} ms"]
        cells = [
            *(
                row.name,
                f"{row.streamed:.1f}",
                f"{row.reference:.1f}",
                f"{d.difference:+.1f} [{d.low:+.1f}, {d.high:+.1f}]",
            ),
            *(["–"] * len(timed) if math.isnan(row.shown[0]) else timed),
            *(f"{row.doubled} ({row.reference_doubled})", f"{row.lost} ({row.reference_lost})"),
        ]
        table.append("| " + " | ".join(cells) + " |")
    return [*table, ""]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.sweep", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--place", type=Path, default=default_place(), help="directory with manifest.jsonl")
    parser.add_argument("--sets", nargs="+", default=["seen", "unseen", "long", "noisy"])
    parser.add_argument("--every", type=int, default=1, help="take every n-th recording")
    parser.add_argument("--language", help="for all (auto: let the model decide); the recording's own if not given")
    parser.add_argument("--change", nargs="+", action="append", default=[], metavar="NUMBER=VALUE")
    parser.add_argument("--no-pauses", action="store_true", help="cut the pauses out: word errors only")
    parser.add_argument("--report", type=Path, help="a Markdown page to write the tables into")
    arguments = parser.parse_args()
    sweep = Sweep(
        arguments.place,
        load(arguments.place, tuple(arguments.sets), arguments.every),
        arguments.language,
        pauses=not arguments.no_pauses,
    )
    report: list[str] = []
    for words in [[], *arguments.change]:
        changes = {name: float(value) for name, value in (word.split("=") for word in words)}
        label = ", ".join(words) or "defaults"
        report += lines(label, *sweep.row(changes, label))
        print("\n".join(report[-len(arguments.sets) - 6 :]))
    if arguments.report:
        before, rest = arguments.report.read_text("utf-8").split(BEGIN)
        after = rest.split(END)[1]
        arguments.report.write_text("\n".join([before + BEGIN, "", *report, END]) + after, "utf-8")


if __name__ == "__main__":
    main()
