"""A server of one's own for a measurement: on a free port, ready when it says so, stopped at the end."""

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

READY_S = 120.0
"""A model may have to be read from a slow disk."""
STOP_S = 30.0
URL = re.compile(r"ws://\S+/v1/stream")


class ServerError(Exception):
    """The server did not start, or did not end well."""


@asynccontextmanager
async def running(model: str) -> AsyncIterator[str]:
    """The URL of a server on ``model``; its other settings come from ``STREAMASR_…`` variables.

    Raises:
        ServerError: it was not ready in time, or its exit code is not 0.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streamasr", "serve", "--port", "0", "--model", model, "--log-level", "warning"),
        stdout=asyncio.subprocess.PIPE,
    )
    output = process.stdout
    if output is None:
        raise ServerError("the server's output cannot be read")
    try:
        async with asyncio.timeout(READY_S):
            url = await _ready_url(output)
        draining = asyncio.create_task(output.read())  # a full pipe would stop the server
        yield url
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STOP_S):
            code = await process.wait()
    await draining
    if code:
        raise ServerError(f"the server ended with exit code {code}")


async def _ready_url(output: asyncio.StreamReader) -> str:
    """The address in the line with which the server says that it is ready."""
    async for line in output:
        if found := URL.search(line.decode("utf-8", "replace")):
            return found.group()
    raise ServerError("the server ended before it was ready")
