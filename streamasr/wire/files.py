"""A recording's transcription on the wire: what is asked of it, as a query, and what comes of it, as messages.

Names, types, ranges and defaults of what may be asked are read off ``FileOptions``, so that an option added there
is known here. Both ends use these messages: the server, and the command line as its client. Pure; knows neither
HTTP nor files.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Protocol, get_args, get_origin

import msgspec

from streamasr.core.events import SAMPLE_RATE, Segment
from streamasr.core.filelane import Lost
from streamasr.core.options import FileOptions
from streamasr.errors import ClientError, EngineError, InvalidSetting, Refused
from streamasr.results import Segment as SaidSegment
from streamasr.results import Stretch, Transcript
from streamasr.wire.native import error_body
from streamasr.wire.settings import show, unknown

PROGRESS_EVERY_S = 0.5
"""Progress is said so often at most."""

Offset = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Duration = Annotated[float, msgspec.Meta(gt=0, le=1e9)]


class FileRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A recording's transcription, as it is asked for."""

    options: FileOptions
    offset_s: float = 0.0
    """Where in the recording to begin, seconds."""
    duration_s: float | None = None
    """How much of it to transcribe, seconds; None: all that comes."""


_OPTIONS: dict[str, Any] = {field.name: field.type for field in msgspec.structs.fields(FileOptions)}
TYPES: dict[str, Any] = _OPTIONS | {"offset": Offset, "duration": Duration}
"""Every name that a query may have."""

EXPECTED = {
    "language": "a lower-case language code such as en, or auto",
    "languages": "at most 100 lower-case language codes such as en,de",
    "prompt": "text of at most 2000 characters",
    "hotwords": "text of at most 1000 characters",
    "beam_size": "an integer from 1 to 20",
    "temperatures": "numbers from 0 to 1, such as 0,0.2,0.4",
    "word_timestamps": "true or false",
    "compression_ratio_threshold": "a number above 0",
    "logprob_threshold": "a number of at most 0",
    "no_speech_threshold": "a number from 0 to 1",
    "offset": "seconds, from 0 on",
    "duration": "seconds, above 0",
}
"""What is expected, where the type is no list of words."""

_LANGUAGE = re.compile("[a-z]{2,8}")


def read_query(query: Mapping[str, str]) -> FileRequest:
    """The request that a query string makes; lists are separated by commas, booleans are ``true`` or ``false``.

    Raises:
        InvalidSetting: ``field`` names what is unknown, of the wrong type or out of range.
    """
    values = {name: read(name, text) for name, text in query.items()}
    options = FileOptions(**{name: value for name, value in values.items() if name in _OPTIONS})
    return FileRequest(options=options, offset_s=values.get("offset", 0.0), duration_s=values.get("duration"))


def write_query(request: FileRequest) -> dict[str, str]:
    """The query that makes this request; without what has its default."""
    values = msgspec.structs.asdict(request.options)
    defaults = msgspec.structs.asdict(FileOptions())
    query = {name: _text(value) for name, value in values.items() if value != defaults[name]}
    if request.offset_s:
        query["offset"] = _text(request.offset_s)
    if request.duration_s is not None:
        query["duration"] = _text(request.duration_s)
    return query


def read(name: str, text: str) -> Any:
    """A value of the option ``name`` from its text.

    Raises:
        InvalidSetting: the option is unknown, or the text is none of its values; it says what was expected.
    """
    if name not in TYPES:
        raise unknown(name, TYPES)
    plain: Any = text
    if name in ("languages", "temperatures"):
        plain = [part.strip() for part in text.split(",") if part.strip()]
    elif name == "word_timestamps" and text not in ("true", "false"):
        raise _wrong(name, text)
    return _checked(name, plain, text, strict=False)


def check(name: str, value: Any) -> Any:
    """``value`` as the type of the option ``name``.

    Raises:
        InvalidSetting: as ``read``.
    """
    if name not in _OPTIONS:
        raise unknown(name, _OPTIONS)
    return _checked(name, value, value, strict=True)


def _checked(name: str, value: Any, given: Any, *, strict: bool) -> Any:
    """``value`` as the option's type; ``given`` is what an error shows."""
    try:
        checked = msgspec.convert(value, TYPES[name], strict=strict)
    except msgspec.ValidationError as error:
        raise _wrong(name, given) from error
    codes = {"language": (checked,), "languages": checked}.get(name, ())
    if not all(_LANGUAGE.fullmatch(code) for code in codes) or (name == "languages" and "auto" in codes):
        raise _wrong(name, given)
    return checked


def _wrong(name: str, given: Any) -> InvalidSetting:
    return InvalidSetting(f"{name}: expected {expected(name)}, got {show(given)}", field=name)


def expected(name: str) -> str:
    """What a value of the option ``name`` must be, in words."""
    if get_origin(TYPES[name]) is Literal:
        return f"one of {', '.join(get_args(TYPES[name]))}"
    return EXPECTED[name]


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


class SegmentMessage(SaidSegment, frozen=True, kw_only=True, tag="segment"):
    """About a sentence."""


class LostMessage(Stretch, frozen=True, kw_only=True, tag="lost"):
    """A stretch of the recording that could not be transcribed; the rest goes on."""


class ProgressMessage(msgspec.Struct, frozen=True, kw_only=True, tag="progress"):
    """How far it is."""

    done: float
    """Seconds of audio whose words are all known."""
    read: float
    """Seconds of audio read so far."""


class DoneMessage(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """All has been said; always the last message, if no error is."""

    language: str
    """"" if nothing was said."""
    language_probability: float
    duration: float
    """Seconds of audio transcribed."""
    model: str


class ErrorMessage(msgspec.Struct, frozen=True, kw_only=True, tag="error"):
    """It cannot go on; what was said before holds. Always the last message; also the body of a refusal."""

    code: str
    message: str
    field: str | None = None
    retry_after: float | None = None


Message = SegmentMessage | LostMessage | ProgressMessage | DoneMessage | ErrorMessage
_DECODER = msgspec.json.Decoder(Message)


class _Kind(msgspec.Struct):
    type: str


def said(item: Segment | Lost, offset_s: float) -> SegmentMessage | LostMessage:
    """What a file lane says, on the clock of a recording of which the first ``offset_s`` seconds were left out."""
    offset = round(offset_s * SAMPLE_RATE)
    if isinstance(item, Lost):
        start, end = ((sample + offset) / SAMPLE_RATE for sample in (item.start, item.end))
        return LostMessage(start=round(start, 3), end=round(end, 3), reason=item.reason)
    shift = msgspec.structs.replace
    words = tuple(shift(word, start=word.start + offset, end=word.end + offset) for word in item.words)
    return SegmentMessage.of(shift(item, start=item.start + offset, end=item.end + offset, words=words))


def read_message(line: bytes) -> Message | None:
    """A line as a message; None if it is of a kind that is not known here, for there may be more in future.

    Raises:
        msgspec.DecodeError: it is no message.
    """
    kind = msgspec.json.decode(line, type=_Kind).type
    known = {"segment", "lost", "progress", "done", "error"}
    return _DECODER.decode(line) if kind in known else None


class Gathered:
    """Messages of one recording, put together."""

    def __init__(self) -> None:
        self.segments: list[SegmentMessage] = []
        self.lost: list[LostMessage] = []

    def add(self, message: Message) -> None:
        """Take one."""
        match message:
            case SegmentMessage():
                self.segments.append(message)
            case LostMessage():
                self.lost.append(message)

    def transcript(self, done: DoneMessage) -> Transcript:
        """The whole."""
        return Transcript(
            language=done.language,
            language_probability=done.language_probability,
            duration=done.duration,
            model=done.model,
            segments=tuple(SaidSegment(**msgspec.structs.asdict(segment)) for segment in self.segments),
            failed=tuple(Stretch(**msgspec.structs.asdict(stretch)) for stretch in self.lost),
        )


class Form(Protocol):
    """How the messages of one recording are written into an answer."""

    media_type: str

    def say(self, message: Message, now: float) -> bytes:
        """What to send for a message, empty if nothing; ``now`` is seconds on any clock."""

    def error(self, error: ClientError | EngineError | Refused) -> bytes:
        """What to send if something goes wrong after something was sent."""


class Lines:
    """Each message on a line, as soon as there is one; progress only now and then."""

    media_type = "application/x-ndjson"

    def __init__(self) -> None:
        self._progress_at: float | None = None

    def say(self, message: Message, now: float) -> bytes:
        """A line of JSON."""
        if isinstance(message, ProgressMessage):
            if self._progress_at is not None and now < self._progress_at:
                return b""
            self._progress_at = now + PROGRESS_EVERY_S
        return msgspec.json.encode(message) + b"\n"

    def error(self, error: ClientError | EngineError | Refused) -> bytes:
        """A line of JSON."""
        return error_body(error) + b"\n"


class Document:
    """One JSON document at the end: ``Transcript.to_json``."""

    media_type = "application/json"

    def __init__(self) -> None:
        self._gathered = Gathered()

    def say(self, message: Message, now: float) -> bytes:  # noqa: ARG002 - a document does not depend on when
        """Everything, with the last message."""
        self._gathered.add(message)
        return self._gathered.transcript(message).to_json().encode() if isinstance(message, DoneMessage) else b""

    def error(self, error: ClientError | EngineError | Refused) -> bytes:
        """The error's JSON."""
        return error_body(error)
