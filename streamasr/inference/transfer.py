"""Waiting for a hub in a way that can be ended: what it was asked, and a file that is coming.

Knows no hub: only calls that may take for ever, and how to stop waiting for them.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, BinaryIO

TICK_S = 0.25
"""The longest time between two reports, however slow the hub is."""

Advance = Callable[[int], None]
"""Told how many bytes of the download are here; whatever it raises ends the download."""


class Watched:
    """A file that tells how long it has become."""

    def __init__(self, file: BinaryIO, advance: Advance) -> None:
        self._file = file
        self._advance = advance
        self._lock = threading.Lock()  # so that what is told never falls
        self.seek, self.tell, self.truncate = file.seek, file.tell, file.truncate

    def write(self, chunk: bytes) -> int:
        """Write, then tell."""
        with self._lock:
            written = self._file.write(chunk)
            self._advance(self._file.tell())
        return written

    def tell_again(self) -> None:
        """Tell what was told before, so that whoever wants the download to end can raise."""
        with self._lock:
            self._advance(self._file.tell())


def bounded(call: Callable[[], Any], seconds: float) -> Any:
    """What ``call`` returns or raises, or a TimeoutError: each address that leads nowhere takes its own time."""
    answer = _begun(call)
    if not wait([answer], seconds).done:
        raise TimeoutError(f"no answer in {seconds:g} s")
    return answer.result()


def attended(call: Callable[[], Any], tick: Callable[[], None]) -> Any:
    """What ``call`` returns or raises; ``tick`` is called meanwhile, and what it raises ends the waiting."""
    answer = _begun(call)
    while not wait([answer], TICK_S).done:
        tick()
    return answer.result()


def _begun(call: Callable[[], Any]) -> Future[Any]:
    """What a thread will have made of ``call``; nothing waits for the thread at the end of the process."""
    answer: Future[Any] = Future()

    def work() -> None:
        try:
            answer.set_result(call())
        except Exception as error:  # noqa: BLE001 - raised again by who waits
            answer.set_exception(error)

    threading.Thread(target=work, name="hub", daemon=True).start()
    return answer
