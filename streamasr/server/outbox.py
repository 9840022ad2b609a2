"""What waits to be sent to one client: bounded, in order, and honest about what it leaves out.

Owns which partials are passed over and when a client counts as too slow. Knows no socket and no dialect: events
wait here as values, so that a dialect numbers only what is really sent.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Literal

import msgspec

from streamasr.core.events import Event, Final, Partial, Preflight
from streamasr.errors import ClientError, EngineError, Refused, SlowClient
from streamasr.wire.commands import Reply

MAX_EVENTS = 512
MAX_BYTES = 1 << 20


class Said(msgspec.Struct, frozen=True):
    """An event of a session."""

    event: Event
    channel: int | None = None
    """None: it concerns every channel."""
    resume: str | None = None
    """The resume token that goes with a final."""


class Ended(msgspec.Struct, frozen=True):
    """The session is over: everything it had to say lies before this."""

    how: Literal["done", "drained"]


class Failed(msgspec.Struct, frozen=True):
    """The session cannot go on."""

    error: ClientError | EngineError | Refused


Item = Said | Ended | Failed | Reply


class Outbox:
    """A queue with one reader. After ``Ended`` or ``Failed`` no event is taken in.

    A partial that waits is replaced by a newer one of its channel; nothing else is ever left out. A client that
    lets more than ``max_events`` or ``max_bytes`` pile up gets ``SlowClient`` in place of all that waits.
    """

    def __init__(self, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._replies: deque[Reply] = deque()
        self._items: dict[int, tuple[Said | Ended | Failed, int]] = {}  # in order; with their size
        self._partials: dict[int | None, int] = {}  # channel -> key of the partial that waits
        self._next_key = 0
        self._bytes = 0
        self._closed = False
        self._overflowed = False
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._replies) + len(self._items)

    def say(self, said: Said) -> None:
        """Queue an event."""
        if isinstance(said.event, Partial):
            self._drop(self._partials.get(said.channel))
            self._partials[said.channel] = self._next_key
        self._put(said, _size(said))

    def reply(self, replies: Iterable[Reply]) -> None:
        """Queue what a dialect has already put into words, and numbered: it goes before every event."""
        if self._overflowed:
            return
        for reply in replies:
            self._replies.append(reply)
            self._bytes += _size(reply)
        self._added()

    def end(self, how: Literal["done", "drained"]) -> None:
        """Queue the end."""
        self._put(Ended(how), 0)
        self._closed = True

    def fail(self, error: ClientError | EngineError | Refused) -> None:
        """Queue a failure, after what was said before it."""
        self._put(Failed(error), 0)
        self._closed = True

    async def take(self) -> Item:
        """The next thing to send; waits for one."""
        while not len(self):
            self._filled.clear()
            await self._filled.wait()
        if self._replies:
            reply = self._replies.popleft()
            self._bytes -= _size(reply)
            return reply
        key = next(iter(self._items))
        item = self._items[key][0]
        self._drop(key)
        return item

    def _put(self, item: Said | Ended | Failed, size: int) -> None:
        if self._closed:
            return
        self._items[self._next_key] = (item, size)
        self._next_key += 1
        self._bytes += size
        self._added()

    def _drop(self, key: int | None) -> None:
        if key in self._items:
            item, size = self._items.pop(key)
            self._bytes -= size
            if isinstance(item, Said) and self._partials.get(item.channel) == key:
                del self._partials[item.channel]

    def _added(self) -> None:
        self._filled.set()
        if len(self) > self._max_events or self._bytes > self._max_bytes:
            self._overflowed = self._closed = True
            self._replies.clear()
            self._partials.clear()
            self._items = {0: (Failed(SlowClient("the client does not read what it is sent")), 0)}
            self._bytes = 0


def _size(item: Said | Reply) -> int:
    """About how many bytes it will be on the wire."""
    match item:
        case Said(event=Final(text=text, words=words) | Preflight(text=text, words=words)):
            return 600 + len(text) + 80 * len(words)
        case Said(event=Partial(stable=stable, unstable=unstable, words=words)):
            return 150 + len(stable) + len(unstable) + 80 * len(words)
        case Said():
            return 100
        case _:
            return len(getattr(item, "text", "")) + 20
