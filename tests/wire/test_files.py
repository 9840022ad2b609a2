"""A recording's request and messages as text: every option survives the trip, every wrong one is named."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamasr.core.events import Segment, Word
from streamasr.core.filelane import Lost
from streamasr.core.options import FileOptions
from streamasr.errors import InvalidSetting, MediaError, Refused
from streamasr.results import Transcript
from streamasr.wire.files import (
    EXPECTED,
    TYPES,
    Document,
    DoneMessage,
    ErrorMessage,
    FileRequest,
    Gathered,
    Lines,
    LostMessage,
    ProgressMessage,
    SegmentMessage,
    expected,
    read_message,
    read_query,
    said,
    write_query,
)

SEGMENT = Segment(
    number=3,
    start=16_000,
    end=40_000,
    text="Good morning.",
    words=(Word("Good", 16_000, 24_000, 0.9), Word("morning.", 25_600, 40_000, 0.8)),
    language="en",
)
DONE = DoneMessage(language="en", language_probability=0.9, duration=12.5, model="nano")

unit = st.floats(0, 1)
codes = st.text("abcdefghijklmnopqrstuvwxyz", min_size=2, max_size=8)
options = st.builds(
    FileOptions,
    language=codes,
    languages=st.lists(codes.filter(lambda code: code != "auto"), max_size=3).map(tuple),
    task=st.sampled_from(["transcribe", "translate"]),
    prompt=st.text(max_size=20),
    hotwords=st.text(max_size=20),
    beam_size=st.integers(1, 20),
    temperatures=st.lists(unit, min_size=1, max_size=4).map(tuple),
    word_timestamps=st.booleans(),
    compression_ratio_threshold=st.none() | st.floats(0.1, 10),
    logprob_threshold=st.none() | st.floats(-10, 0),
    no_speech_threshold=st.none() | unit,
)
requests = st.builds(
    FileRequest, options=options, offset_s=st.floats(0, 1e6), duration_s=st.none() | st.floats(1e-3, 1e6)
)


@given(requests)
def test_a_request_survives_the_trip_through_a_query(request):
    assert read_query(write_query(request)) == request


def test_no_query_is_every_default_and_every_default_no_query():
    request = FileRequest(options=FileOptions())

    assert read_query({}) == request
    assert write_query(request) == {}


def test_everything_that_can_be_asked_has_words_for_what_is_expected():
    for name in TYPES:
        assert expected(name)
    assert set(EXPECTED) | {"task"} == set(TYPES)


@given(st.sampled_from(sorted(TYPES)), st.text(max_size=30))
def test_any_text_is_a_value_or_an_error_that_names_the_option(name, text):
    error = None
    try:
        msgspec.convert(msgspec.to_builtins(read_query({name: text})), FileRequest)
    except InvalidSetting as raised:
        error = raised
    if error is not None:
        assert error.field == name
        assert error.message.startswith(f"{name}: expected ")


def test_an_unknown_option_names_the_one_that_was_probably_meant():
    with pytest.raises(InvalidSetting, match="did you mean beam_size") as raised:
        read_query({"beam-size": "5"})
    assert raised.value.field == "beam-size"
    assert raised.value.code == "unknown_setting"


def test_a_segment_is_said_in_seconds_on_the_recordings_clock():
    message = said(SEGMENT, offset_s=10.0)

    assert isinstance(message, SegmentMessage)
    assert (message.id, message.start, message.end) == (3, 11.0, 12.5)
    assert [(word.text, word.start, word.end) for word in message.words] == [
        ("Good", 11.0, 11.5),
        ("morning.", 11.6, 12.5),
    ]
    assert said(Lost(start=0, end=8_000, reason="why"), 1.0) == LostMessage(start=1.0, end=1.5, reason="why")


@pytest.mark.parametrize(
    "message",
    [
        said(SEGMENT, 0.0),
        LostMessage(start=1.0, end=2.0, reason="why"),
        ProgressMessage(done=1.0, read=2.5),
        DONE,
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_line_is_read_back_as_what_was_written(message):
    line = Lines().say(message, 0.0)

    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert read_message(line) == message


def test_an_error_is_a_line_too():
    error = read_message(Lines().error(Refused("no room", retry_after_s=10.0)))
    assert error == ErrorMessage(code="overloaded", message="no room", retry_after=10.0)

    error = read_message(Lines().error(MediaError("the recording is damaged")))
    assert error == ErrorMessage(code="invalid_media", message="the recording is damaged")


def test_a_message_of_a_kind_that_will_be_invented_is_passed_over():
    assert read_message(b'{"type":"speaker","name":"Ann"}') is None


@pytest.mark.parametrize("line", [b"", b"<html>", b"[]", b"{}", b'{"type":"segment"}', b'{"type":7}'])
def test_what_is_no_message_is_an_error(line):
    with pytest.raises(msgspec.DecodeError):
        read_message(line)


def test_progress_is_said_at_most_twice_a_second():
    lines = Lines()
    said_at = [now for now in (0.0, 0.1, 0.4, 0.6, 0.7, 1.2) if lines.say(ProgressMessage(done=now, read=now), now)]

    assert said_at == [0.0, 0.6, 1.2]


def test_a_document_is_the_whole_transcript_with_the_last_message():
    document = Document()
    assert document.say(said(SEGMENT, 0.0), 0.0) == b""
    assert document.say(ProgressMessage(done=1.0, read=1.0), 0.0) == b""
    assert document.say(LostMessage(start=5.0, end=6.0, reason="why"), 0.0) == b""
    transcript = Transcript.from_json(document.say(DONE, 0.0))

    assert transcript.text == "Good morning."
    assert transcript.duration == 12.5
    assert transcript.language == "en"
    assert [(stretch.start, stretch.end) for stretch in transcript.failed] == [(5.0, 6.0)]


def test_what_is_gathered_is_what_the_engines_segments_give():
    gathered = Gathered()
    gathered.add(said(SEGMENT, 0.0))

    assert gathered.transcript(DONE).segments == Transcript.of([SEGMENT], duration_s=12.5, model="nano").segments
