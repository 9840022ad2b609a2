"""What the person at the terminal sees: a progress bar while it runs, a table at the end."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from loadtest.results import Distribution, Figures, Results
from loadtest.runner import Progress as Told
from loadtest.search import broken, server_ms


@contextmanager
def bar(console: Console, title: str, unit: str = "s") -> Iterator[Told]:
    """A progress bar in seconds or another ``unit``; without a terminal, one line."""
    if not console.is_terminal:
        console.print(escape(title))
        yield lambda _, __: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} " + unit),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(escape(title), total=1)
        yield lambda done, whole: progress.update(task, completed=done, total=whole)


def say_step(console: Console, figures: Figures, why: str) -> None:
    """One line for one step of a search: figures, and whether the streams were served."""
    shown, final, streams = figures.lags.shown, figures.lags.final, figures.conditions.streams
    verdict = f"too many: {why}" if why else "served"
    console.print(
        f"{streams:4d} streams: word shown p50/p95 {_s(shown.p50)}/{_s(shown.p95)}, final p95 {_s(final.p95)}, "
        f"WER {_number(figures.quality.wer)} %{_tool(figures)}; {escape(verdict)}"
    )


def say_figures(console: Console, figures: Figures) -> None:
    """The table of one run, and what was wrong with it."""
    conditions = figures.conditions
    title = f"{conditions.streams} streams, {conditions.idle} idle, {conditions.frame_ms} ms frames"
    table = Table(title=title, title_justify="left")
    for name in ("", "p50", "p95", "p99", "max", "count"):
        table.add_column(name, justify="left" if not name else "right")
    for name, found in (
        ("word shown", figures.lags.shown),
        ("word stable", figures.lags.stable),
        ("end of speech to final", figures.lags.final),
        ("end of speech to preflight", figures.lags.preflight),
        ("frames sent late", figures.tool.late),
    ):
        if found.count:
            table.add_row(name, *_row(found))
    console.print(table)
    for streams in figures.steps:
        console.print(
            f"{streams.streams:4d} streams: word shown p50/p95 {_s(streams.shown.p50)}/{_s(streams.shown.p95)}"
        )
    console.print(_quality(figures))
    if (cost := server_ms(figures)) is not None:
        ours = 1000 * figures.tool.cpu_s / figures.spoken_s
        console.print(f"CPU a second of speech: server {cost:.1f} ms, tool {ours:.1f} ms (idle sockets included)")
    for message in figures.troubles.messages:
        console.print(escape(message), style="red")
    for words in figures.quality.unheard_words:
        console.print(f"not heard: {escape(words)}")
    for promise in broken(figures):
        console.print(f"broken: {escape(promise)}", style="bold red")
    if figures.tool.bottleneck:
        console.print(f"The tool was the bottleneck: {escape(figures.tool.bottleneck)}.", style="bold yellow")


def say_results(console: Console, results: Results) -> None:
    """What a search or a comparison came to."""
    if results.limit is not None:
        limit = results.limit_shown_p95_s
        console.print(f"Limit: {results.limit} streams with p95 of word shown at most {limit:g} s.", style="bold")
    if results.comparison is None:
        return
    comparison = results.comparison
    table = Table(title=f"medians of {comparison.rounds} rounds in turns", title_justify="left")
    for name in ("", f"a: {comparison.a or 'defaults'}", f"b: {comparison.b or 'defaults'}", "a / b"):
        table.add_column(escape(name), justify="right" if name else "left")
    for name, (a, b) in comparison.medians.items():
        table.add_row(name, _number(a), _number(b), _number(comparison.ratios[name]))
    console.print(table)


def _quality(figures: Figures) -> str:
    quality = figures.quality
    reference = ""
    if quality.reference_wer is not None and quality.difference is not None:
        estimate, low, high = quality.difference
        reference = f" (without streaming {quality.reference_wer:.1f}: {estimate:+.1f} [{low:+.1f}, {high:+.1f}])"
    return (
        f"WER {_number(quality.wer)} %{reference} of {quality.words} words; lost runs {quality.lost}, doubled words "
        f"{quality.doubled}; erased {_number(quality.erased_per_word)} a word shown; stable text changed "
        f"{quality.stable_violations} times"
    )


def _row(found: Distribution) -> list[str]:
    return [_s(found.p50), _s(found.p95), _s(found.p99), _s(found.max), str(found.count)]


def _tool(figures: Figures) -> str:
    return " (the tool was the bottleneck)" if figures.tool.bottleneck else ""


def _s(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:.3f} s"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
