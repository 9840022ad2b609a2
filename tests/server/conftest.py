"""One server for each test file; tests that need another one make it."""

from collections.abc import AsyncIterator

import pytest_asyncio
from helpers import Running, serving


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[Running]:
    """A server on tones that all tests of a file share."""
    async with serving() as running:
        yield running
