"""Getting a connection, and telling why one was not to be had or was lost.

Maps the errors of the WebSocket library to ours, here and nowhere else: either another attempt may do better
(``LostError``) or not (``ServerError``, ``ConnectError``).
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from .errors import ConnectError, ServerError, StreamError

PATH = "/v1/stream"
TRANSIENT_STATUS = {408, 425, 429, 500, 502, 503, 504}
TRANSIENT_CLOSE = {1000, 1001, 1005, 1006, 1011, 1012, 1013, 1014, 1015}
"""Close codes after which another connection may do better: the server, not what we sent, was the reason."""


class LostError(StreamError):
    """No connection, or no longer, but another attempt may do better. Never leaves this package."""

    def __init__(self, reason: str, *, code: str | None = None, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds to wait for the server."""

    connect_s: float = 10.0
    ready_s: float = 30.0
    reply_s: float = 60.0
    """For the answers to ``flush``, ``update`` and ``stop``, reconnecting included."""
    close_s: float = 5.0
    alive_s: float = 20.0
    """A ping is sent this often; without its pong within as much again the connection counts as lost."""


class Dialer:
    """Where and how to connect."""

    def __init__(self, url: str, token: str | None, timeouts: Timeouts) -> None:
        self.url = _complete(url)
        self.timeouts = timeouts
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[ClientConnection]:
        """Open a connection, close it at the end; ``LostError`` or ``StreamError`` if none is to be had."""
        loopback = urlsplit(self.url).hostname in ("localhost", "127.0.0.1", "::1")
        try:
            socket = await websocket(
                self.url,
                additional_headers=self._headers,
                compression=None,
                proxy=None if loopback else True,
                open_timeout=self.timeouts.connect_s,
                close_timeout=self.timeouts.close_s,
                ping_interval=self.timeouts.alive_s,
                ping_timeout=self.timeouts.alive_s,
            )
        except InvalidURI as error:
            raise ConnectError(f"{self.url} is not the address of a WebSocket") from error
        except InvalidStatus as error:
            raise _refused(error) from error
        except TimeoutError as error:
            raise LostError(f"no connection in {self.timeouts.connect_s:g} s") from error
        except (OSError, InvalidHandshake) as error:
            raise LostError(str(error)) from error
        try:
            yield socket
        finally:
            await socket.close()


def why(closed: ConnectionClosed) -> StreamError:
    """Tell what a lost connection means."""
    frame = closed.rcvd
    if frame is None:
        return LostError("the connection broke")
    reason = frame.reason or f"closed with code {frame.code}"
    return LostError(reason) if frame.code in TRANSIENT_CLOSE else ServerError(f"closed_{frame.code}", reason)


def _refused(refusal: InvalidStatus) -> StreamError:
    """Tell what an HTTP answer in place of the upgrade means; its body may be an ``error`` event."""
    response = refusal.response
    body: Any = None
    with suppress(ValueError):  # not our server, or a proxy before it: then the status tells
        body = json.loads(response.body or b"")
    told = body if isinstance(body, dict) else {}
    code = str(told.get("code", f"http_{response.status_code}"))
    message = str(told.get("message", f"the server answered {response.status_code} {response.reason_phrase}"))
    if response.status_code not in TRANSIENT_STATUS:
        return ServerError(code, message, field=told.get("field"))
    after = response.headers.get("Retry-After", "0")
    return LostError(message, code=code, retry_after_s=float(after) if after.isdigit() else 0.0)


def _complete(url: str) -> str:
    """Make a WebSocket's address of a base URL."""
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    return urlunsplit(parts._replace(scheme=scheme, path=PATH if parts.path in ("", "/") else parts.path))
