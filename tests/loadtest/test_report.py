"""The report: a page that stands alone, with every figure, and the documentation's parts."""

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from loads import COMMAND, comparison, limit, ramp, run, single

from benchmarks import sheet
from benchmarks.report import Grid
from loadtest import pages, plots, report, tables
from loadtest.results import Distribution, Lags, Results, write

VOID = {"meta"}


class Html(HTMLParser):
    """Checks that tags are balanced and gathers what is written."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.mark.parametrize("results", [single(), limit(), ramp(), comparison()], ids=["run", "limit", "ramp", "compare"])
def test_a_page_stands_alone(results):
    page = report.render(results)
    html = Html(page)

    assert not html.tags & {"script", "link", "img", "iframe"}
    assert not re.search(r"https?://|url\(|@import", page)
    assert results.command in html.text
    assert "svg" in html.tags


def test_a_page_of_one_run_shows_its_figures():
    text = Html(report.render(single(wer=25.34))).text

    assert "25.3 %" in text
    assert "25.3 (25.1 without streaming)" in text
    assert "The tool kept up: 99 % of the frames were at most 2 ms late, 31 % of a core." in text


def test_a_tool_that_was_the_bottleneck_says_so():
    page = report.render(single(bottleneck="the tool used 93 % of a core (at most 80)"))

    assert '<p class="bad">The tool was the bottleneck: the tool used 93 %' in page


def test_a_broken_promise_is_at_the_top():
    page = report.render(single(stable_violations=2))

    assert '<p class="bad">stable text was changed 2 times.</p>' in page


def test_only_changed_stable_text_is_bad_under_more_load_than_is_served():
    def page(**changed):
        runs = (run(4, within=True), run(8, within=False, **changed))
        return report.render(Results(kind="limit", command=COMMAND, runs=runs, limit=4, limit_shown_p95_s=1.5))

    assert '<p class="soft">8 streams, more than are served: 3 sessions were refused.</p>' in page(refused=3)
    assert '<p class="bad">8 streams, more than are served: stable text was' in page(stable_violations=1)


def test_what_a_service_said_is_not_taken_for_html():
    page = report.render(single(failed=1, messages=("lane 3: <script>alert(1)</script>",)))

    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_without_a_run_there_is_no_page():
    with pytest.raises(ValueError, match="no run"):
        report.render([])


def test_a_run_has_every_plot_that_there_are_values_for():
    assert set(plots.run(run())) == {
        "lags",
        "shown",
        "final",
        "cpu",
        "batches",
        "queue",
        "headroom",
        "cores",
        "memory",
    }
    nothing = Distribution()
    bare = {f: getattr(run(), f) for f in run().__struct_fields__} | {
        "lags": Lags(shown=nothing, stable=nothing, final=nothing, preflight=nothing),
        "server": None,
        "series": (),
    }
    assert plots.run(type(run())(**bare)) == {}


def test_lags_are_drawn_against_streams():
    assert set(plots.load([limit()])) == {"lag-by-streams", "final-by-streams", "cost-by-streams"}
    assert set(plots.load([ramp()])) == {"lag-by-streams", "final-by-streams"}
    assert plots.load([single()]) == {}
    assert "limit of p95" in plots.load([limit()])["lag-by-streams"]


def test_where_the_time_goes_adds_up_to_the_processor_time():
    parts = dict(plots.cpu_parts(run(streams=20)))

    assert parts["encode"] == pytest.approx(1000 * 20.4 / 1200)
    assert sum(parts.values()) == pytest.approx(1000 * 80 / 1200)


def test_the_tables_hold_the_figures():
    lags, quality = tables.grids(single())
    [each] = tables.grids(limit())
    [medians, turns] = tables.grids(comparison())
    _, steps, _ = tables.grids(ramp())

    assert [line[0] for line in lags.lines][:2] == ["word shown", "word stable"]
    assert ("stable text changed", "0 times") in quality.lines
    assert [(line[0], line[-1]) for line in each.lines] == [("8", "yes"), ("16", "yes"), ("32", "yes"), ("48", "no")]
    assert medians.lines[0] == ("streams within the limit", "32", "2", "16.00")
    assert [line[:2] for line in turns.lines] == [("as it comes", "2"), ("--encoder-window 30", "2")]
    assert [line[0] for line in steps.lines] == ["4", "8", "12"]
    assert all(
        len(line) == len(grid.header) for grid in (lags, quality, each, medians, turns, steps) for line in grid.lines
    )


def test_the_conditions_are_a_sentence():
    assert tables.conditions([run()]) == (
        "2026-11-21: native --model nano, model nano; 24 streams of 60 s all speaking, 50 idle sockets beside them, "
        "frames of 20 ms; the client says that speech has ended 200 ms after it has; recordings: seen, long; "
        "on a processor, 2 cores, the load tool beside it; streamasr 0.1, Python 3.11."
    )
    assert tables.conditions(comparison().runs).startswith("2026-11-21: native, model nano; streams of 60 s")


PAGE = """# Results

<!-- figures:limit -->
old
<!-- /figures:limit -->

Between.

<!-- figures:memory -->
<!-- /figures:memory -->
"""
SHEET = sheet.Sheet(
    command="python -m benchmarks.memory",
    conditions="Today.",
    text="an idle stream: 0.3 MB\n",
    tables=(Grid("Memory.", ("", "MB"), (("an idle stream", "0.3"),)),),
)


def test_a_page_is_rewritten_between_its_marks_only():
    page = pages.rewrite(PAGE, {"limit": limit()}, "../pictures")

    inside = pages.names(page)["limit"]
    assert inside.startswith("```console\n$ python -m loadtest --find-limit --json limit.json\n```\n\n2026-11-21")
    assert "**32 streams** are served with a p95 of word shown ≤ 1.5 s." in inside
    assert "| 48 |" in inside
    assert "![lag by streams](../pictures/limit-lag-by-streams.svg)" in inside
    assert "old" not in page
    assert page.partition("Between.")[2] == PAGE.partition("Between.")[2]
    assert pages.rewrite(page, {"limit": limit()}, "../pictures") == page


def test_figures_of_other_measurements_come_as_tables(tmp_path):
    (tmp_path / "memory.json").write_bytes(sheet.write(SHEET))
    (tmp_path / "page.md").write_text(PAGE)

    assert report.main([str(tmp_path / "memory.json"), "--docs", str(tmp_path / "page.md")]) == 0

    inside = pages.names((tmp_path / "page.md").read_text())["memory"]
    assert inside.startswith("```console\n$ python -m benchmarks.memory\n```\n\nToday.\n\nMemory.")
    assert "| an idle stream | 0.3 |" in inside
    assert inside.endswith("\n```text\nan idle stream: 0.3 MB\n```\n")


def test_the_command_line_writes_page_and_plots(tmp_path):
    (tmp_path / "half.json").write_bytes(write(single()))

    arguments = [str(tmp_path / "half.json"), "--html", str(tmp_path / "out.html"), "--svg", str(tmp_path / "pictures")]
    assert report.main(arguments) == 0

    assert COMMAND in (tmp_path / "out.html").read_text()
    drawn = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert drawn == ["half-batches.svg", "half-cpu.svg", "half-lags.svg"]
    for path in (tmp_path / "pictures").iterdir():
        assert ET.fromstring(path.read_text()).tag == "{http://www.w3.org/2000/svg}svg"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        ("{}", "has no figures"),
        ("x", "has no figures"),
        (sheet.write(SHEET).decode(), "no page has a part"),
    ],
    ids=["no file", "something else", "no json", "no part"],
)
def test_what_cannot_be_reported_is_said_in_a_line(tmp_path, capsys, content, said):
    if content is not None:
        (tmp_path / "a.json").write_text(content)
    (tmp_path / "page.md").write_text(PAGE)

    assert report.main([str(tmp_path / "a.json"), "--docs", str(tmp_path / "page.md")]) == 2

    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


DOCS = Path(__file__).parents[2] / "docs"
PARTS = [(page, name) for page in sorted(DOCS.rglob("*.md")) for name in pages.names(page.read_text())]


@pytest.mark.parametrize(("page", "name"), PARTS, ids=[name for _, name in PARTS])
def test_no_figure_is_without_its_command(page, name):
    """A part holds exactly what its file of results says, or nothing."""
    file = DOCS / "results" / f"{name}.json"
    inside = pages.names(page.read_text())[name]

    assert inside == (
        pages.part(name, pages.load(file), pages.seen_from(page, DOCS / "pictures")) if file.exists() else ""
    )


def test_every_file_of_results_is_in_a_page():
    assert {path.stem for path in (DOCS / "results").glob("*.json")} <= {name for _, name in PARTS}
