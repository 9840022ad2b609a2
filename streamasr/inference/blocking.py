"""A thread for calls that may wait for ever: a pipe in which nothing comes, a server that has fallen silent.

Nobody waits for the end of such a thread, the interpreter at its exit neither: unlike those of an executor.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any, Self, TypeVar

T = TypeVar("T")


class BlockingThread:
    """Makes calls one after another, for asyncio code."""

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        Thread(target=self._work, name=name, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """What ``function`` returns or raises, once those before it have; cancelled, it is not begun any more."""
        future: Future[T] = Future()
        self._calls.put((future, function))
        return asyncio.wrap_future(future)

    def close(self) -> None:
        """End the thread after the calls it was given. Returns at once."""
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function = call
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = function()
            except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits for the call
                future.set_exception(error)
            else:
                future.set_result(result)
            del call, future, function  # or they would live until the next call
