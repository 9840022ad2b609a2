"""Figures in the documentation: the parts of a page between marks, written from the files that commands wrote.

Such a part stands between ``<!-- figures:NAME -->`` and ``<!-- /figures:NAME -->`` and holds what is in ``NAME.json``,
beginning with the command that measured it. So no figure can be without its command, or be changed by hand. Pure but
for reading a file.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from benchmarks.report import markdown
from benchmarks.sheet import Sheet
from loadtest import plots, tables
from loadtest.results import Results

PICTURES = Path("docs/pictures")
"""Where the plots are, unless somebody says otherwise."""
PART = re.compile(r"<!-- figures:([\w-]+) -->\n(.*?)<!-- /figures:\1 -->", re.DOTALL)


Source = Results | Sheet


class _Kind(msgspec.Struct, frozen=True):
    kind: Literal["sheet", "run", "ramp", "limit", "compare"]


def load(path: Path) -> Source:
    """A file of figures.

    Raises:
        OSError: it cannot be read.
        ValueError: it is something else.
    """
    data = path.read_bytes()
    try:
        kind = msgspec.json.decode(data, type=_Kind).kind
        if kind == "sheet":
            return msgspec.json.decode(data, type=Sheet)
        return msgspec.json.decode(data, type=Results)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{path} has no figures: {error}") from error


def drawn(source: Source) -> dict[str, str]:
    """The plots that a page shows of it, by name, as SVG text."""
    if isinstance(source, Sheet):
        return {}
    by_load = plots.load([source])
    if by_load or len(source.runs) != 1:
        return by_load
    return {name: svg for name, svg in plots.run(source.runs[0]).items() if name in ("lags", "cpu", "batches")}


def part(name: str, source: Source, pictures: str) -> str:
    """What stands between a part's marks; ``pictures``: where the plots are, from the page."""
    blocks = [f"```console\n$ {source.command}\n```"]
    if isinstance(source, Sheet):
        blocks += [source.conditions, *(markdown(grid).strip() for grid in source.tables)]
        blocks += [f"```text\n{source.text}```"] if source.text else []
    else:
        blocks += [_said(source), *(markdown(grid).strip() for grid in tables.grids(source))]
        blocks.append("\n".join(f"![{_alt(plot)}]({pictures}/{name}-{plot}.svg)" for plot in drawn(source)))
    return "\n\n".join(block for block in blocks if block) + "\n"


def rewrite(page: str, sources: Mapping[str, Source], pictures: str) -> str:
    """The page with those of its parts replaced that these are the sources of; others stay as they are."""

    def replaced(match: re.Match[str]) -> str:
        name = match[1]
        inside = part(name, sources[name], pictures) if name in sources else match[2]
        return f"<!-- figures:{name} -->\n{inside}<!-- /figures:{name} -->"

    return PART.sub(replaced, page)


def rewrite_all(places: Sequence[Path], sources: Mapping[str, Source], pictures: Path = PICTURES) -> None:
    """Rewrite pages in their files.

    Raises:
        OSError: one cannot be read or written.
        ValueError: none of them has a part for one of the sources.
    """
    pages = {place: place.read_text("utf-8") for place in places}
    if missing := sources.keys() - {name for page in pages.values() for name in names(page)}:
        name = min(missing)
        raise ValueError(f"no page has a part between <!-- figures:{name} --> and <!-- /figures:{name} -->")
    for place, page in pages.items():
        place.write_text(rewrite(page, sources, seen_from(place, pictures)), "utf-8")


def seen_from(place: Path, pictures: Path) -> str:
    """The directory of the plots as a page's links name it."""
    return Path(os.path.relpath(pictures, place.parent)).as_posix()


def names(page: str) -> dict[str, str]:
    """The parts of a page: what stands between the marks of each."""
    return {match[1]: match[2] for match in PART.finditer(page)}


def _said(source: Results) -> str:
    lines = [tables.conditions(source.runs)] if source.runs else []
    if source.limit is not None:
        lines.append(
            f"**{source.limit} streams** are served with a p95 of word shown ≤ {source.limit_shown_p95_s:g} s."
        )
    if source.runs:
        lines.append(tables.summary(source.runs))
    return "\n".join(lines)


def _alt(plot: str) -> str:
    return plot.replace("-", " ")
