"""A dialect: what must be sent to a service, and what its messages mean, as a state machine without I/O.

``loadtest.targets.socket`` carries the messages.
"""

from collections.abc import Mapping
from typing import Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from loadtest.targets import Heard, TargetError

Message = str | bytes
"""One WebSocket message, text or binary."""


class Reaction(msgspec.Struct, frozen=True):
    """What follows from a message: what it said, and what must be answered."""

    heard: tuple[Heard, ...] = ()
    answers: tuple[Message, ...] = ()


class Dialect(Protocol):
    """A service's messages for one connection, as a state machine without I/O."""

    @property
    def url(self) -> str:
        """Where to connect, with path and query."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Of the handshake."""

    @property
    def ready(self) -> bool:
        """Whether audio may be sent."""

    @property
    def done(self) -> bool:
        """Whether everything has been said that there is to say: the connection can be closed."""

    def opened(self) -> tuple[Message, ...]:
        """What to send first."""

    def audio(self, pcm: bytes) -> tuple[Message, ...]:
        """The messages that carry 16-bit little-endian mono at 16 kHz."""

    def flush(self) -> tuple[Message, ...]:
        """The messages that say that speech has ended; none if the wire has none."""

    def finish(self) -> tuple[Message, ...]:
        """The messages that say that no audio follows."""

    def receive(self, message: Message) -> Reaction:
        """Read one message of the service.

        Raises:
            TargetError: it is an error.
        """

    def closed(self) -> tuple[Heard, ...]:
        """What remains to be taken as said when the connection has ended well after ``finish``.

        Raises:
            TargetError: the service must have said more.
        """


def complete(url: str, path: str, query: Mapping[str, str]) -> str:
    """The URL to dial: http becomes ws, a path that does not end with ``path`` gets it, the URL's own query wins.

    The base ``https://host/v1`` and the path ``/v1/listen`` make ``wss://host/v1/listen``.

    Raises:
        TargetError: this is not a URL of a service.
    """
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}.get(parts.scheme)
    if scheme is None or not parts.netloc:
        raise TargetError(f"--url {url!r} must look like wss://host or https://host", code="url", refused=True)
    base = parts.path.rstrip("/")
    for cut in range(len(path), -1, -1):
        if base.endswith(path[:cut]) and (cut in (0, len(path)) or path[cut] == "/"):
            base += path[cut:]
            break
    own = dict(parse_qsl(parts.query, keep_blank_values=True))
    return urlunsplit((scheme, parts.netloc, base or "/", urlencode({**query, **own}), ""))


def decoded(message: Message) -> dict[str, object]:
    """A message that must be a JSON object.

    Raises:
        TargetError: it is not.
    """
    try:
        value = msgspec.json.decode(message)
    except msgspec.DecodeError as error:
        raise TargetError(f"the service sent what is not JSON: {message[:80]!r}", code="protocol") from error
    if not isinstance(value, dict):
        raise TargetError(f"the service sent {message[:80]!r} where a JSON object was expected", code="protocol")
    return value


def encoded(**fields: object) -> str:
    """A JSON object as a text message."""
    return msgspec.json.encode(fields).decode()
