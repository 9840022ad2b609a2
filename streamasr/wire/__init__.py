"""The dialects: what they have in common, and which path speaks which.

A shell drives every dialect through ``Dialect`` alone. A dialect is pure: it is told what came and what time
it is, and returns what to do; it owns no socket, no task and no clock.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from streamasr.core.events import Event
from streamasr.errors import ClientError, EngineError, Refused
from streamasr.wire.commands import Command, Model, Reply
from streamasr.wire.native import NativeDialect, error_body

__all__ = ["DIALECTS", "Dialect", "error_body"]


class Dialect(Protocol):
    """One connection's conversation, without its socket.

    Whatever a method returns is obeyed in order, before the next method is called. After a ``Close`` every
    method returns an empty list.
    """

    wake_at: float | None
    """The time at which to call ``handle_timer``; looked at after every call."""

    def open(self, now: float) -> list[Command | Reply]:
        """What to do as soon as the socket is open; called once, first."""

    def receive(self, frame: str | bytes, now: float) -> list[Command | Reply]:
        """What one frame of the client asks for. Never raises for what a client sent."""

    def handle_timer(self, now: float) -> list[Command | Reply]:
        """What to do at ``wake_at``."""

    def started(self, session: str, model: Model, audio_received: int, resume: str | None = None) -> list[Reply]:
        """The answer to ``Start``. ``audio_received`` counts samples of the input format, per channel.

        ``resume`` is the token with which the session can be begun again if no final comes.
        """

    def updated(self) -> list[Reply]:
        """The answer to ``Update``, if it was not refused with ``fail``."""

    def done(self, audio_seconds: float, utterances: int) -> list[Reply]:
        """The answer to ``Stop``, after the last final; ends with ``Close``."""

    def handle(self, event: Event, channel: int | None, now: float, resume: str | None = None) -> list[Reply]:
        """Say what a channel's session says (None: what concerns all); ``resume`` is the token of a final."""

    def fail(self, error: ClientError | EngineError | Refused) -> list[Reply]:
        """Say what went wrong; ends with ``Close`` if the session cannot go on."""

    def drained(self) -> list[Reply]:
        """The server shuts down and the last final has been said; ends with ``Close``."""


DIALECTS: Mapping[str, Callable[[Mapping[str, str]], Dialect]] = {NativeDialect.path: NativeDialect}
"""Path -> what makes its dialect from a query (or raises ``ClientError``: HTTP 400 with ``error_body``)."""
