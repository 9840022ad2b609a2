"""The settings of a native session: from a query string or a message to values, or to an error that helps.

Names, types, ranges and defaults are read off the structs of ``core/options.py``, so that a setting added
there is known here. Knows nothing of the conversation: when a setting may be sent is the dialect's affair.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from msgspec import inspect

from streamasr.core.options import MIN_ENDPOINTING_MS, AudioFormat, SessionOptions
from streamasr.errors import InvalidSetting
from streamasr.wire.commands import Start

Text = Annotated[str, msgspec.Meta(max_length=10_000)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]

FORMAT = {field.name: field for field in msgspec.structs.fields(AudioFormat)}
OPTIONS = {field.name: field for field in msgspec.structs.fields(SessionOptions)}
TYPES: dict[str, Any] = {name: field.type for name, field in (FORMAT | OPTIONS).items()} | {
    "resume": Text | None,
    "stable": Text | tuple[Text, ...] | None,
    "stable_end": Seconds | tuple[Seconds | None, ...] | None,
}
"""Every key of ``start``."""

UPDATABLE = frozenset(OPTIONS) - {"task"}
"""What ``update`` may change."""

EXPECTED = {
    "language": "a lower-case language code such as en, or auto",
    "languages": "a list of at most 100 lower-case language codes such as en and de",
    "stable": "the stable text last shown (with several channels a list, one text each)",
    "stable_end": "seconds (with several channels a list, one number or null each)",
}
"""What is expected, where the type alone does not tell it well."""

_LANGUAGE = re.compile("[a-z]{2,8}")


def read_message(message: Mapping[str, Any]) -> Start:
    """The start that a ``start`` message asks for (``message`` without its ``type``).

    Raises:
        InvalidSetting: ``field`` names the key; the code is ``unknown_setting`` if there is no such key.
    """
    checked = {name: check(name, value) for name, value in message.items()}
    format_ = AudioFormat(**{name: value for name, value in checked.items() if name in FORMAT})
    options = SessionOptions(**{name: value for name, value in checked.items() if name in OPTIONS})
    resume = checked.get("resume")
    for name in ("stable", "stable_end"):
        if resume is None and checked.get(name) is not None:
            raise InvalidSetting(f"{name}: has a meaning only together with resume", field=name)
    return Start(
        format=format_,
        options=options,
        resume=resume,
        stable=_per_channel("stable", checked.get("stable") or "", format_.channels),
        stable_end=_per_channel("stable_end", checked.get("stable_end"), format_.channels),
    )


def read_query(query: Mapping[str, str]) -> Start | None:
    """The start that a query string asks for; None if it is empty.

    Lists are separated by commas, booleans are ``true`` or ``false``. With several channels ``stable`` and
    ``stable_end`` need a message: there is no separator that a text cannot hold.

    Raises:
        InvalidSetting: as ``read_message``, and if neither ``encoding`` nor ``sample_rate`` is there.
    """
    if not query:
        return None
    message = {name: _from_text(name, text) for name, text in query.items()}
    start = read_message(message)
    if not {"encoding", "sample_rate"} & set(query):
        raise InvalidSetting(
            "a query with settings is the start of the session and needs encoding or sample_rate beside them"
            " (or leave the query away and send a start message)",
            field=next(iter(query)),
        )
    return start


def check(name: str, value: Any) -> Any:
    """``value`` as the type of the setting ``name``.

    Raises:
        InvalidSetting: it is unknown, of the wrong type or out of range; the text says what was expected.
    """
    if name not in TYPES:
        raise unknown(name, TYPES)
    try:
        checked = msgspec.convert(value, TYPES[name])
    except msgspec.ValidationError as error:
        raise wrong(name, value) from error
    codes = {"language": (checked,), "languages": checked}.get(name, ())
    if not all(_LANGUAGE.fullmatch(code) for code in codes) or (name == "languages" and "auto" in codes):
        raise wrong(name, value)
    return checked


def effective(format_: AudioFormat, options: SessionOptions) -> dict[str, Any]:
    """Every setting with the value that holds, in the order of the documentation."""
    settings = msgspec.structs.asdict(format_) | msgspec.structs.asdict(options)
    settings["endpointing_ms"] = max(MIN_ENDPOINTING_MS, options.endpointing_ms)
    return settings


def unknown(name: str, known: Iterable[str]) -> InvalidSetting:
    """The error for a setting there is none of, naming the one that was probably meant."""
    near = difflib.get_close_matches(name[:100], known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    error = InvalidSetting(f"there is no setting {show(name)}{hint}", field=name[:100])
    error.code = "unknown_setting"
    return error


def wrong(name: str, value: Any) -> InvalidSetting:
    """The error for a value that the setting ``name`` cannot have."""
    return InvalidSetting(f"{name}: expected {expected(name)}, got {show(value)}", field=name)


def expected(name: str) -> str:
    """What a value of the setting ``name`` must be, in words."""
    if get_origin(TYPES[name]) is Literal:  # in the order written, which type_info does not keep
        return f"one of {', '.join(get_args(TYPES[name]))}"
    return EXPECTED.get(name) or _describe(inspect.type_info(TYPES[name]))


def show(value: Any) -> str:
    """A value for an error text: as JSON if it can be, and short."""
    text = msgspec.json.encode(value, enc_hook=repr).decode()
    return text if len(text) <= 60 else f"{text[:57]}..."


def _describe(kind: inspect.Type) -> str:
    match kind:
        case inspect.IntType(ge=low, le=high):
            return f"an integer from {low} to {high}"
        case inspect.BoolType():
            return "true or false"
        case inspect.StrType(max_length=length):
            return f"text of at most {length} characters"
        case inspect.UnionType(types=types):
            return _describe(types[0])
        case _:
            raise TypeError(f"a setting of {kind} needs a line in EXPECTED")


def _from_text(name: str, text: str) -> Any:
    """A query's value as a message would carry it; what cannot be that stays text, and is refused later."""
    match inspect.type_info(TYPES.get(name, str)):
        case inspect.BoolType():
            return {"true": True, "false": False}.get(text, text)
        case inspect.IntType() if re.fullmatch("-?[0-9]{1,18}", text):
            return int(text)
        case inspect.VarTupleType():
            return text.split(",") if text else []
        case _ if name == "stable_end" and re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,12})?", text):
            return float(text)
        case _:
            return text


def _per_channel(name: str, value: Any, channels: int) -> tuple[Any, ...]:
    """One value for each channel: a list as it is, a single one for a single channel, nothing for all."""
    if isinstance(value, tuple) and len(value) == channels:
        return value
    if isinstance(value, tuple) or (value not in (None, "") and channels > 1):
        raise InvalidSetting(f"{name}: expected a list of {channels}, one for each channel", field=name)
    return (value,) * channels
