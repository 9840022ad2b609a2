"""Every setting of the server, in one frozen struct, and the three ways to set one.

A field's name gives its flag (``--encoder-window``), its environment variable (``STREAMASR_ENCODER_WINDOW``)
and its TOML key (``encoder_window``); its type and its text give the checks, the help and
docs/reference/config.md. A flag wins over a variable, that over the file, that over the default.

Knows what may be set, not what is done with it.
"""

import argparse
import difflib
import sys
import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

import msgspec
from msgspec import inspect

from streamasr.errors import ConfigError

PREFIX = "STREAMASR_"
FILE_VARIABLE = f"{PREFIX}CONFIG"

ComputeType = Literal[
    "auto", "int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16", "float16", "bfloat16", "float32"
]
Count = Annotated[int, msgspec.Meta(ge=1)]
Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
Bytes = Annotated[int, msgspec.Meta(ge=1_024)]
Share = Annotated[float, msgspec.Meta(gt=0, le=0.9)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
Window = Annotated[float, msgspec.Meta(gt=0, le=30)]
Key = Annotated[str, msgspec.Meta(min_length=16)]


def _about(group: str, metavar: str, text: str, *, secret: bool = False) -> msgspec.Meta:
    return msgspec.Meta(description=text, extra={"group": group, "metavar": metavar, "secret": secret})


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How the server was asked to run. A new field here is a new flag, variable and key."""

    host: Annotated[
        str,
        _about("Network", "ADDRESS", "The address to listen on; 0.0.0.0 is every interface."),
    ] = "127.0.0.1"
    port: Annotated[
        Port,
        _about("Network", "PORT", "The port to listen on; 0 takes a free one."),
    ] = 8765

    model: Annotated[
        str,
        _about(
            "Model",
            "MODEL",
            "auto (chosen for this machine), a size such as small or large-v3-turbo, a hub's OWNER/NAME with or"
            " without @REVISION, a directory with a Whisper model in CTranslate2 format, or nano (built in).",
        ),
    ] = "auto"
    model_entry: Annotated[
        str | None,
        _about(
            "Model",
            "FILE",
            "What is known of the model, as `streamasr bench AUDIO --sweep` writes it. Unset: the file"
            " streamasr.toml beside the model, if there is one.",
        ),
    ] = None
    fallback: Annotated[
        Literal["none", "nano"] | None,
        _about(
            "Model",
            "MODEL",
            "What to run if the model is not here and its hub does not answer: nothing (exit code 2), or nano."
            " Unset: nano at a terminal, nothing otherwise.",
        ),
    ] = None
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        _about("Model", "DEVICE", "Where the model runs."),
    ] = "auto"
    compute_type: Annotated[
        ComputeType,
        _about("Model", "TYPE", "The numbers the model computes with; auto: the fastest that suits the device."),
    ] = "auto"
    threads: Annotated[
        Count | None,
        _about("Model", "N", "CPU threads of the model. Unset: chosen from the machine."),
    ] = None
    max_batch: Annotated[
        Count | None,
        _about("Model", "N", "The most windows the model is given at once. Unset: chosen from the device."),
    ] = None
    encoder_window: Annotated[
        Window | None,
        _about(
            "Model",
            "SECONDS",
            "How much audio the encoder sees for every window, padded if there is less (more, if a window is"
            " longer); 30 is what Whisper does by itself. Unset: what each window needs.",
        ),
    ] = None

    max_sessions: Annotated[
        Count | None,
        _about("Limits", "N", "The most sessions at a time; further ones are refused. Unset: no fixed limit."),
    ] = None
    admission: Annotated[
        Literal["auto", "off"],
        _about(
            "Limits",
            "auto|off",
            "auto: a session is refused, with a time to ask again, if those who speak already would suffer from it;"
            " off: only max_sessions refuses.",
        ),
    ] = "auto"
    min_headroom: Annotated[
        Share,
        _about(
            "Limits",
            "SHARE",
            "With admission auto: the share of the model's time that must stay idle for a further session to be let"
            " in.",
        ),
    ] = 0.1
    max_frame_bytes: Annotated[
        Bytes,
        _about("Limits", "BYTES", "The largest WebSocket frame; a larger one closes the connection with 1009."),
    ] = 1_048_576
    max_files: Annotated[
        Count,
        _about("Limits", "N", "The most recordings transcribed at a time over HTTP; further ones are refused."),
    ] = 4
    max_file_bytes: Annotated[
        Bytes,
        _about("Limits", "BYTES", "The largest recording taken over HTTP; a larger one is refused with 413."),
    ] = 2_147_483_648
    max_file_seconds: Annotated[
        Seconds,
        _about("Limits", "SECONDS", "The longest recording taken over HTTP; what is longer is refused."),
    ] = 43_200.0
    start_timeout_s: Annotated[
        Seconds,
        _about("Limits", "SECONDS", "How long a connection may stay open before its session starts."),
    ] = 10.0
    send_timeout_s: Annotated[
        Seconds,
        _about("Limits", "SECONDS", "How long a client may leave unread what it is sent."),
    ] = 10.0
    drain_timeout_s: Annotated[
        Seconds,
        _about("Limits", "SECONDS", "How long a stopping server waits for the finals of open utterances."),
    ] = 20.0

    signing_key: Annotated[
        Key | None,
        _about(
            "Security",
            "KEY",
            "Signs resume tokens; servers that share it can resume each other's sessions. Unset: a random"
            " one, so that tokens hold until this process ends. A flag can be seen by every user of the"
            " machine: prefer the variable or the file.",
            secret=True,
        ),
    ] = None

    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        _about("Logging", "LEVEL", "The least serious messages to log."),
    ] = "info"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Name and value of each setting; a secret is not shown."""
        values = msgspec.structs.asdict(self)
        return [(o.name, "***" if o.secret and values[o.name] else values[o.name]) for o in options()]

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"


class Option(NamedTuple):
    """One setting, as a person meets it."""

    name: str
    type: Any
    default: Any
    text: str
    group: str
    metavar: str
    secret: bool

    @property
    def flag(self) -> str:
        """Its name on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return PREFIX + self.name.upper()

    @property
    def expected(self) -> str:
        """What a value must be, in words."""
        plain = get_args(self.type)[0]
        for kind in (plain, *get_args(plain)):  # the second: of an optional one
            if get_origin(kind) is Literal:  # in the order written, which type_info does not keep
                return f"one of {', '.join(get_args(kind))}"
        return _describe(inspect.type_info(self.type))

    @property
    def shown_default(self) -> str:
        """Its default as a person would write it; empty if it has none."""
        return "" if self.default is None else f"{self.default:{'g' if isinstance(self.default, float) else ''}}"


def options() -> tuple[Option, ...]:
    """Every setting, in the order of the struct."""
    found = []
    for field in msgspec.structs.fields(Settings):
        about = get_args(field.type)[-1]
        found.append(Option(field.name, field.type, field.default, about.description, **about.extra))
    return tuple(found)


def add_arguments(parser: argparse.ArgumentParser, only: Collection[str] = ()) -> None:
    """Give ``parser`` a flag for every setting (of the groups in ``only``, if there are any), and ``--config``."""
    wanted = [option for option in options() if not only or option.group in only]
    groups = {option.group: parser.add_argument_group(option.group) for option in wanted}
    for option in wanted:
        takes = "" if option.expected == "text" else f" Takes {option.expected}."
        default = f"default {option.shown_default}, " if option.shown_default else ""
        groups[option.group].add_argument(
            option.flag,
            dest=option.name,
            default=argparse.SUPPRESS,
            metavar=option.metavar,
            help=f"{option.text}{takes} [{default}{option.variable}]",
        )
    text = f"A TOML file with any of these settings, under the flag's name with _ for -. [{FILE_VARIABLE}]"
    parser.add_argument("--config", default=argparse.SUPPRESS, metavar="FILE", help=text)


def load(args: argparse.Namespace, environ: Mapping[str, str]) -> Settings:
    """The settings that flags, environment and file together ask for. An empty variable counts as unset.

    Raises:
        ConfigError: a variable or key is unknown, or a value wrong; the text says where it was given.
    """
    file = getattr(args, "config", None) or environ.get(FILE_VARIABLE)
    given = _from_file(Path(file)) if file else {}
    given |= _from_environment(environ)
    given |= _from_flags(args)
    return Settings(**given)


def given(values: Mapping[str, Any]) -> Settings:
    """The settings that a program asks for, by their fields' names.

    Raises:
        ConfigError: one is unknown, or its value wrong.
    """
    return Settings(**_known(values))


def reference() -> str:
    """The text of docs/reference/config.md."""
    lines = REFERENCE_HEAD.splitlines()
    group = ""
    for option in options():
        if option.group != group:
            group = option.group
            lines += ["", f"## {group}", "", "| setting | value | default | meaning |", "|---|---|---|---|"]
        names = f"`{option.flag}`<br>`{option.variable}`<br>`{option.name}`"
        default = f"`{option.shown_default}`" if option.shown_default else "unset"
        lines.append(f"| {names} | {option.expected} | {default} | {option.text} |")
    return "\n".join(lines) + "\n"


REFERENCE_HEAD = f"""\
# Settings of the server

<!-- Written by `python -m streamasr.ops.config`; change the fields in streamasr/ops/config.py instead. -->

Every setting can be given in three ways: as a flag of `streamasr serve`, as an environment variable, and as a
key of a TOML file, which `--config FILE` or `{FILE_VARIABLE}` names. A flag wins over a variable, a variable
over the file, and the file over the default.

```toml
# streamasr.toml
host = "0.0.0.0"
max_sessions = 40
encoder_window = 30
```

An unknown flag, `{PREFIX}…` variable or key stops the server before it opens its port, and so does a wrong
value: one sentence says what was expected and where the value came from, and the exit code is 2. A variable
that is set but empty counts as unset.
"""


def _from_file(file: Path) -> dict[str, Any]:
    try:
        keys = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # not TOML, or not UTF-8
        raise ConfigError(f"{file}: is not TOML: {error}") from error
    return _known(keys, f"{file}: ")


def _known(values: Mapping[str, Any], source: str = "") -> dict[str, Any]:
    known = {option.name: option for option in options()}
    for name in values:
        if name not in known:
            raise ConfigError(f"{source}there is no setting {name}{_hint(name, known)}")
    return {name: _convert(known[name], value, f"{source}{name}", strict=True) for name, value in values.items()}


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    ours = {name: text for name, text in environ.items() if name.startswith(PREFIX) and text}
    ours.pop(FILE_VARIABLE, None)
    known = {option.variable: option for option in options()}
    for name in ours:
        if name not in known:
            raise ConfigError(f"{name}: there is no such setting{_hint(name, known)}")
    return {known[name].name: _convert(known[name], text, name, strict=False) for name, text in ours.items()}


def _from_flags(args: argparse.Namespace) -> dict[str, Any]:
    texts = vars(args)
    asked = [option for option in options() if option.name in texts]
    return {o.name: _convert(o, texts[o.name], o.flag, strict=False) for o in asked}


def _convert(option: Option, value: Any, source: str, *, strict: bool) -> Any:
    try:
        return msgspec.convert(value, option.type, strict=strict)
    except msgspec.ValidationError as error:
        got = "something else" if option.secret else repr(value)
        raise ConfigError(f"{source}: expected {option.expected}, got {got}") from error


def _hint(name: str, known: Iterable[str]) -> str:
    """The known name that was probably meant. The prefix is left out: it makes all variables alike."""
    bare = {other.removeprefix(PREFIX): other for other in known}
    near = difflib.get_close_matches(name.removeprefix(PREFIX), bare, n=1)
    return f"; did you mean {bare[near[0]]}?" if near else ""


def _describe(kind: inspect.Type) -> str:
    match kind:
        case inspect.Metadata(type=inner):
            return _describe(inner)
        case inspect.IntType(ge=low, le=None):
            return f"an integer of at least {low}"
        case inspect.IntType(ge=low, le=high):
            return f"an integer from {low} to {high}"
        case inspect.FloatType(gt=low, le=None):
            return f"a number above {low:g}"
        case inspect.FloatType(gt=low, le=high):
            return f"a number above {low:g}, at most {high:g}"
        case inspect.StrType(min_length=None):
            return "text"
        case inspect.StrType(min_length=length):
            return f"text of at least {length} characters"
        case inspect.UnionType(types=types):
            return _describe(types[0])
        case _:
            raise TypeError(f"no words for {kind}")


if __name__ == "__main__":
    sys.stdout.write(reference())
