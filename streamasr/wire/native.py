"""The native protocol: JSON text frames and binary audio at ``/v1/stream`` (docs/reference/native.md).

Owns the form of every message, the order in which messages may come, the numbering of what is sent and the
close codes. Knows no socket and no clock, and of a session only its commands and its events.
"""

# ruff: noqa: ARG002 (every dialect is told the time; this one needs none)

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from streamasr.core.events import (
    SAMPLE_RATE,
    Event,
    Final,
    Flushed,
    Partial,
    Preflight,
    SpeechEnded,
    SpeechResumed,
    SpeechStarted,
    Warned,
    Word,
)
from streamasr.core.options import AudioFormat, SessionOptions
from streamasr.errors import (
    ClientError,
    EngineError,
    InvalidMessage,
    InvalidSetting,
    ProtocolViolation,
    Refused,
)
from streamasr.wire import settings
from streamasr.wire.commands import Audio, Close, Command, Flush, Model, Reply, Send, Start, Stop, Update

MAX_TEXT = 64 * 1024
"""Bytes in a text frame; no message needs more."""

CLOSE_CODES = {"invalid_json": 1007, "invalid_message": 1009, "overloaded": 1013, "internal": 1011}
"""How the connection ends after a fatal error; every code that is not here closes with 1008."""

Id = Annotated[str, msgspec.Meta(max_length=256)] | Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)] | None
"""What a ``flush`` or ``ping`` may be named: JSON numbers beyond 2**53 are not safe in every client."""

Phase = Literal["new", "open", "stopped", "closed"]
"""No start yet; started; ``stop`` received; nothing more is sent."""


class NativeDialect:
    """One connection's conversation: frames in, commands and replies out.

    ``query`` is the query string of the request. A wrong one raises ``ClientError``, to be answered with
    HTTP 400 and ``error_body`` in place of the upgrade. The caller obeys the commands of one call before
    it makes the next, and calls nothing after a ``Close``.
    """

    path = "/v1/stream"

    def __init__(self, query: Mapping[str, str]) -> None:
        self.wake_at: float | None = None
        self._start = settings.read_query(query)
        self._phase: Phase = "new"
        self._seq = 0
        self._ready = False
        self._said_stopped = False
        self._format = AudioFormat()
        self._options = SessionOptions()
        self._asked: SessionOptions | None = None  # an update not yet confirmed by `updated`
        self._flushed: list[int] = []  # flushes answered, for each channel

    def open(self, now: float) -> list[Command | Reply]:
        """What to do as soon as the socket is open: the start, if the query was one."""
        return [] if self._start is None else self._begin(self._start)

    def receive(self, frame: str | bytes, now: float) -> list[Command | Reply]:
        """What one frame of the client asks for; its faults are answered with errors, never raised."""
        if self._phase == "closed":
            return []
        if self._phase == "stopped":
            return self._already_stopped()
        try:
            if not isinstance(frame, str):
                return self._audio(frame)
            return self._obey(_decode(frame))
        except ClientError as error:
            too_long = isinstance(error, InvalidMessage) and error.fatal
            return [*self._error(error, fatal=too_long or self._phase == "new")]

    def handle_timer(self, now: float) -> list[Command | Reply]:
        """Nothing: this protocol has no timers, and ``wake_at`` is always None."""
        return []

    def started(self, session: str, model: Model, audio_received: int, resume: str | None = None) -> list[Reply]:
        """``ready``: the session exists. ``audio_received`` counts samples of the input, per channel.

        ``resume`` is the token of the session's beginning, for a connection lost before its first final.
        """
        self._ready = True
        return self._send(
            "ready",
            session=session,
            settings=settings.effective(self._format, self._options),
            model={"name": model.name} | ({"notice": model.notice} if model.notice else {}),
            audio_received=audio_received,
            resume=resume,
        )

    def updated(self) -> list[Reply]:
        """``updated``: the options of the last ``Update`` hold."""
        self._options, self._asked = self._asked or self._options, None
        return self._send("updated", settings=settings.effective(self._format, self._options))

    def done(self, audio_seconds: float, utterances: int) -> list[Reply]:
        """``done`` and the end: everything received before ``stop`` has been finalised and sent."""
        sent = self._send("done", audio_seconds=round(audio_seconds, 3), utterances=utterances)
        return [*sent, *self._close(1000, "")]

    def drained(self) -> list[Reply]:
        """The end of a drain: the last finals have been sent."""
        return self._close(1012, "server is shutting down; resume with the last token")

    def handle(self, event: Event, channel: int | None, now: float, resume: str | None = None) -> list[Reply]:
        """Say what a channel's session says (None: what concerns them all).

        ``resume`` is the token of a final. Every channel's ``Flushed`` is to be handed over; the client is
        told once, when all channels have finalised what came before that flush.
        """
        if isinstance(event, Flushed):
            if not self._flushed_by_all(channel or 0):
                return []
            channel = None
        where = {} if channel is None or self._format.channels == 1 else {"channel": channel}
        return self._send(str(type(event).__struct_config__.tag), **where, **self._body(event, resume))

    def fail(self, error: ClientError | EngineError | Refused) -> list[Reply]:
        """Say what went wrong; a fatal error ends the connection.

        A setting that the server refuses is fatal at the start; after ``ready`` the update that asked for
        it is forgotten and the session goes on. A ``ProtocolViolation`` before the start (none came in time)
        is ``start_expected``.
        """
        if isinstance(error, InvalidSetting) and self._ready:
            self._asked = None
            return self._error(error, fatal=False)
        if isinstance(error, ProtocolViolation) and self._phase == "new":
            error.code = "start_expected"
        return self._error(error, fatal=not isinstance(error, ClientError) or error.fatal)

    def _begin(self, start: Start) -> list[Command | Reply]:
        self._phase = "open"
        self._format, self._options = start.format, start.options
        self._flushed = [0] * start.format.channels
        return [start]

    def _audio(self, data: bytes) -> list[Command | Reply]:
        if self._phase == "new":
            raise _start_expected("audio")
        return [Audio(data)]

    def _obey(self, message: dict[str, Any]) -> list[Command | Reply]:
        kind = message.pop("type")
        if self._phase == "new":
            if kind != "start":
                raise _start_expected(settings.show(kind))
            return self._begin(settings.read_message(message))
        match kind:
            case "start":
                raise _fault("already_started", "the session has started; update changes settings midway")
            case "update":
                return self._update(message)
            case "flush":
                return [Flush(_only_id(kind, message))]
            case "ping":
                return [*self._send("pong", id=_only_id(kind, message))]
            case "stop":
                _no_other(kind, message, ())
                self._phase = "stopped"
                return [Stop()]
            case _:
                known = "start, update, flush, ping and stop"
                raise _fault("unknown_type", f"there is no message {settings.show(kind)}; there are {known}")

    def _update(self, message: dict[str, Any]) -> list[Command | Reply]:
        changes = {name: settings.check(name, value) for name, value in message.items()}
        for name in changes:
            if name not in settings.UPDATABLE:
                raise _fault("not_updatable", f"{name} holds for the whole session", field=name)
        self._asked = msgspec.structs.replace(self._asked or self._options, **changes)
        return [Update(self._asked)]

    def _already_stopped(self) -> list[Command | Reply]:
        if self._said_stopped:
            return []
        self._said_stopped = True
        message = "what comes after stop is ignored (said once)"
        return [*self._error(_fault("already_stopped", message), fatal=False)]

    def _flushed_by_all(self, channel: int) -> bool:
        """Whether this answer of a channel is the last one to its flush."""
        before = min(self._flushed)
        self._flushed[channel] += 1
        return min(self._flushed) > before

    def _body(self, event: Event, resume: str | None) -> dict[str, Any]:
        """The fields of one event; its tag is its ``type``."""
        match event:
            case Partial():
                return {
                    "utterance": event.utterance,
                    "start": _seconds(event.start),
                    "stable": event.stable,
                    "unstable": event.unstable,
                    "words": self._words(event.words),
                }
            case Preflight():
                words = self._words(event.words)
                return {"utterance": event.utterance, "text": event.text, "words": words}
            case Final():
                return {
                    "utterance": event.utterance,
                    "text": event.text,
                    "words": self._words(event.words),
                    "language": event.language,
                    "start": _seconds(event.start),
                    "end": _seconds(event.end),
                    "reason": event.reason,
                    "resume": resume,
                }
            case Warned():
                return {"code": event.code, "message": event.message}
            case SpeechStarted() | SpeechResumed() | SpeechEnded():
                return {"utterance": event.utterance, "time": _seconds(event.time)}
            case Flushed():
                return {"id": event.id}

    def _words(self, words: tuple[Word, ...]) -> list[dict[str, Any]]:
        if not self._options.word_timestamps:
            return []
        return [
            {
                "word": word.text.strip(),
                "start": _seconds(word.start),
                "end": _seconds(word.end),
                "confidence": round(word.confidence, 3),
            }
            for word in words
        ]

    def _send(self, kind: str, **body: Any) -> list[Reply]:
        if self._phase == "closed":
            return []
        event = {"type": kind, "seq": self._seq, **body}
        self._seq += 1
        return [Send(msgspec.json.encode(event).decode())]

    def _error(self, error: ClientError | EngineError | Refused, *, fatal: bool) -> list[Reply]:
        body = _describe(error, fatal=fatal)
        sent = self._send("error", **body)
        if not fatal:
            return sent
        code: str = body["code"]
        return [*sent, *self._close(CLOSE_CODES.get(code, 1008), f"{code}: {body['message']}")]

    def _close(self, code: int, reason: str) -> list[Reply]:
        if self._phase == "closed":
            return []
        self._phase = "closed"
        return [Close(code, reason.encode()[:123].decode(errors="ignore"))]


def _seconds(samples: int) -> float:
    return round(samples / SAMPLE_RATE, 3)


def error_body(error: ClientError | EngineError | Refused) -> bytes:
    """The error as the body of an HTTP answer: the JSON of the ``error`` event, without ``seq``."""
    return msgspec.json.encode({"type": "error", **_describe(error, fatal=True)})


def _describe(error: ClientError | EngineError | Refused, *, fatal: bool) -> dict[str, Any]:
    if isinstance(error, EngineError):  # its text is for the log
        return {"code": "internal", "message": "the server failed; the session is lost", "fatal": fatal}
    if isinstance(error, Refused):
        body = {"code": "overloaded", "message": error.message, "fatal": fatal}
        return {**body, "retry_after": round(error.retry_after_s, 3)}
    body = {"code": error.code, "message": error.message, "fatal": fatal}
    return body if error.field is None else {**body, "field": error.field}


def _decode(frame: str) -> dict[str, Any]:
    """A text frame as the object it must be.

    Raises:
        ClientError: it is too long, is not JSON, or not an object with a ``type``.
    """
    try:
        data = frame.encode()
        if len(data) > MAX_TEXT:
            error = InvalidMessage(f"a text frame of {len(data)} bytes; at most {MAX_TEXT} are read")
            error.fatal = True
            raise error
        message = msgspec.json.decode(data)
    except (ValueError, RecursionError) as error:
        raise _fault("invalid_json", "a text frame must be JSON; audio goes in binary frames") from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise _fault("invalid_json", 'a text frame must be one JSON object with a "type" that is text')
    return message


def _only_id(kind: str, message: dict[str, Any]) -> str | int | None:
    """The ``id`` of a message that may have no other field."""
    _no_other(kind, message, ("id",))
    try:
        return msgspec.convert(message.get("id"), Id)  # type: ignore[no-any-return]
    except msgspec.ValidationError as error:
        wanted = "text of at most 256 characters, an integer or null"
        text = f"id: expected {wanted}, got {settings.show(message['id'])}"
        raise InvalidMessage(text, field="id") from error


def _no_other(kind: str, message: dict[str, Any], known: tuple[str, ...]) -> None:
    for name in message:
        if name not in known:
            raise InvalidMessage(f"{kind} has no field {settings.show(name)}", field=name[:100])


def _fault(code: str, message: str, *, field: str | None = None) -> ClientError:
    error = ProtocolViolation(message, field=field)
    error.code = code
    return error


def _start_expected(what: str) -> ClientError:
    message = f"the first message must be start (or the query must name encoding or sample_rate), got {what}"
    return _fault("start_expected", message)
