"""One session's conversation, without sockets: what to say, what the answers mean, when another try may help.

Joins ``resumption`` (what to replay) and ``promises`` (what the server may say). Feed it what is sent and what is
received; it raises what ends the session (``ServerError``, ``ProtocolError``) or the connection (``LostError``).
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from .dial import LostError
from .errors import ServerError
from .events import Done, Event, Failed, Flushed, Id, Ready, Unknown, Updated, parse
from .promises import Promises
from .resumption import Resumption

Key = tuple[str, Id]
"""A message that will be answered: its type, and the id of a flush."""

RETRIED = {"internal", "overloaded"}
"""Fatal errors of the server's own making: another connection may do better."""


class Conversation:
    """The state of one session; ``begun`` once it was ready, ``over`` after ``done``."""

    def __init__(self, settings: Mapping[str, Any], *, check: bool, keep_bytes: int) -> None:
        self.begun = False
        self.over = False
        self._settings = dict(settings)
        self._promises = Promises() if check else None
        self._resumption = Resumption(settings, keep_bytes)
        self._asked: dict[Key, dict[str, Any]] = {}

    def start(self) -> str:
        """Return the first message of a new connection."""
        known = self._resumption.start_fields()
        if self.begun and self._promises is not None:
            resumed = not self._resumption.restarted
            self._promises.reconnected(resumed=resumed, stable_kept="resume" in known)
        return json.dumps({"type": "start", **self._settings, **known})

    def ready(self, text: str | bytes, reason: str, attempts: int) -> tuple[Ready, Event] | None:
        """Read the answer to ``start``: the ready, and the event that says it; None: it is still to come."""
        event = self._read(text)
        if not isinstance(event, Ready):
            return None
        if self.begun:
            return event, self._resumption.reconnected(event, reason, attempts)
        self.begun = True
        self._resumption.began(event)
        return event, event

    def receive(self, text: str | bytes) -> tuple[Event, Key | None]:
        """Read an event, and which message it answers. ``Failed`` may refuse an update: then it answers that."""
        event = self._read(text)
        self._resumption.observe(event)
        key = self._answered(event)
        if key is not None:
            message = self._asked.pop(key)
            self._resumption.answered(key)
            if isinstance(event, Updated):
                self._settings |= {name: value for name, value in message.items() if name != "type"}
        self.over = isinstance(event, Done)
        return event, key

    def sending(self, audio: bytes | bytearray | memoryview) -> None:
        """Audio is about to be sent."""
        self._resumption.sent(audio)

    def asking(self, key: Key, message: dict[str, Any]) -> str:
        """Return the text of a message that is about to be sent and will be answered."""
        text = json.dumps(message)
        self._asked[key] = message
        self._resumption.asked(key, text)
        if self._promises is not None and key[0] == "flush":
            self._promises.flushing(key[1])
        return text

    def replay(self, ready: Ready) -> Iterator[bytes | str]:
        """Yield what the last connection left open, to be sent again."""
        return self._resumption.replay(ready.audio_received)

    def _read(self, text: str | bytes) -> Event:
        event = parse(text)
        if self._promises is not None:
            self._promises.observe(event)
        if isinstance(event, Failed) and event.fatal:
            self._fail(event)
        return event

    def _fail(self, event: Failed) -> None:
        if event.code in RETRIED:
            raise LostError(event.message, code=event.code, retry_after_s=event.retry_after or 0.0)
        if event.code == "resume_lost" and self.begun:
            self._resumption.restart()
            raise LostError(event.message)
        raise ServerError(event.code, event.message, field=event.field)

    def _answered(self, event: Event) -> Key | None:
        key: Key | None = None
        match event:
            case Flushed():
                key = ("flush", event.id)
            case Updated() | Failed():
                key = ("update", None)
            case Done():
                key = ("stop", None)
            case Unknown():
                key = None
        return key if key in self._asked else None
