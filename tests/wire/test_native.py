import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamasr.core.events import Final, Flushed, Partial, SpeechEnded, SpeechStarted, Warned, Word
from streamasr.core.options import AudioFormat, SessionOptions
from streamasr.errors import (
    EngineError,
    InvalidSetting,
    ProtocolViolation,
    Refused,
    ResumeLost,
    SlowClient,
    WindowFailed,
)
from streamasr.wire import DIALECTS, error_body
from streamasr.wire.commands import Audio, Close, Command, Flush, Model, Reply, Send, Start, Stop, Update
from streamasr.wire.native import MAX_TEXT, NativeDialect


def started(**query: str) -> NativeDialect:
    """A dialect whose session is open; its `ready` was seq 0."""
    dialect = NativeDialect({"sample_rate": "16000", **query})
    dialect.open(0.0)
    dialect.started("s", Model("nano"), 0)
    return dialect


def sent(items) -> list[dict]:
    """The events among what a dialect returned, decoded."""
    return [json.loads(item.text) for item in items if isinstance(item, Send)]


def ask(dialect: NativeDialect, message: object):
    return dialect.receive(json.dumps(message), 0.0)


def test_the_path_leads_to_the_dialect():
    assert isinstance(DIALECTS["/v1/stream"]({}), NativeDialect)


def test_a_query_with_encoding_or_sample_rate_is_the_start():
    dialect = NativeDialect({"encoding": "mulaw", "language": "de"})

    (start,) = dialect.open(0.0)

    assert start == Start(
        format=AudioFormat(encoding="mulaw"),
        options=SessionOptions(language="de"),
        resume=None,
        stable=("",),
        stable_end=(None,),
    )


def test_without_a_query_the_first_message_is_the_start():
    dialect = NativeDialect({})

    assert dialect.open(0.0) == []
    (start,) = ask(dialect, {"type": "start", "channels": 2, "interim_results": False})

    assert start.format == AudioFormat(channels=2)
    assert start.options == SessionOptions(interim_results=False)


def test_audio_need_not_wait_for_ready():
    dialect = NativeDialect({"sample_rate": "8000"})
    dialect.open(0.0)

    assert dialect.receive(b"\x01", 0.0) == [Audio(b"\x01")]


@pytest.mark.parametrize(
    ("frame", "code", "close"),
    [
        (b"\x00\x00", "start_expected", 1008),
        ('{"type":"flush"}', "start_expected", 1008),
        ('{"type":"hello"}', "start_expected", 1008),
        ("hello", "invalid_json", 1007),
        ("[]", "invalid_json", 1007),
        ('{"type":3}', "invalid_json", 1007),
        ("[" * 50_000, "invalid_json", 1007),
        ('"\ud800"', "invalid_json", 1007),
        (" " * (MAX_TEXT + 1), "invalid_message", 1009),
        ('{"type":"start","rate":8000}', "unknown_setting", 1008),
        ('{"type":"start","channels":9}', "invalid_setting", 1008),
    ],
)
def test_before_the_start_every_fault_is_fatal(frame, code, close):
    dialect = NativeDialect({})

    error, end = dialect.receive(frame, 0.0)

    assert (sent([error])[0]["code"], sent([error])[0]["fatal"]) == (code, True)
    assert end.code == close
    assert dialect.receive('{"type":"start"}', 0.0) == []


@pytest.mark.parametrize(
    ("message", "code", "field"),
    [
        ({"type": "start"}, "already_started", None),
        ({"type": "finish"}, "unknown_type", None),
        ({"no": "type"}, "invalid_json", None),
        ({"type": "flush", "id": 1.5}, "invalid_message", "id"),
        ({"type": "flush", "id": True}, "invalid_message", "id"),
        ({"type": "flush", "id": 2**60}, "invalid_message", "id"),
        ({"type": "flush", "id": "x" * 257}, "invalid_message", "id"),
        ({"type": "flush", "ID": 1}, "invalid_message", "ID"),
        ({"type": "stop", "id": 1}, "invalid_message", "id"),
        ({"type": "update", "lang": "de"}, "unknown_setting", "lang"),
        ({"type": "update", "language": 5}, "invalid_setting", "language"),
        ({"type": "update", "encoding": "mulaw"}, "not_updatable", "encoding"),
        ({"type": "update", "task": "translate"}, "not_updatable", "task"),
        ({"type": "update", "resume": "x"}, "not_updatable", "resume"),
    ],
)
def test_a_fault_in_the_session_is_answered_and_changes_nothing(message, code, field):
    dialect = started()

    (error,) = sent(ask(dialect, message))

    assert (error["code"], error["fatal"], error.get("field")) == (code, False, field)
    assert ask(dialect, {"type": "update"}) == [Update(SessionOptions())]


@pytest.mark.parametrize("name", ["a", "", 0, -(2**53), None])
def test_flush_and_ping_carry_their_id(name):
    dialect = started()

    assert ask(dialect, {"type": "flush", "id": name}) == [Flush(name)]
    assert sent(ask(dialect, {"type": "ping", "id": name})) == [{"type": "pong", "seq": 1, "id": name}]


def test_an_id_may_be_left_out():
    assert ask(started(), {"type": "flush"}) == [Flush(None)]


def test_an_update_builds_on_the_one_before():
    dialect = started(language="en")

    ask(dialect, {"type": "update", "prompt": "Boats."})
    dialect.updated()
    (update,) = ask(dialect, {"type": "update", "language": "de"})

    assert update.options == SessionOptions(language="de", prompt="Boats.")


def test_updated_shows_every_setting_as_it_is_in_effect():
    dialect = started()
    ask(dialect, {"type": "update", "endpointing_ms": 10})

    (event,) = sent(dialect.updated())

    expected = msgspec.structs.asdict(AudioFormat()) | msgspec.structs.asdict(SessionOptions())
    assert event["settings"] == expected | {"endpointing_ms": 200, "languages": []}


def test_an_update_that_the_server_refuses_is_forgotten():
    dialect = started()
    ask(dialect, {"type": "update", "language": "xx"})

    (error,) = sent(dialect.fail(InvalidSetting("language: unknown", field="language")))

    assert error["fatal"] is False
    assert ask(dialect, {"type": "update", "prompt": "p"}) == [Update(SessionOptions(prompt="p"))]


def test_a_start_that_the_server_refuses_is_fatal():
    dialect = NativeDialect({"sample_rate": "16000", "language": "xx"})
    dialect.open(0.0)

    error, end = dialect.fail(InvalidSetting("language: unknown", field="language"))

    assert sent([error])[0]["fatal"] is True
    assert end.code == 1008


def test_what_comes_after_stop_is_ignored_and_that_is_said_once():
    dialect = started()

    assert ask(dialect, {"type": "stop"}) == [Stop()]
    (error,) = sent(dialect.receive(b"\x00", 0.0))
    assert (error["code"], error["fatal"]) == ("already_stopped", False)
    assert dialect.receive(b"\x00", 0.0) == []
    assert ask(dialect, {"type": "stop"}) == []


def test_done_ends_the_connection():
    dialect = started()
    ask(dialect, {"type": "stop"})

    done, end = dialect.done(1.23456, 3)

    assert sent([done]) == [{"type": "done", "seq": 1, "audio_seconds": 1.235, "utterances": 3}]
    assert end == Close(1000, "")
    assert dialect.handle(SpeechStarted(0, 0), 0, 0.0) == []
    assert dialect.drained() == []


def test_a_drain_ends_the_connection_with_1012():
    assert started().drained() == [Close(1012, "server is shutting down; resume with the last token")]


def test_times_are_seconds_and_words_have_no_spaces_around_them():
    word = Word(" hello,", 16_000, 24_001, 0.98765, (7,))

    (event,) = sent(started().handle(Partial(2, 8_000, "hello", ", you", (word,)), 0, 0.0))

    assert event == {
        "type": "partial",
        "seq": 1,
        "utterance": 2,
        "start": 0.5,
        "stable": "hello",
        "unstable": ", you",
        "words": [{"word": "hello,", "start": 1.0, "end": 1.5, "confidence": 0.988}],
    }


def test_without_word_timestamps_words_are_left_out_from_the_update_on():
    dialect = started()
    final = Final(0, "hi", (Word("hi", 0, 1_600, 1.0),), "en", 0, 3_200, "endpoint")

    (before,) = sent(dialect.handle(final, 0, 0.0, "token"))
    ask(dialect, {"type": "update", "word_timestamps": False})
    dialect.updated()
    (after,) = sent(dialect.handle(final, 0, 0.0, "token"))

    assert (len(before["words"]), after["words"]) == (1, [])
    assert after["resume"] == "token"


def test_only_a_session_with_several_channels_names_them():
    (alone,) = sent(started().handle(SpeechEnded(0, 160), 0, 0.0))
    (second,) = sent(started(channels="2").handle(SpeechEnded(0, 160), 1, 0.0))
    (everyone,) = sent(started(channels="2").handle(Warned("late", "it is late"), None, 0.0))

    assert alone == {"type": "speech_ended", "seq": 1, "utterance": 0, "time": 0.01}
    assert second["channel"] == 1
    assert everyone == {"type": "warning", "seq": 1, "code": "late", "message": "it is late"}


def test_a_flush_is_answered_when_every_channel_has_answered_it():
    dialect = started(channels="2")

    assert dialect.handle(Flushed("a"), 1, 0.0) == []
    assert dialect.handle(Flushed("b"), 1, 0.0) == []
    assert sent(dialect.handle(Flushed("a"), 0, 0.0)) == [{"type": "flushed", "seq": 1, "id": "a"}]
    assert sent(dialect.handle(Flushed("b"), 0, 0.0)) == [{"type": "flushed", "seq": 2, "id": "b"}]


@pytest.mark.parametrize(
    ("error", "code", "close"),
    [
        (WindowFailed("secret detail"), "internal", 1011),
        (Refused("full", retry_after_s=2.5), "overloaded", 1013),
        (SlowClient("does not read"), "slow_client", 1008),
        (ResumeLost("not ours", field="resume"), "resume_lost", 1008),
    ],
)
def test_what_ends_a_session_has_its_own_close_code(error, code, close):
    said, end = started().fail(error)

    assert sent([said])[0]["code"] == code
    assert (end.code, end.reason.startswith(code)) == (close, True)
    assert "secret" not in said.text + end.reason


def test_no_start_in_time_is_start_expected():
    said, _ = NativeDialect({}).fail(ProtocolViolation("no start came within 10 s"))

    assert sent([said])[0]["code"] == "start_expected"


def test_a_close_reason_fits_a_close_frame():
    dialect = NativeDialect({})

    _, end = ask(dialect, {"type": "start", "prompt": 5, "язык": "ру" * 200})
    _, other = NativeDialect({}).fail(SlowClient("ы" * 200))

    assert len(end.reason.encode()) <= 123
    assert 120 <= len(other.reason.encode()) <= 123


def test_the_http_body_is_the_error_event_without_its_number():
    body = json.loads(error_body(Refused("full", retry_after_s=2.5)))

    assert body == {"type": "error", "code": "overloaded", "message": "full", "fatal": True, "retry_after": 2.5}
    assert json.loads(error_body(EngineError("secret")))["message"] == "the server failed; the session is lost"


def test_the_protocol_has_no_timers():
    dialect = started()

    assert dialect.wake_at is None
    assert dialect.handle_timer(1e9) == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from(["id", "language", "languages", "endpointing_ms", "stable", "stable_end", "resume", "channels"])
messages = st.builds(
    lambda kind, body: json.dumps({"type": kind, **body}),
    st.sampled_from(["start", "update", "flush", "ping", "stop", "huh"]),
    st.dictionaries(keys | st.text(max_size=5), json_values, max_size=2),
)
plain_messages = st.sampled_from(
    [
        '{"type":"start"}',
        '{"type":"update","language":"de"}',
        '{"type":"flush"}',
        '{"type":"ping","id":1}',
        '{"type":"stop"}',
    ]
)
frames = st.one_of(plain_messages, messages, json_values.map(json.dumps), st.text(max_size=20), st.binary(max_size=8))


class Shell:
    """A server that carries out every command at once; ``items`` is all that the dialect ever returned."""

    def __init__(self, dialect: NativeDialect) -> None:
        self.dialect = dialect
        self.items: list[Command | Reply] = []
        self.channels = 0

    def obey(self, items: list[Command | Reply]) -> None:
        for item in items:
            self.items.append(item)
            match item:
                case Start(format=format_):
                    self.channels = format_.channels
                    self.items += self.dialect.started("s", Model("nano"), 0)
                case Update():
                    self.items += self.dialect.updated()
                case Flush(id=name):
                    for channel in range(self.channels):
                        self.items += self.dialect.handle(Flushed(name), channel, 0.0)
                case Stop():
                    self.items += self.dialect.done(0.0, 0)


@given(st.lists(frames, max_size=25), st.sampled_from([{}, {"sample_rate": "8000", "channels": "2"}]))
def test_whatever_a_client_sends_it_is_answered_in_order_and_never_after_the_end(sequence, query):
    """Nothing raises, `seq` has no gaps, a Close is the last thing, and no command comes before the start."""
    shell = Shell(NativeDialect(query))
    shell.obey(shell.dialect.open(0.0))
    for frame in sequence:
        shell.obey(shell.dialect.receive(frame, 0.0))

    events = sent(shell.items)
    closes = [index for index, item in enumerate(shell.items) if isinstance(item, Close)]
    commands = [type(item) for item in shell.items if not isinstance(item, Send | Close)]
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert closes in ([], [len(shell.items) - 1])
    assert commands[:1] in ([], [Start])
    assert commands.count(Start) <= 1
    assert [event["type"] for event in events].count("flushed") == commands.count(Flush)


@given(
    st.dictionaries(
        keys | st.sampled_from(["encoding", "sample_rate"]) | st.text(max_size=5), st.text(max_size=8), max_size=4
    )
)
def test_any_query_is_taken_or_refused_by_name(query):
    refused = None
    try:
        NativeDialect(query).open(0.0)
    except InvalidSetting as error:
        refused = error

    assert refused is None or refused.field in query
