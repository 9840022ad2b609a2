"""What the server says, as frozen dataclasses, and how they are read from its JSON.

Fields that are not known are ignored, and unknown event types become ``Unknown``, so that a newer server can
be talked to. A missing or mistyped field is a ``ProtocolError``. Every time is in seconds since the session's
first sample. Knows nothing of sockets.
"""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .errors import ProtocolError

Id = str | int | None
Settings = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Word:
    """One word with its punctuation, without spaces around it."""

    word: str
    start: float
    end: float
    confidence: float


Words = tuple[Word, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What every event carries."""

    seq: int = -1
    """Counts up from 0 within a connection; -1 in events of the client's own making."""
    channel: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready(Event):
    """The session is open."""

    session: str
    settings: Settings
    """All settings in effect, the defaults included."""
    model: Settings
    """``name``, and what else the server tells of its model."""
    audio_received: int
    """The input sample (per channel) from which to send."""
    resume: str | None = None
    """A token for going on before the first final, if the server gives one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechStarted(Event):
    """An utterance has begun."""

    utterance: int
    time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Partial(Event):
    """What is heard so far: ``stable`` only grows, ``unstable`` may still change."""

    utterance: int
    start: float
    stable: str
    unstable: str
    words: Words = ()
    """The words of the stable part."""

    @property
    def text(self) -> str:
        """What to show."""
        return self.stable + self.unstable


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight(Event):
    """What the final will say, unless ``SpeechResumed`` takes it back."""

    utterance: int
    text: str
    words: Words = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechResumed(Event):
    """The utterance goes on after all."""

    utterance: int
    time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechEnded(Event):
    """The utterance has ended; its final follows."""

    utterance: int
    time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Final(Event):
    """What was said in one utterance; never changes. The text may be empty."""

    utterance: int
    text: str
    start: float
    end: float
    reason: str
    """``endpoint``, ``flush``, ``stop``, ``max_length`` or ``drain``."""
    language: str = ""
    words: Words = ()
    resume: str | None = None
    """A token with which a session can go on after this utterance; used by the client itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flushed(Event):
    """Everything sent before the flush of this id has been finalised."""

    id: Id = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Updated(Event):
    """The settings were changed; all settings in effect from here on."""

    settings: Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Done(Event):
    """The answer to ``stop``: the last event."""

    audio_seconds: float
    utterances: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned(Event):
    """Something to know; the session goes on."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Event):
    """An ``error`` of the server; the fatal ones end the session and are raised as ``ServerError``."""

    code: str
    message: str
    fatal: bool
    field: str | None = None
    """The setting or message field at fault, if one is."""
    retry_after: float | None = None
    """Seconds after which a full server may have room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown(Event):
    """An event of a newer protocol; skipped."""

    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnected(Event):
    """Made by the client: the connection was lost and the session goes on over a new one.

    The utterance that was open begins again (its ``SpeechStarted`` is repeated); its stable text stays true.
    If the server could not resume, a new session begins: utterances count from 0 again, times from ``offset``.
    """

    reason: str
    """Why the connection was lost."""
    attempts: int
    """How many attempts it took to connect."""
    resumed: bool
    """Whether clock and numbering go on. False: what follows belongs to a new session."""
    offset: float
    """Seconds to add to the times from here on, to stay on the first session's clock."""
    missing: float
    """Seconds of audio that were no longer kept and were replaced by silence; normally 0."""


KINDS: dict[str, type[Event]] = {
    "ready": Ready,
    "speech_started": SpeechStarted,
    "partial": Partial,
    "preflight": Preflight,
    "speech_resumed": SpeechResumed,
    "speech_ended": SpeechEnded,
    "final": Final,
    "flushed": Flushed,
    "updated": Updated,
    "done": Done,
    "warning": Warned,
    "error": Failed,
}
"""The protocol's ``type`` of each event that the server sends."""


def parse(text: str | bytes) -> Event:
    """Read one event of the server; ``ProtocolError`` if it is not one."""
    try:
        message = json.loads(text)
    except ValueError as error:
        raise ProtocolError(f"the server sent what is not JSON: {text[:80]!r}") from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise ProtocolError(f"the server sent an event without a type: {text[:80]!r}")
    kind = KINDS.get(message["type"], Unknown)
    values = {}
    for field, read, required in _FIELDS[kind]:
        if field in message:
            try:
                values[field] = read(message[field])
            except (TypeError, KeyError, ValueError) as error:
                raise ProtocolError(f"{message['type']}.{field} cannot be {message[field]!r}") from error
        elif required:
            raise ProtocolError(f"{message['type']} lacks {field}")
    return kind(**values)


def _exactly(*types: type) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if type(value) not in types:
            raise TypeError
        return value

    return read


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise TypeError
    return float(value)


def _words(value: Any) -> Words:
    text = _exactly(str)
    return tuple(Word(text(w["word"]), _number(w["start"]), _number(w["end"]), _number(w["confidence"])) for w in value)


_READERS: dict[Any, Callable[[Any], Any]] = {
    int: _exactly(int),
    str: _exactly(str),
    bool: _exactly(bool),
    float: _number,
    float | None: lambda value: None if value is None else _number(value),
    str | None: _exactly(str, type(None)),
    Words: _words,
    Settings: _exactly(dict),
    Id: _exactly(str, int, type(None)),
}

_FIELDS = {
    kind: [(f.name, _READERS[f.type], f.default is dataclasses.MISSING) for f in dataclasses.fields(kind)]
    for kind in (*KINDS.values(), Unknown)
}
