import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamasr.core.options import AudioFormat, SessionOptions
from streamasr.errors import InvalidSetting
from streamasr.wire import settings


def refusal(**message: object) -> InvalidSetting:
    with pytest.raises(InvalidSetting) as caught:
        settings.read_message(message)
    return caught.value


@pytest.mark.parametrize("name", settings.TYPES)
def test_every_setting_says_what_it_expects(name):
    error = refusal(**{name: {}})

    assert error.field == name
    assert error.message == f"{name}: expected {settings.expected(name)}, got {{}}"


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("sample_rate", 4000, "sample_rate: expected an integer from 8000 to 48000, got 4000"),
        ("sample_rate", "16000", 'sample_rate: expected an integer from 8000 to 48000, got "16000"'),
        ("encoding", "mp3", 'encoding: expected one of pcm_s16le, pcm_f32le, mulaw, alaw, got "mp3"'),
        ("preflight", 1, "preflight: expected true or false, got 1"),
        ("language", "en-US", 'language: expected a lower-case language code such as en, or auto, got "en-US"'),
        ("prompt", None, "prompt: expected text of at most 2000 characters, got null"),
    ],
)
def test_a_wrong_value_is_refused_with_what_was_expected(name, value, text):
    assert refusal(**{name: value}).message == text


@pytest.mark.parametrize("value", [["auto"], ["EN"], "en", [5], ["en"] * 101])
def test_languages_are_a_list_of_codes(value):
    assert refusal(languages=value).field == "languages"


def test_a_long_value_is_shortened_in_the_error():
    assert len(refusal(prompt="x" * 5000).message) < 150


def test_an_unknown_setting_is_told_its_nearest_neighbour():
    error = refusal(endpointing=300)

    assert (error.code, error.field) == ("unknown_setting", "endpointing")
    assert error.message == 'there is no setting "endpointing"; did you mean endpointing_ms?'


def test_a_setting_like_no_other_gets_no_hint():
    assert refusal(xyzzy=1).message == 'there is no setting "xyzzy"'


def test_stable_text_belongs_to_its_channel():
    start = settings.read_message({"channels": 2, "resume": "t", "stable": ["", "so far"], "stable_end": [None, 1.5]})

    assert start.stable == ("", "so far")
    assert start.stable_end == (None, 1.5)


def test_one_channel_takes_plain_values():
    start = settings.read_message({"resume": "t", "stable": "so far", "stable_end": 0})

    assert (start.stable, start.stable_end) == (("so far",), (0.0,))


def test_null_counts_as_left_out_of_a_resume():
    start = settings.read_message({"channels": 2, "resume": None, "stable": None, "stable_end": None})

    assert (start.resume, start.stable, start.stable_end) == (None, ("", ""), (None, None))


@pytest.mark.parametrize(
    "message",
    [
        {"channels": 2, "resume": "t", "stable": "so far"},
        {"channels": 2, "resume": "t", "stable": ["so far"]},
        {"channels": 2, "resume": "t", "stable": ["", ""], "stable_end": 0.0},
        {"stable": "so far"},
        {"stable_end": 2.0},
    ],
)
def test_what_was_shown_must_fit_the_channels_and_a_resume(message):
    assert refusal(**message).field in {"stable", "stable_end"}


def test_a_query_says_all_a_message_can():
    query = {
        "encoding": "alaw",
        "sample_rate": "8000",
        "channels": "1",
        "language": "auto",
        "languages": "en,de",
        "endpointing_ms": "300",
        "preflight": "true",
        "interim_results": "false",
        "prompt": "Boats, and more.",
        "resume": "token",
        "stable": "so, far",
        "stable_end": "2.5",
    }

    start = settings.read_query(query)

    assert start is not None
    assert start.format == AudioFormat(encoding="alaw", sample_rate=8000)
    assert start.options == SessionOptions(
        languages=("en", "de"), endpointing_ms=300, preflight=True, interim_results=False, prompt="Boats, and more."
    )
    assert (start.resume, start.stable, start.stable_end) == ("token", ("so, far",), (2.5,))


def test_no_query_is_no_start():
    assert settings.read_query({}) is None


@pytest.mark.parametrize(
    ("name", "text"),
    [("sample_rate", "16k"), ("preflight", "yes"), ("stable_end", "nan"), ("languages", "en,,de"), ("channels", "9")],
)
def test_a_wrong_value_in_a_query_is_named(name, text):
    with pytest.raises(InvalidSetting, match=f"^{name}: expected ") as caught:
        settings.read_query({"encoding": "mulaw", "resume": "t", name: text})

    assert caught.value.field == name


def test_settings_alone_are_no_start():
    with pytest.raises(InvalidSetting, match="needs encoding or sample_rate") as caught:
        settings.read_query({"language": "de"})

    assert caught.value.field == "language"


def test_endpointing_below_the_floor_counts_as_the_floor():
    shown = settings.effective(AudioFormat(), SessionOptions(endpointing_ms=25))

    assert shown["endpointing_ms"] == 200
    assert set(shown) == set(settings.FORMAT) | set(settings.OPTIONS)


@given(st.sampled_from(sorted(settings.TYPES)), st.text(max_size=30))
def test_any_text_in_a_query_is_taken_or_refused_by_name(name, text):
    refused = None
    try:
        settings.read_query({"encoding": "mulaw", "resume": "t", name: text})
    except InvalidSetting as error:
        refused = error

    assert refused is None or refused.field == name
