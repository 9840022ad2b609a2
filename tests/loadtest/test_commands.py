"""The command line: what it orders, what it refuses, what it exits with; and searches on made-up servers."""

import io
from contextlib import asynccontextmanager

import msgspec
import pytest
from rich.console import Console

from loadtest import __main__ as command_line
from loadtest import commands, results
from loadtest.commands import Order, execute
from loadtest.lanes import source
from loadtest.results import Results
from loadtest.runner import Setup
from loadtest.search import Limit
from loadtest.server import Running, ServerError, command, running
from loadtest.targets import TargetOptions
from tests.loadtest.made import figures


@pytest.fixture
def fake(monkeypatch):
    """Servers whose words come the later, the more streams there are; the slow one is ten times as slow."""
    used = []

    @asynccontextmanager
    async def server(arguments):
        used.append(arguments)
        yield Running(f"ws://{arguments or 'fast'}", 1)

    async def run(setup, _source, server, _conditions, references, _progress):
        assert references is None
        assert setup.options.url == server.url
        slow = 10 if "slow" in server.url else 1
        return figures([setup.streams * slow / 100], streams=setup.streams)

    monkeypatch.setattr(commands, "running", server)
    monkeypatch.setattr(commands, "run", run)
    return used


def order(**fields):
    setup = Setup(streams=4, options=TargetOptions(url=""))
    return Order(command="c", setup=setup, source=source(None), **fields)


def quiet():
    return Console(file=io.StringIO(), width=200)


async def test_a_search_prints_every_step_and_keeps_all_figures(fake):
    console = quiet()
    found = await execute(order(limit=Limit(shown_p95_s=0.5)), console)

    assert (found.kind, found.limit, found.limit_shown_p95_s) == ("limit", 50, 0.5)
    assert [(f.conditions.streams, f.within) for f in found.runs[:5]] == [
        (4, True), (8, True), (16, True), (32, True), (64, False)
    ]  # fmt: skip
    assert console.file.getvalue().count(" streams: word shown") == len(found.runs)
    assert fake == [""]


async def test_two_servers_are_run_in_turns(fake):
    found = await execute(order(compare=("", "slow"), rounds=2), quiet())
    assert fake == ["", "slow", "", "slow"]
    assert found.comparison.medians["word shown p95 (s)"] == (0.04, 0.4)
    assert found.comparison.ratios["word shown p95 (s)"] == pytest.approx(0.1)
    assert len(found.runs) == 4


async def test_two_servers_limits_are_searched_for_in_turns(fake):
    found = await execute(order(compare=("", "slow"), rounds=1, limit=Limit(shown_p95_s=0.5)), quiet())
    assert found.comparison.medians == {"streams within the limit": (50, 5)}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--frame-ms", "10"], "--frame-ms: expected 20 to 100"),
        (["--streams", "0"], "--streams: expected at least 1"),
        (["--ramp", "9", "--streams", "3"], "--ramp: expected 2 steps or more"),
        (["--url", "ws://x", "--server-args", "--model nano"], "--server-args is for"),
        (["--url", "ws://x", "--compare", "a", "b"], "--compare starts"),
        (["--target", "deepgram"], "--target deepgram needs its --url"),
        (["--find-limit", "--ramp"], "--find-limit and --ramp"),
    ],
)
def test_what_cannot_be_asked_for_is_said_and_exits_with_2(arguments, said, capsys):
    with pytest.raises(SystemExit) as caught:
        command_line.main(arguments)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_recordings_that_are_not_there_exit_with_2(tmp_path, capsys):
    assert command_line.main(["--audio", str(tmp_path / "none.jsonl")]) == 2
    assert "none.jsonl" in capsys.readouterr().err


@pytest.mark.parametrize(("violations", "code"), [(0, 0), (1, 1)])
def test_a_broken_promise_exits_with_1_and_the_files_are_written_all_the_same(
    violations, code, monkeypatch, tmp_path, capsys
):
    found = figures(quality={"stable_violations": violations})
    seen = []

    async def execute(order, _):
        seen.append(order)
        return Results(kind="run", command=order.command, runs=(found,))

    monkeypatch.setattr(command_line, "execute", execute)
    out = tmp_path / "out.json"
    page = tmp_path / "out.html"
    asked = ["--streams", "6", "--ramp", "3", "--key", "secret", "--url", "ws://x"]
    assert command_line.main([*asked, "--json", str(out), "--report", str(page)]) == code

    assert (seen[0].setup.streams, seen[0].setup.steps, seen[0].setup.options.key) == (6, 3, "secret")
    assert results.read(out.read_bytes()).runs == (found,)
    assert "<html" in page.read_text()
    assert "secret" not in out.read_text() + page.read_text()
    assert "--key KEY" in out.read_text()


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (figures(quality={"finals_missing": 1}), 0),
        (figures(quality={"stable_violations": 1}), 1),
    ],
)
def test_of_too_many_streams_only_stable_text_is_still_required(found, code, monkeypatch):
    """A search overloads the server on purpose; what it does then must still never change what it called stable."""

    async def execute(order, _):
        assert order.reference == "nano"
        return Results(kind="limit", command="", runs=(msgspec.structs.replace(found, within=False),))

    monkeypatch.setattr(command_line, "execute", execute)
    assert command_line.main(["--find-limit"]) == code


def test_a_server_of_the_tools_own_has_the_small_model_unless_another_is_named():
    assert command("--max-batch 1") == ["serve", "--model", "nano", "--max-batch", "1"]
    assert command("--model='my model'") == ["serve", "--model=my model"]


async def test_a_server_that_cannot_start_is_said():
    with pytest.raises(ServerError, match="ended before it was ready"):
        async with running("--no-such-option"):
            pass
