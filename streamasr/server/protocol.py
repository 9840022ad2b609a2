"""uvicorn's WebSocket protocol: quicker, fairer to peers that are slow and firmer with those that are gone.

uvicorn queues every frame, stops reading, wakes a task, and reads on when that task asks for more. Here a frame goes
straight to whoever asked for frames (``deliver``), which says whether it has room for another; only if not, the
rest is held and the socket not read.
uvicorn closes a transport only after all that was written has been read, which a peer that stopped reading puts
off for ever: here such a peer can be given up, and a finished connection is cut off after ``CUT_OFF_S``. And it
misses the pong of a peer whose audio it has not read yet, for the pong waits behind the audio: here whoever sends
is alive, and whoever is not read is not blamed for it.
Knows uvicorn's protocol class (written against 0.54) and nothing of sessions.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent
    from websockets.http11 import Request

GIVE_UP = "streamasr.give_up"
"""The extension in the ASGI scope; its ``call`` is ``SocketProtocol.give_up``."""

DELIVER = "streamasr.deliver"
"""The extension in the ASGI scope; its ``call`` is ``SocketProtocol.deliver``."""

GO_ON = "streamasr.go_on"
"""The extension in the ASGI scope; its ``call`` is ``SocketProtocol.go_on``."""

FRAMES_AT_A_TIME = 64
"""Frames taken in a row before other connections have their turn: a flood of tiny frames holds nobody up."""

Sink = Callable[[str | bytes], bool]
"""Takes a frame; says whether there is room for another now."""

CUT_OFF_S = 15.0
"""How long a connection may take to end after the application has left it; uvicorn allows its closing handshake 10."""


class SocketProtocol(WebSocketsSansIOProtocol):
    """One connection."""

    _cut_off: asyncio.TimerHandle | None = None
    _heard = False
    """Whether something came since the last look at the peer's life."""
    _sink: Sink | None = None
    _taken = 0
    """Frames taken since the other connections had their turn."""
    _holding = False

    def handle_connect(self, event: "Request") -> None:
        """Offer the application what it can call."""
        super().handle_connect(event)
        self._held: deque[str | bytes] = deque()
        if not self.handshake_complete:
            extensions = {GIVE_UP: self.give_up, DELIVER: self.deliver, GO_ON: self.go_on}
            self.scope["extensions"].update({name: {"call": call} for name, call in extensions.items()})

    def deliver(self, sink: Sink | None) -> None:
        """Give every frame from now on to ``sink`` as soon as it is there, instead of queueing it; None: to nobody.

        To be called before the socket is accepted. When the sink has said that there is no room, it gets nothing
        until ``go_on``.
        """
        self._sink = sink if sink is not None else _nobody

    def go_on(self) -> None:
        """There is room again."""
        self._holding = False
        self._taken = 0
        while self._held and not self._holding:
            self._take(self._held.popleft())
        if self.read_paused and not self._holding and not self.disconnected:
            self.read_paused = False
            self.transport.resume_reading()

    def _take(self, frame: str | bytes) -> None:
        if self._sink is not None and not self._sink(frame):
            self._hold()
            return
        self._taken += 1
        if self._taken >= FRAMES_AT_A_TIME:
            self._hold()
            self.loop.call_soon(self.go_on)

    def _hold(self) -> None:
        self._holding = True
        if not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def send_receive_event_to_app(self) -> None:
        """A message is complete."""
        if self._sink is None or self.close_sent:
            super().send_receive_event_to_app()
            return
        data = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        frame: str | bytes = data
        if self.curr_msg_data_type == "text":
            try:
                frame = data.decode()
            except UnicodeDecodeError:
                super().send_receive_event_to_app()  # which closes with 1007
                return
        self.frames = []
        if self._holding:
            self._held.append(frame)
        else:
            self._take(frame)

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
        self._taken = 0
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
        self._sink = None
        super().connection_lost(exc)


def _nobody(_: str | bytes) -> bool:
    """Takes what nobody wants any more."""
    return True
