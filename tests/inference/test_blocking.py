"""Calls that may wait for ever: in order, their results and errors to who waits, and nobody waits for their thread."""

import asyncio
import subprocess
import sys
import threading

import pytest

from streamasr.inference.blocking import BlockingThread
from tests.helpers import PATIENCE_S


def fail():
    raise OSError("no")


async def test_calls_are_made_in_order_and_give_what_they_return_or_raise():
    made = []
    with BlockingThread("calls") as thread:
        calls = [thread.call(lambda n=n: made.append(n) or n) for n in range(5)]
        with pytest.raises(OSError, match="no"):
            await thread.call(fail)
        assert await asyncio.gather(*calls) == made == list(range(5))


async def test_a_cancelled_call_is_not_begun_and_those_after_it_are():
    held, made = threading.Event(), []
    with BlockingThread("calls") as thread:
        first = thread.call(lambda: held.wait(PATIENCE_S))
        thread.call(lambda: made.append("cancelled")).cancel()
        last = thread.call(lambda: made.append("last"))
        held.set()
        assert await first
        await last
    assert made == ["last"]


async def test_closing_does_not_wait_for_a_call_that_does_not_end():
    held, ended = threading.Event(), threading.Event()
    thread = BlockingThread("calls")
    thread.call(lambda: held.wait(PATIENCE_S))
    last = thread.call(ended.set)
    thread.close()
    assert not ended.is_set()
    held.set()
    await last


def test_the_interpreter_does_not_wait_either():
    code = (
        "import asyncio, threading; from streamasr.inference.blocking import BlockingThread as B\n"
        "async def main(): B('b').call(threading.Event().wait).cancel(); B('c').call(threading.Event().wait)\n"
        "asyncio.run(main())"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=PATIENCE_S, check=False).returncode == 0
