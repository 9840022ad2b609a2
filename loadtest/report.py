"""The report of a load test: one HTML page that needs nothing else, and the plots as files for the documentation.

    python -m loadtest.report A.json [B.json …] --html out.html
    python -m loadtest.report A.json [B.json …] --svg docs/pictures
    python -m loadtest.report A.json [B.json …] --docs docs/benchmarks.md

Takes what ``python -m loadtest --json`` wrote; measures nothing.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import msgspec

from benchmarks.report import Grid
from loadtest import pages, plots, tables
from loadtest.results import Figures, Results
from loadtest.search import broken, server_ms
from loadtest.svg import COLOURS, RULES, standalone

STYLE = Path(__file__).with_name("page.css")


def render(results: Results | Sequence[Results]) -> str:
    """The page.

    Raises:
        ValueError: there is no run in it.
    """
    several = [results] if isinstance(results, Results) else list(results)
    runs = [run for one in several for run in one.runs]
    if not runs:
        raise ValueError("there is no run to report on")
    body = [_head(several, runs), _tiles(several, runs), *_verdicts(runs), *(_result(one) for one in several)]
    if by_load := plots.load(several):
        body.append(_section("Against streams", by_load.values()))
    body += [_run(run) for run in runs] if len(runs) == 1 else [_folded(run) for run in runs]
    return _page("".join(body))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    options = _parser().parse_args(arguments)
    try:
        found = {path.stem: pages.load(path) for path in options.results}
        measured = [one for one in found.values() if isinstance(one, Results)]
        if options.html is not None:
            options.html.write_text(render(measured), "utf-8")
        if options.svg is not None:
            _draw(options.svg, found)
        if options.docs is not None:
            pages.rewrite_all(options.docs, found, options.svg or pages.PICTURES)
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        print(f"loadtest.report: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtest.report", description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="+", type=Path, metavar="JSON", help="what `python -m loadtest --json` wrote")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the page")
    parser.add_argument(
        "--svg", type=Path, metavar="DIR", help="write each plot as NAME-PLOT.svg, NAME from the JSON's"
    )
    parser.add_argument(
        "--docs",
        type=Path,
        nargs="+",
        metavar="PAGE",
        help="rewrite the parts of these pages between <!-- figures:NAME --> marks",
    )
    return parser


def _draw(directory: Path, found: dict[str, pages.Source]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, one in found.items():
        for plot, svg in pages.drawn(one).items():
            (directory / f"{name}-{plot}.svg").write_text(standalone(svg), "utf-8")


def _page(body: str) -> str:
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    style = f"<style>{COLOURS}{RULES}{STYLE.read_text('utf-8')}</style>"
    return (
        f'<!doctype html><html lang="en"><head>{head}<title>Load test</title>{style}</head>'
        f"<body><main>{body}</main></body></html>\n"
    )


def _head(several: Sequence[Results], runs: Sequence[Figures]) -> str:
    commands = dict.fromkeys(one.command for one in several)
    said = tables.conditions(runs) if len(several) == 1 else ""
    return f'<h1>Load test</h1><p class="soft">{escape(said)}</p><p>Run it again:</p>' + "".join(
        f"<pre>{escape(command)}</pre>" for command in commands
    )


def _tiles(several: Sequence[Results], runs: Sequence[Figures]) -> str:
    shown = [
        (str(one.limit), f"streams with p95 of word shown ≤ {one.limit_shown_p95_s:g} s")
        for one in several
        if one.limit is not None
    ]
    if len(runs) == 1:
        [run] = runs
        lags, quality = run.lags, run.quality
        cost = server_ms(run)
        shown += [
            (str(run.conditions.streams), "streams, all speaking"),
            (_figures(lags.shown.p50, lags.shown.p95), "word shown, s: p50 / p95"),
            (_figures(lags.final.p50, lags.final.p95, lags.final.p99), "speech end to final, s: p50 / p95 / p99"),
            ("–" if quality.wer is None else f"{quality.wer:.1f} %", "word errors"),
            (str(quality.stable_violations), "changes of stable text"),
            ("–" if cost is None else f"{cost:.1f} ms", "server CPU a stream-second"),
        ]
    tiles = "".join(f'<div class="tile"><b>{escape(v)}</b><span>{escape(text)}</span></div>' for v, text in shown)
    return f'<div class="tiles">{tiles}</div>' if tiles else ""


def _verdicts(runs: Sequence[Figures]) -> list[str]:
    """Whether the tool was the bottleneck, and which promises were broken where."""
    slow = any(run.tool.bottleneck for run in runs)
    said = [f'<p class="{"bad" if slow else "good"}">{escape(tables.summary(runs))}</p>']
    for run in runs:
        if promises := broken(run):
            too_many = ", more than are served" if run.within is False else ""
            at = f"{run.conditions.streams} streams{too_many}: " if len(runs) > 1 else ""
            expected = too_many and not run.quality.stable_violations  # which no load excuses
            kind = "soft" if expected else "bad"
            said.append(f'<p class="{kind}">{escape(at + "; ".join(promises))}.</p>')
        said += [f'<p class="soft">{escape(message)}</p>' for message in run.troubles.messages]
    return said


def _result(one: Results) -> str:
    return f'<h2>Figures</h2><div class="tables">{"".join(_table(grid) for grid in tables.grids(one))}</div>'


def _run(run: Figures) -> str:
    drawn = plots.run(run)
    beside = [grid for grid in (tables.server(run), tables.tool(run)) if grid is not None]
    groups = {
        "How late": ("lags", "shown", "final"),
        "Where the time went": ("cpu", "batches"),
        "Over the run": ("queue", "headroom", "cores", "memory"),
    }
    found = [_section(title, [drawn[name] for name in names if name in drawn]) for title, names in groups.items()]
    note = (
        '<p class="soft">The engine’s stages are by the clock of its thread, the gate in processor time; the rest is '
        "what is left of the server’s processor time.</p>"
    )
    return "".join([*found, note, f'<div class="tables">{"".join(_table(grid) for grid in beside)}</div>'])


def _folded(run: Figures) -> str:
    c = run.conditions
    title = f"{c.streams} streams" + (f" · {c.server}" if c.server else "")
    both = "".join(_table(grid) for grid in (tables.lags(run), tables.quality(run)))
    said = f'<p class="soft">{escape(tables.conditions([run]))}</p><div class="tables">{both}</div>'
    return f"<details><summary>{escape(title)}</summary>{said}{_run(run)}</details>"


def _section(title: str, drawn: Iterable[str]) -> str:
    every = "".join(drawn)
    return f'<h2>{escape(title)}</h2><div class="plots">{every}</div>' if every else ""


def _table(grid: Grid) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    head = row(grid.header, "th") if any(grid.header) else ""
    lines = "".join(row(line, "td") for line in grid.lines)
    return f'<div class="scroll"><table><caption>{escape(grid.title)}</caption>{head}{lines}</table></div>'


def _figures(*values: float | None) -> str:
    return " / ".join("–" if value is None else f"{value:.2f}" for value in values)


if __name__ == "__main__":
    sys.exit(main())
