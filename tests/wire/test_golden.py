"""The conversations of docs/reference/native.md, replayed: tests/wire/golden holds them, one to a file.

Lines beginning with ``C`` are the client's, with ``S`` the server's, with ``#`` remarks. A script below says what
happens on the server's side between the client's lines; replay must give every server line, byte for byte.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from streamasr.core.events import (
    SAMPLE_RATE,
    Event,
    Final,
    FinalReason,
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
    InvalidSetting,
    ProtocolViolation,
    Refused,
    ResumeLost,
    SlowClient,
    WindowFailed,
)
from streamasr.wire import error_body
from streamasr.wire.commands import Close, Command, Model, Reply, Send
from streamasr.wire.native import NativeDialect
from streamasr.wire.settings import UPDATABLE, effective

ROOT = Path(__file__).parents[2]
GOLDEN = sorted((ROOT / "tests/wire/golden").glob("*.txt"))

REFERENCE = (ROOT / "docs/reference/native.md").read_text(encoding="utf-8")

Step = Callable[[NativeDialect], list[Reply]] | Refused | None
CLIENT = None
"""The client's next line."""


def at(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


def words(*timed: tuple[str, float, float, float]) -> tuple[Word, ...]:
    return tuple(Word(text, at(start), at(end), confidence) for text, start, end, confidence in timed)


def say(event: Event, channel: int | None = 0, resume: str | None = None) -> Step:
    return lambda dialect: dialect.handle(event, channel, 0.0, resume)


def ready(audio_received: int = 0) -> Step:
    return lambda dialect: dialect.started("9f3b6c0de8a14257", Model("nano"), audio_received, "eyJzIjowfQ.u3Zp")


def updated(dialect: NativeDialect) -> list[Reply]:
    return dialect.updated()


def done(audio_seconds: float, utterances: int) -> Step:
    return lambda dialect: dialect.done(audio_seconds, utterances)


def drained(dialect: NativeDialect) -> list[Reply]:
    return dialect.drained()


def fail(error: ClientError | Refused | WindowFailed) -> Step:
    return lambda dialect: dialect.fail(error)


def utterance(
    number: int, heard: tuple[Word, ...], end: float, reason: FinalReason, resume: str, channel: int = 0
) -> list[Step]:
    """The end of an utterance; its words are separated by spaces and its start lies 0.3 s before the first."""
    text = " ".join(word.text for word in heard)
    final = Final(number, text, heard, "en", heard[0].start - at(0.3), at(end), reason)
    return [say(SpeechEnded(number, at(end)), channel), say(final, channel, resume)]


GOOD_MORNING = words(("Good", 0.62, 0.8, 0.981), ("morning,", 0.84, 1.22, 0.967), ("everyone.", 1.26, 1.81, 0.9434))
MORNING = words(("Good", 0.62, 0.8, 0.981), ("morning", 0.84, 1.22, 0.967))
BEGIN = words(("Let", 2.9, 3.02, 0.922), ("us", 3.04, 3.15, 0.968), ("begin.", 3.18, 3.62, 0.951))
YES = words(("Yes,", 0.9, 1.1, 0.874), ("hello.", 1.14, 1.5, 0.953))

SPEECH = [
    say(SpeechStarted(0, at(0.32))),
    say(Partial(0, at(0.32), "", "Good", ())),
    say(Partial(0, at(0.32), "Good", " morning, every", GOOD_MORNING[:1])),
    say(Partial(0, at(0.32), "Good morning", ", everyone.", MORNING)),
]
"""An utterance up to its end."""

SCRIPTS: dict[str, list[Step]] = {
    "plain": [
        *[CLIENT] * 2,
        ready(),
        *[CLIENT] * 3,
        *SPEECH,
        *utterance(0, GOOD_MORNING, 2.06, "endpoint", "eyJzIjo1fQ.kX8r"),
        CLIENT,
        say(SpeechStarted(1, at(2.6))),
        CLIENT,
        *utterance(1, BEGIN, 3.7, "stop", "eyJzIjo2fQ.q0Tn"),
        done(3.7, 2),
    ],
    "query": [
        CLIENT,
        ready(),
        *[CLIENT] * 2,
        *SPEECH[:1],
        CLIENT,
        *utterance(0, GOOD_MORNING, 1.86, "stop", "eyJzIjo3fQ.pb1c"),
        done(1.86, 1),
    ],
    "channels": [
        *[CLIENT] * 2,
        ready(),
        CLIENT,
        say(SpeechStarted(0, at(0.32)), 0),
        say(SpeechStarted(0, at(0.6)), 1),
        say(Partial(0, at(0.6), "Yes", ", hello.", words(("Yes", 0.9, 1.1, 0.874))), 1),
        say(Partial(0, at(0.32), "Good morning", ", everyone.", MORNING), 0),
        *utterance(0, YES, 1.75, "endpoint", "eyJzIjo4fQ.Zm3d", 1),
        CLIENT,
        *utterance(0, GOOD_MORNING, 1.9, "flush", "eyJzIjo5fQ.a9Ew", 0),
        say(Flushed("lunch"), 0),
        say(Flushed("lunch"), 1),
        CLIENT,
        done(1.9, 2),
    ],
    "flush": [
        CLIENT,
        ready(),
        CLIENT,
        *SPEECH[:1],
        CLIENT,
        *utterance(0, GOOD_MORNING, 1.84, "flush", "eyJzIjoxMH0.u7Lb"),
        say(Flushed(1)),
        CLIENT,
        say(Flushed("again")),
        CLIENT,
        CLIENT,
        done(1.84, 1),
    ],
    "max-length": [
        CLIENT,
        ready(),
        CLIENT,
        say(SpeechStarted(0, at(0.32))),
        say(SpeechEnded(0, at(58.4))),
        say(Final(0, "And so on and on", (), "en", at(0.32), at(58.4), "max_length"), 0, "eyJzIjoxMX0.c5Rt"),
        say(SpeechStarted(1, at(58.4))),
        say(Partial(1, at(58.4), "it went", " for", ())),
    ],
    "update": [
        CLIENT,
        ready(),
        CLIENT,
        updated,
        say(SpeechStarted(0, at(0.32))),
        CLIENT,
        CLIENT,
        fail(InvalidSetting("language: the model nano knows en, de, es, got xx", field="language")),
        say(SpeechEnded(0, at(2.06))),
        say(Final(0, "Guten Morgen.", (), "de", at(0.32), at(2.06), "endpoint"), 0, "eyJzIjoxMn0.Ho2s"),
    ],
    "preflight": [
        CLIENT,
        ready(),
        CLIENT,
        *SPEECH[:1],
        say(Partial(0, at(0.32), "Good", " morning,", GOOD_MORNING[:1])),
        say(Preflight(0, "Good morning.", words(("Good", 0.62, 0.8, 0.981), ("morning.", 0.84, 1.22, 0.913)))),
        CLIENT,
        say(SpeechResumed(0, at(1.24))),
        say(Partial(0, at(0.32), "Good morning", ", everyone", MORNING)),
        CLIENT,
        say(Preflight(0, "Good morning, everyone.", GOOD_MORNING)),
        *utterance(0, GOOD_MORNING, 2.06, "endpoint", "eyJzIjoxM30.w4Gf"),
    ],
    "resume": [
        CLIENT,
        ready(),
        CLIENT,
        *SPEECH[:1],
        *utterance(0, GOOD_MORNING, 2.06, "endpoint", "eyJzIjoxNH0.Dk6y"),
        say(SpeechStarted(1, at(2.6))),
        say(Partial(1, at(2.6), "Let us", " beg", BEGIN[:2])),
        CLIENT,
        CLIENT,
        ready(32_960),
        CLIENT,
        say(SpeechStarted(1, at(2.6))),
        say(Partial(1, at(2.6), "Let us", " begin.", BEGIN[:2])),
        *utterance(1, BEGIN, 3.87, "endpoint", "eyJzIjoxNX0.M1vj"),
    ],
    "drain": [
        CLIENT,
        ready(),
        CLIENT,
        *SPEECH[:1],
        *utterance(0, GOOD_MORNING, 1.84, "drain", "eyJzIjoxNn0.Xe8h"),
        drained,
        CLIENT,
        CLIENT,
        ready(29_440),
    ],
    "warnings": [
        CLIENT,
        ready(),
        CLIENT,
        say(Warned("non_finite_samples", "NaN and infinite samples count as silence (said once)"), None),
        CLIENT,
        say(Warned("incomplete_sample", "the audio ended in the middle of a sample, which was left out"), None),
        done(0.02, 0),
    ],
    "error-query": [CLIENT],
    "error-unknown-query": [CLIENT],
    "error-full": [Refused("all 40 sessions are taken", retry_after_s=10.0)],
    "error-setting": [CLIENT, CLIENT],
    "error-unknown-setting": [CLIENT, CLIENT],
    "error-start-expected": [CLIENT, CLIENT],
    "error-start-late": [CLIENT, fail(ProtocolViolation("no start came within 10 s"))],
    "error-json": [CLIENT, CLIENT],
    "error-too-long": [CLIENT, ready(), CLIENT],
    "error-resume-lost": [
        CLIENT,
        CLIENT,
        fail(ResumeLost("the resume token is not from this server; start a new session", field="resume")),
    ],
    "error-slow-client": [CLIENT, ready(), CLIENT, fail(SlowClient("the client does not read what it is sent"))],
    "error-overloaded": [
        CLIENT,
        ready(),
        CLIENT,
        fail(Refused("the server cannot keep up", retry_after_s=10.0)),
    ],
    "error-internal": [CLIENT, ready(), CLIENT, fail(WindowFailed("out of memory on device 0"))],
    "errors-in-session": [CLIENT, ready(), *[CLIENT] * 9, done(0.0, 0)],
}


class Conversation:
    """A replay: feeds the client's lines to dialects and writes down both sides."""

    def __init__(self, golden: str) -> None:
        self.lines: list[str] = []
        self._client = iter([line for line in golden.splitlines() if line.startswith("C ")])
        self._dialect: NativeDialect

    def replay(self, script: list[Step]) -> list[str]:
        for step in script:
            if step is None:
                self._client_line(next(self._client))
            elif isinstance(step, Refused):
                self.lines += [next(self._client), f"S HTTP 503 {error_body(step).decode()}"]
            else:
                self._answer(step(self._dialect))
        assert next(self._client, None) is None, "the script ends before the client does"
        return self.lines

    def _client_line(self, line: str) -> None:
        self.lines.append(line)
        said = line.removeprefix("C ")
        if said.startswith("GET "):
            try:
                self._dialect = NativeDialect(dict(parse_qsl(urlsplit(said[4:]).query, keep_blank_values=True)))
            except ClientError as error:
                self.lines.append(f"S HTTP 400 {error_body(error).decode()}")
            else:
                self._answer(self._dialect.open(0.0))
        elif binary := re.fullmatch(r"<binary (\d+) bytes>", said):
            self._answer(self._dialect.receive(bytes(int(binary[1])), 0.0))
        elif text := re.fullmatch(r"<text (\d+) bytes>", said):
            self._answer(self._dialect.receive(" " * int(text[1]), 0.0))
        elif said != "<gone>":
            self._answer(self._dialect.receive(said, 0.0))

    def _answer(self, replies: list[Command | Reply]) -> None:
        for reply in replies:
            match reply:
                case Send(text=text):
                    self.lines.append(f"S {text}")
                case Close(code=code, reason=reason):
                    self.lines.append(f"S <close {code}{' ' + reason if reason else ''}>")


def spoken(golden: str) -> Iterator[str]:
    return (line for line in golden.splitlines() if line[:2] in {"C ", "S "})


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_golden_conversation_is_what_the_dialect_says(path):
    golden = path.read_text()

    assert Conversation(golden).replay(SCRIPTS[path.stem]) == list(spoken(golden))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_the_reference_shows_every_golden_conversation(path):
    assert f"```text\n{path.read_text()}```" in REFERENCE


def test_every_script_has_its_conversation():
    assert [path.stem for path in GOLDEN] == sorted(SCRIPTS)


def section(title: str) -> str:
    """A section of the reference, up to the next heading."""
    return REFERENCE.split(f"## {title}\n", 1)[1].split("\n#", 1)[0]


def rows(title: str) -> list[list[str]]:
    """The cells of every table row of a section, without the row of headings."""
    lines = [line.strip("|").split("|") for line in section(title).splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line] for line in lines]


def said_by_the_server() -> list[dict]:
    lines = [line for path in GOLDEN for line in spoken(path.read_text())]
    return [json.loads(line[line.index("{") :]) for line in lines if line[0] == "S" and "{" in line]


def test_the_reference_lists_every_setting_with_its_default():
    documented = {name.strip("`"): json.loads(default.strip("`")) for name, _, default, _ in rows("Settings")}

    assert documented == effective(AudioFormat(), SessionOptions()) | {"languages": []}


def test_the_reference_lists_what_can_be_updated():
    text = section("Changing settings midway").split(";")[0]

    assert set(re.findall("`([a-z_]+)`", text)) == UPDATABLE | {"update"}


def test_every_event_of_the_reference_is_in_a_conversation_with_just_its_fields():
    documented = {
        name.strip("`"): set(re.findall("`([a-z_]+)`", fields)) for name, fields, _ in rows("What the server says")
    }
    seen: dict[str, set[str]] = {}
    for event in said_by_the_server():
        seen.setdefault(event["type"], set()).update(event.keys() - {"type", "seq", "channel"})

    assert seen == documented


def test_every_error_code_of_the_reference_is_in_a_conversation():
    documented = {code.strip("`") for code, *_ in rows("Error codes")}

    assert {event["code"] for event in said_by_the_server() if event["type"] == "error"} == documented


def test_every_fatal_error_closes_as_the_reference_says():
    documented = {code.strip("`"): close for code, _, close, _ in rows("Error codes") if close}
    closes = [line for path in GOLDEN for line in spoken(path.read_text()) if re.match(r"S <close \d+ \w+:", line)]

    assert {(line.split()[3].rstrip(":"), line.split()[2]) for line in closes} == set(documented.items())
