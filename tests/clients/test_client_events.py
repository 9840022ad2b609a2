"""streamasr_client.events: reading the server's JSON."""

import json
from pathlib import Path

import pytest

from streamasr_client.errors import ProtocolError
from streamasr_client.events import Done, Failed, Final, Partial, Ready, SpeechStarted, Unknown, Word, parse

GOLDEN = sorted((Path(__file__).parents[1] / "wire/golden").glob("*.txt"))

FINAL = {
    "type": "final",
    "seq": 6,
    "utterance": 2,
    "text": "Good morning.",
    "words": [{"word": "Good", "start": 0.5, "end": 1, "confidence": 0.9, "speaker": 1}],
    "language": "en",
    "start": 0.32,
    "end": 2,
    "reason": "endpoint",
    "resume": None,
}


def test_a_final_with_all_its_fields():
    assert parse(json.dumps(FINAL)) == Final(
        seq=6,
        utterance=2,
        text="Good morning.",
        words=(Word("Good", 0.5, 1.0, 0.9),),
        language="en",
        start=0.32,
        end=2.0,
        reason="endpoint",
    )


def test_a_channel_and_unknown_fields():
    event = parse('{"type":"speech_started","seq":1,"channel":1,"utterance":0,"time":3,"loudness":-20}')

    assert event == SpeechStarted(seq=1, channel=1, utterance=0, time=3.0)


def test_an_unknown_type_is_kept_apart_with_its_number():
    assert parse('{"type":"weather","seq":9,"rain":true}') == Unknown(seq=9, type="weather")


def test_what_a_partial_shows():
    assert Partial(utterance=0, start=0.0, stable="Good", unstable=" morning").text == "Good morning"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("utterance", "2"),
        ("utterance", 2.5),
        ("utterance", True),
        ("text", None),
        ("start", "0"),
        ("start", False),
        ("words", None),
        ("words", ["Good"]),
        ("words", [{"word": "Good"}]),
        ("resume", 5),
    ],
)
def test_a_mistyped_field_is_named(field, value):
    with pytest.raises(ProtocolError, match=rf"final\.{field} cannot be"):
        parse(json.dumps(FINAL | {field: value}))


def test_a_missing_field_is_named():
    with pytest.raises(ProtocolError, match="done lacks utterances"):
        parse('{"type":"done","seq":1,"audio_seconds":2}')


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"seq":1}', '{"type":7}', b"\xff\x00"])
def test_what_is_no_event(text):
    with pytest.raises(ProtocolError, match="the server sent"):
        parse(text)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_every_documented_event_is_known(path):
    """The conversations of the protocol's documentation read without a rest."""
    events = [parse(line[2:]) for line in path.read_text().splitlines() if line.startswith("S {")]

    assert not [event for event in events if isinstance(event, Unknown) and event.type != "pong"]


def test_the_documentation_was_there():
    kinds = {
        type(parse(line[2:])) for path in GOLDEN for line in path.read_text().splitlines() if line.startswith("S {")
    }

    assert {Ready, Partial, Final, Done, Failed} <= kinds
