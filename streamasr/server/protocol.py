"""uvicorn's WebSocket protocol, fairer to peers that are slow and firmer with those that are gone.

uvicorn closes a transport only after all that was written has been read, which a peer that stopped reading puts
off for ever: here such a peer can be given up, and a finished connection is cut off after ``CUT_OFF_S``. And it
misses the pong of a peer whose audio it has not read yet, for the pong waits behind the audio: here whoever sends
is alive, and whoever is not read is not blamed for it.
Knows uvicorn's protocol class (written against 0.54) and nothing of sessions.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent
    from websockets.http11 import Request

GIVE_UP = "streamasr.give_up"
"""The extension in the ASGI scope; its ``call`` is ``SocketProtocol.give_up``."""

CUT_OFF_S = 15.0
"""How long a connection may take to end after the application has left it; uvicorn allows its closing handshake 10."""


class SocketProtocol(WebSocketsSansIOProtocol):
    """One connection."""

    _cut_off: asyncio.TimerHandle | None = None
    _heard = False
    """Whether something came since the last look at the peer's life."""

    def handle_connect(self, event: "Request") -> None:
        """Offer the application ``give_up``."""
        super().handle_connect(event)
        if not self.handshake_complete:
            self.scope["extensions"][GIVE_UP] = {"call": self.give_up}

    def give_up(self, texts: Sequence[str], code: int, reason: str) -> None:
        """Write last words and the close behind whatever the peer has not read, without waiting for it."""
        if self.close_sent or self.disconnected:
            return
        for text in texts:
            self.conn.send_text(text.encode())
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:  # the peer's close has to be read; all else is thrown away
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.close)

    async def send(self, message: "ASGISendEvent") -> None:
        """What the application says. A refusal completes the handshake too; uvicorn would log it as a failure."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and self.close_sent:
            self.handshake_complete = True

    def data_received(self, data: bytes) -> None:
        """Bytes from the peer."""
        self._heard = True
        super().data_received(data)

    def keepalive_timeout(self) -> None:
        """No pong came in time; a peer that shows no other sign of life either is gone."""
        if self.ping_timeout is not None and (self._heard or self.read_paused):
            self._heard = False
            self.pong_timer = self.loop.call_later(self.ping_timeout, self.keepalive_timeout)
        else:
            super().keepalive_timeout()

    def on_task_complete(self, task: "asyncio.Task[None]") -> None:
        """The application has left: from now on the end is only a matter of time."""
        super().on_task_complete(task)
        if not self.disconnected:
            self._cut_off = self.loop.call_later(CUT_OFF_S, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        if self._cut_off:
            self._cut_off.cancel()
        super().connection_lost(exc)
