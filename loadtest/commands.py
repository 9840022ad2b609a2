"""What can be ordered: one run, a ramp, a search for the limit, a comparison of two servers."""

import os
import platform
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import msgspec
from rich.console import Console

import streamasr
from loadtest import lanes
from loadtest.console import bar, say_figures, say_step
from loadtest.lanes import Source
from loadtest.results import Conditions, Figures, Results
from loadtest.runner import Setup, plan, run
from loadtest.search import Limit, Search, compare, within
from loadtest.server import Running, command, running


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done."""

    command: str
    setup: Setup
    source: Source
    server_args: str = ""
    """Of a server of the tool's own; used if the setup has no URL."""
    reference: str | None = None
    """The model whose texts without streaming are the yardstick."""
    limit: Limit | None = None
    """Search for the most streams within it."""
    most: int = 1024
    compare: tuple[str, str] | None = None
    """The arguments of two servers."""
    rounds: int = 3


class Bench:
    """Runs an order's parts; keeps what they share."""

    def __init__(self, order: Order, console: Console) -> None:
        self._order = order
        self._console = console
        self._references: dict[str, str] = {}

    async def single(self, server: Running, server_args: str) -> Figures:
        """The order's own setup, once."""
        return await self._run(self._order.setup, server, server_args)

    async def search(self, server: Running, server_args: str, limit: Limit) -> tuple[list[Figures], int]:
        """Every step of a search for the limit, and the limit."""
        search, found = Search(self._order.setup.streams, self._order.most), list[Figures]()
        while (streams := search.next) is not None:
            setup = msgspec.structs.replace(self._order.setup, streams=streams)
            figures = await self._run(setup, server, server_args)
            why = within(figures, limit, min(found, key=lambda f: f.conditions.streams, default=None))
            found.append(msgspec.structs.replace(figures, within=not why))
            say_step(self._console, figures, why)
            search.tried(streams, within=not why)
        return found, search.limit

    async def _run(self, setup: Setup, server: Running, server_args: str) -> Figures:
        url = setup.options.url or server.url
        setup = msgspec.structs.replace(setup, options=msgspec.structs.replace(setup.options, url=url))
        references = self._known(setup) if self._order.reference else None
        with bar(self._console, f"{setup.streams} streams") as progress:
            return await run(
                setup, self._order.source, server, self._conditions(setup, server_args), references, progress
            )

    def _known(self, setup: Setup) -> dict[str, str]:
        """The texts without streaming of all that the lanes say; each is computed once."""
        from loadtest.references import texts

        when = plan(setup)
        said = {
            piece
            for number, begins in enumerate(when.begins)
            for piece in lanes.lane(self._order.source, number, when.ends - begins).pieces
        }
        wanted = said - self._references.keys()
        with bar(self._console, "decoding without streaming", "pieces") as progress:
            self._references |= texts(
                self._order.reference or "", self._order.source, wanted, lambda n: progress(n, len(wanted))
            )
        return self._references

    def _conditions(self, setup: Setup, server_args: str) -> Conditions:
        source = self._order.source
        return Conditions(
            command=self._order.command,
            began=datetime.now().astimezone().isoformat(timespec="seconds"),
            target=setup.target,
            server=self._order.setup.options.url or shlex.join(["streamasr", *command(server_args)]),
            model=setup.options.model,
            streams=setup.streams,
            idle=setup.idle,
            seconds=setup.seconds,
            warm_up_s=setup.warm_up_s,
            frame_ms=setup.frame_ms,
            jitter_ms=setup.jitter_ms,
            endpointing_ms=setup.options.endpointing_ms,
            vad_stop_ms=setup.vad_stop_ms,
            audio=f"{len(source.speech)} pieces in {source.language} of {source.place.name}",
            machine=f"{processor()}, {os.cpu_count()} cores",
            processes=setup.processes,
            versions=f"streamasr {streamasr.__version__}, Python {platform.python_version()}",
        )


async def execute(order: Order, console: Console) -> Results:
    """Do what is ordered; tells the console as it goes.

    Raises:
        ServerError: a server of the tool's own did not start.
    """
    bench = Bench(order, console)
    if order.compare is not None:
        return await _compare(order, order.compare, bench, console)
    async with _server(order, order.server_args) as server:
        if order.limit is not None:
            runs, limit = await bench.search(server, order.server_args, order.limit)
            return Results(
                kind="limit",
                command=order.command,
                runs=tuple(runs),
                limit=limit,
                limit_shown_p95_s=order.limit.shown_p95_s,
            )
        figures = await bench.single(server, order.server_args)
        say_figures(console, figures)
        return Results(kind="ramp" if order.setup.steps > 1 else "run", command=order.command, runs=(figures,))


async def _compare(order: Order, both: tuple[str, str], bench: Bench, console: Console) -> Results:
    """Both servers in turns, so that what else the machine does meets both."""
    runs: list[list[Figures]] = [[], []]
    limits: list[list[int]] = [[], []]
    everything: list[Figures] = []
    for number in range(order.rounds):
        for side, server_args in enumerate(both):
            console.print(f"round {number + 1}: {server_args or 'defaults'}", markup=False)
            async with _server(order, server_args) as server:
                if order.limit is not None:
                    found, limit = await bench.search(server, server_args, order.limit)
                    limits[side].append(limit)
                else:
                    found = [await bench.single(server, server_args)]
                    say_figures(console, found[0])
                    runs[side].append(found[0])
                everything += found
    comparison = compare(*both, list(zip(*runs, strict=True)), list(zip(*limits, strict=True)))
    return Results(
        kind="compare",
        command=order.command,
        runs=tuple(everything),
        limit_shown_p95_s=order.limit.shown_p95_s if order.limit else None,
        comparison=comparison,
    )


@asynccontextmanager
async def _server(order: Order, server_args: str) -> AsyncIterator[Running]:
    """The server that is there, or one of the tool's own."""
    if order.setup.options.url:
        yield Running(order.setup.options.url, None)
        return
    async with running(server_args) as server:
        yield server


def processor() -> str:
    """The processor's name, where the system tells it."""
    place = Path("/proc/cpuinfo")
    lines = place.read_text("utf-8").splitlines() if place.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
