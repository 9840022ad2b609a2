"""A server of the tool's own: on a free port, ready when it says so, stopped at the end."""

import asyncio
import re
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

READY_S = 120.0
"""A model may have to be read from a slow disk."""
STOP_S = 30.0
URL = re.compile(r"ws://\S+/v1/stream")


class ServerError(Exception):
    """The server did not start."""


class Running(NamedTuple):
    """A server to be measured; ``pid`` is None if it was not started here."""

    url: str
    pid: int | None


@asynccontextmanager
async def running(arguments: str) -> AsyncIterator[Running]:
    """``streamasr serve`` with these arguments, as they stand on a command line; without a model among them, nano.

    Raises:
        ServerError: it was not ready in time.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streamasr", *command(arguments)),
        *("--port", "0", "--log-level", "warning"),
        stdout=asyncio.subprocess.PIPE,
    )
    draining: asyncio.Task[bytes] | None = None
    try:
        if process.stdout is None:
            raise ServerError("the server's output cannot be read")
        try:
            async with asyncio.timeout(READY_S):
                url = await _ready_url(process.stdout)
        except TimeoutError as error:
            raise ServerError(f"the server was not ready in {READY_S:g} s") from error
        draining = asyncio.create_task(process.stdout.read())  # a full pipe would stop the server
        yield Running(url, process.pid)
    finally:
        await _stop(process)
        if draining is not None:
            await draining


def command(arguments: str) -> list[str]:
    """What the server is started with: ``serve``, the model that everybody has unless they name one, the arguments."""
    given = shlex.split(arguments)
    named = any(argument.partition("=")[0] == "--model" for argument in given)
    return ["serve", *([] if named else ["--model", "nano"]), *given]


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Ask it to end, and end it if it does not."""
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _ready_url(output: asyncio.StreamReader) -> str:
    """The address in the line with which the server says that it is ready."""
    async for line in output:
        if found := URL.search(line.decode("utf-8", "replace")):
            return found.group()
    raise ServerError("the server ended before it was ready")
