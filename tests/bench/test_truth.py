"""What was said, in every form it is kept in."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamasr.bench.scoring import TimedWord
from streamasr.bench.truth import of_cues, of_json, of_manifest, of_text

WORDS = st.lists(st.text("abcäß'0.,", min_size=1, max_size=6), min_size=1, max_size=5).map(" ".join)
TIMES = {".srt": "00:00:{:02d},000 --> 00:00:{:02d},500", ".vtt": "00:{:02d}.000 --> 00:{:02d}.500 align:start"}


@given(st.lists(WORDS, min_size=1, max_size=8), st.sampled_from([".srt", ".vtt"]), st.sampled_from(["\n", "\r\n"]))
def test_cues_give_their_texts_in_order_without_numbers_and_times(texts, kind, newline):
    head = ["WEBVTT", ""] if kind == ".vtt" else []
    lines = [line for i, t in enumerate(texts) for line in (str(i + 1), TIMES[kind].format(i, i), t, "")]

    assert of_cues(newline.join([*head, *lines])).text == " ".join(" ".join(texts).split())


def test_tags_entities_notes_and_styles_are_no_words():
    content = (
        "WEBVTT - talk\n\nSTYLE\n::cue { color: red }\n\nNOTE not said\n\n"
        "intro\n00:01.000 --> 00:02.000\n<v Ann>salt &amp;\n<i>pepper</i>\n\n"
        "1:00:03.000 --> 1:00:04.000\n{\\an8}please\n"
    )

    assert of_cues(content).text == "salt & pepper please"


def test_a_file_without_cues_is_not_taken_for_silence():
    with pytest.raises(ValueError, match="no cue"):
        of_cues("just words\n")


def test_text_is_one_line_of_words():
    assert of_text("  so\n\nit\tgoes ").text == "so it goes"


@pytest.mark.parametrize(
    "extra",
    [
        {"words": [{"word": "Hi.", "start": 0.5, "end": 1}], "lang": "en"},
        {"segments": [{"words": [{"word": "Hi.", "start": 0.5, "end": 1, "confidence": 0.9}]}], "language": "en"},
    ],
    ids=["at the top", "in segments"],
)
def test_words_of_json_have_their_times(extra):
    truth = of_json(json.dumps({"text": "Hi.", **extra}))

    assert truth.words == (TimedWord("Hi.", 0.5, 1.0),)
    assert (truth.text, truth.language) == ("Hi.", "en")


def test_a_manifest_tells_of_each_recording_by_its_stem():
    lines = [{"path": "a/one.flac", "text": "first", "lang": "de"}, {"path": "b\\two.wav", "text": "second"}]
    found = of_manifest("\n".join(json.dumps(line) for line in lines) + "\n\n")

    assert {stem: (t.text, t.language) for stem, t in found.items()} == {
        "one": ("first", "de"),
        "two": ("second", None),
    }


@pytest.mark.parametrize("content", ['{"words": []}', "[1]", "{", '{"text": 3}'])
def test_other_json_is_refused(content):
    with pytest.raises(ValueError, match=r"\S"):
        of_json(content)
