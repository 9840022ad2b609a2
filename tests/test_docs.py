"""What the documents say exists: links, files, names in the code, commands, flags, and the policy's numbers."""

import ast
import asyncio
import json
import re
import shlex
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from streamasr import cli, demo
from streamasr.core.policy import Policy
from streamasr.inference import costs

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "streamasr"
DOCS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "clients").rglob("*.md")),
    *sorted((ROOT / "tests/data").glob("*.md")),
]
FRAME = ROOT / "docs/topics/life-of-a-frame.md"
POLICY = ROOT / "docs/topics/streaming-policy.md"
BATCHING = ROOT / "docs/topics/batching.md"
COSTS = ROOT / "docs/topics/model-costs.md"
CARD = ROOT / "docs/reference/models.md"

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!\\)\[[^\]]*\]\(([^)\s]+)\)")
SPAN = re.compile(r"`([^`\n]+)`")
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")

pages = pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(ROOT)))


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return FENCE.sub("", page.read_text())


def code(page: Path) -> Iterator[str]:
    """What a page writes as code: its spans and the lines of its blocks."""
    text = page.read_text()
    yield from SPAN.findall(FENCE.sub("", text))
    for _, block in FENCE.findall(text):
        yield from block.splitlines()
    yield from re.findall(r"^ {4}(\S.*)$", FENCE.sub("", text), re.MULTILINE)


# Links.


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pages
def test_every_link_leads_somewhere(page):
    for link in LINK.findall(prose(page)):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{link}: there is no such file"
        if anchor:
            assert anchor in anchors(there), f"{link}: there is no such heading"


def test_the_index_leads_to_every_page():
    index = ROOT / "docs/index.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in LINK.findall(prose(index))}

    assert set((ROOT / "docs").rglob("*.md")) - {index} <= linked


# Commands.


def targets() -> set[str]:
    """The targets of the Makefile that are meant for people."""
    return set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))


def made(page: Path) -> set[str]:
    """The targets that a page tells its reader to make."""
    return {match[1] for line in code(page) if (match := re.match(r"(?:\$ )?make ([a-z-]+)", line.strip()))}


@pages
def test_every_target_that_is_told_of_is_in_the_makefile(page):
    assert made(page) <= targets()


def test_the_readme_and_contributing_tell_of_what_the_makefile_is_for():
    told = made(ROOT / "README.md") | made(ROOT / "CONTRIBUTING.md")

    assert {"demo", "serve", "test", "test-slow"} <= told
    assert {"help", "clean", "lint"} <= targets()


def flags(command: list[str]) -> None:
    """Parse a command line as the program would, but run nothing.

    Raises:
        AssertionError: there is no such command or flag.
    """
    try:
        cli.parser().parse_args(command)
    except SystemExit as ended:
        if ended.code:  # --help and --version end well
            raise AssertionError(f"streamasr {shlex.join(command)} is not understood") from ended


@pages
def test_every_command_line_is_understood(page, capsys):
    for line in code(page):
        stripped = line.strip()
        if made_with := re.match(r'make (serve|demo) ARGS="([^"]*)"', stripped):
            flags([made_with[1], *shlex.split(made_with[2])])
        elif match := re.match(r"(?:\$ )?streamasr ([a-z].*)$", stripped.split("  #")[0]):
            flags(shlex.split(match[1]))
        elif match := re.match(r"(?:\$ )?(?:\S+/)?python -m ([\w.]+)", stripped):
            module = ROOT / Path(*match[1].split("."))
            assert module.with_suffix(".py").exists() or (module / "__main__.py").exists(), f"{line}: no such module"


def test_a_wrong_command_line_would_be_noticed(capsys):
    for wrong in (["fly"], ["serve", "--modell", "nano"], ["demo", "--speed", "fast"]):
        with pytest.raises(AssertionError):
            flags(wrong)


async def test_the_program_in_the_readme_prints_what_is_said(tmp_path):
    [program] = [block for kind, block in FENCE.findall((ROOT / "README.md").read_text()) if kind == "python"]
    seconds = 4
    said = {plain(spoken.word) for spoken in demo.read_truth(demo.DATA / "demo.json") if spoken.end < seconds}
    with wave.open(str(demo.DATA / "demo.wav")) as whole, wave.open(str(tmp_path / "talk.wav"), "wb") as cut:
        cut.setparams(whole.getparams())
        cut.writeframes(whole.readframes(seconds * whole.getframerate()))
    async with demo.server(port=0) as url:
        (tmp_path / "program.py").write_text(program.replace("ws://localhost:8765", url))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "program.py", cwd=tmp_path, stdout=subprocess.PIPE
        )
        output, _ = await process.communicate()
    lines = output.decode().splitlines()
    finals = [line for line in lines if not line.startswith("… ")]

    assert process.returncode == 0
    assert len(finals) < len(lines)
    assert all(re.match(r"\d\.\d s ", line) for line in finals)
    heard = {plain(word) for line in finals for word in line.split()[2:]}
    assert len(heard & said) >= len(said) / 3


def plain(word: str) -> str:
    return word.strip(".,?!").lower()


# The way of one frame.


class Names:
    """Everything that a module, or the whole package, defines."""

    def __init__(self, paths: list[Path]) -> None:
        self.known: set[str] = set()
        for path in paths:
            self._body(ast.parse(path.read_text()).body, "")

    def _body(self, body: list[ast.stmt], owner: str) -> None:
        for node in body:
            match node:
                case ast.ClassDef(name=name):
                    self._add(owner, name)
                    self._body(node.body, name)
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    self._add(owner, name)
                    for inner in ast.walk(node):
                        match inner:
                            case ast.Attribute(value=ast.Name(id="self"), attr=attribute, ctx=ast.Store()):
                                self._add(owner, attribute)
                case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                    self._add(owner, name)

    def _add(self, owner: str, name: str) -> None:
        self.known |= {name, f"{owner}.{name}"} if owner else {name}


def words_of_the_wire() -> set[str]:
    """Names that stand on the wire: types of messages, their fields and values, codes."""
    paths = [*sorted((PACKAGE / "wire").glob("*.py")), PACKAGE / "errors.py", *sorted((PACKAGE / "core").glob("*.py"))]
    found = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def test_every_file_on_the_way_of_one_frame_exists():
    paths = {span for span in SPAN.findall(prose(FRAME)) if span.endswith((".py", "/"))}
    drawn = set(re.findall(r"\w+/\w+\.py", FENCE.findall(FRAME.read_text())[0][1]))

    assert len(paths) > 15
    for path in paths | drawn:
        assert (PACKAGE / path).exists() or (ROOT / path).exists(), f"there is no {path}"


def test_every_name_on_the_way_of_one_frame_is_in_the_code():
    known = Names(sorted(PACKAGE.rglob("*.py"))).known | words_of_the_wire() | {"Word"}
    names = [span for span in SPAN.findall(prose(FRAME)) if NAME.fullmatch(span) and not span.endswith(".py")]

    assert len(names) > 60
    assert [name for name in names if name not in known] == []


@pytest.mark.parametrize("page", [FRAME, POLICY, BATCHING, COSTS], ids=lambda page: page.name)
def test_what_is_said_to_be_in_a_file_is_in_that_file(page):
    """Wherever a page says `name` in `file.py`, or `name` (`file.py`)."""
    said = re.findall(r"`([\w.]+)`\s+(?:in\s+|\()`([\w/]+\.py)`", prose(page))

    assert said
    for name, path in said:
        there = PACKAGE / path if (PACKAGE / path).exists() else ROOT / path
        assert name in Names([there]).known, f"{name} is not in {path}"


# Numbers.


def rows(page: Path) -> list[list[str]]:
    """The cells of every table's rows."""
    lines = [line for line in prose(page).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def shown(value: float, *, samples: bool) -> str:
    """A field of the policy as the page shows it: lengths of time in milliseconds."""
    return f"{value / 16:g} ms" if samples else f"{value:g}"


def test_the_streaming_policy_shows_every_number_as_it_is():
    fields = msgspec.structs.fields(Policy)
    written = {row[0].strip("`"): row[1] for row in rows(POLICY) if row[0].startswith("`")}

    assert written == {field.name: shown(field.default, samples=field.type is int) for field in fields}


def test_the_cost_table_is_the_one_that_the_engine_uses():
    table = costs.table()
    written = {row[0]: row[1:] for row in rows(COSTS) if row[0] in table.sizes}
    cells = {name: [f"{costs.window_ms(name, s):.0f}" for s in table.seconds] for name in table.sizes}

    assert {name: [cell.split()[0] for cell in row[:-1]] for name, row in written.items()} == cells
    assert {name: int(row[-1]) for name, row in written.items()} == {n: r.memory_mb for n, r in table.sizes.items()}


@pytest.mark.parametrize(
    ("page", "begin", "end"),
    [
        pytest.param("README.md", "<!-- figures -->", "<!-- /figures -->", id="figures"),
        pytest.param(
            "docs/topics/accuracy.md",
            "<!-- generated by `python -m benchmarks.accuracy`: do not edit -->",
            "<!-- end of the generated part -->",
            id="accuracy",
        ),
        pytest.param("docs/topics/streaming-policy.md", "<!-- sweep -->", "<!-- /sweep -->", id="sweep"),
        pytest.param("docs/topics/testing.md", "<!-- slow -->", "<!-- /slow -->", id="slow"),
    ],
)
def test_what_is_measured_is_filled_in(page, begin, end):
    _, _, after = (ROOT / page).read_text().partition(begin)
    measured, mark, _ = after.partition(end)

    assert mark, f"{page} has no part between {begin} and {end}"
    assert re.search(r"\d", measured), f"{page} has nothing measured after {begin}"


def test_the_model_card_has_the_figures_that_the_training_tool_measured():
    measured = json.loads((ROOT / "training/results/nano.json").read_text())
    written = {row[0].strip("`"): row[-1] for row in rows(CARD)}

    for name in ("seen", "unseen", "long", "noisy", "lang_de", "lang_es"):
        assert written[name] == f"{measured[f'wer_{name}']:.1f} %"
    assert written["silence"] == "no words"
    assert measured["silence_with_words"] == 0
    assert written["mean error of word times"] == f"{measured['word_time_ms']:.0f} ms"
    assert written["English, German and Spanish told apart"] == f"{measured['language_percent']:.1f} %"
