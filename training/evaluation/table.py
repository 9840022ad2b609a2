"""The table an edition is judged by: what was measured, the goals, and another edition beside it."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from training.evaluation.measure import Report


class Row(NamedTuple):
    """One measurement."""

    name: str
    title: str
    goal: float | None
    """None: reported only."""
    better: Literal["lower", "higher"] = "lower"
    digits: int = 1


ROWS = (
    Row("wer_seen", "WER `seen`, %", 8),
    Row("wer_unseen", "WER `unseen`, %", 20),
    Row("wer_long", "WER `long`, true utterances, %", 10),
    Row("wer_noisy", "WER `noisy`, %", 20),
    Row("wer_lang_de", "WER German, %", None),
    Row("wer_lang_es", "WER Spanish, %", None),
    Row("silence_with_words", "`silence` files with words", 0, digits=0),
    Row("short_window_points", "short windows against 30 s padding, points of WER", 0.5, digits=2),
    Row("word_time_ms", "word-time error, mean, ms", 60, digits=0),
    Row("language_percent", "language told apart en/de/es, %", 95, "higher"),
    Row("cut_clean_percent", "cut in mid-word, nothing invented after it, %", 95, "higher"),
    Row("megabytes", "size, MB", 15),
)


def reached(row: Row, value: float) -> bool | None:
    """Is the goal met? None if there is none."""
    if row.goal is None:
        return None
    return value <= row.goal if row.better == "lower" else value >= row.goal


def markdown(columns: Sequence[tuple[str, Report]]) -> str:
    """One row for each measurement, one column for each edition; a goal that is met has a tick."""
    lines = ["| " + " | ".join(["measure", "goal", *(name for name, _ in columns)]) + " |"]
    lines.append("|" + "---|" * (2 + len(columns)))
    for row in ROWS:
        goal = "" if row.goal is None else f"{'≤' if row.better == 'lower' else '≥'} {row.goal:g}"
        cells = [_cell(row, report) for _, report in columns]
        lines.append("| " + " | ".join([row.title, goal, *cells]) + " |")
    return "\n".join(lines)


def _cell(row: Row, report: Report) -> str:
    if row.name not in report:
        return "–"
    value = report[row.name]
    return f"{value:.{row.digits}f}" + (" ✓" if reached(row, value) else "")
