"""Transcripts in seconds: what they say, how they are written as JSON and captions, and how they are saved."""

import json
import sys

import msgspec
import pytest
import srt as srt_library

from streamasr.core import events
from streamasr.core.captions import CueLimits
from streamasr.errors import ConfigError
from streamasr.results import Segment, Stretch, Transcript, Word

SECOND = events.SAMPLE_RATE


def segment(number, text, start, end, *, language="en", words=True, probability=0.9):
    """A segment of the engine, its words of equal length."""
    said = text.split() if words else []
    length = (end - start) * SECOND // max(1, len(said))
    return events.Segment(
        number=number,
        start=start * SECOND,
        end=end * SECOND,
        text=text,
        words=tuple(
            events.Word(word, start * SECOND + i * length, start * SECOND + (i + 1) * length, 0.87654)
            for i, word in enumerate(said)
        ),
        language=language,
        language_probability=probability,
        average_logprob=-0.25,
        no_speech_probability=0.01,
        compression_ratio=1.25,
        temperature=0.2,
    )


@pytest.fixture
def transcript():
    segments = [segment(0, "Hello there.", 0, 2), segment(1, "How are you?", 3, 6)]
    return Transcript.of(segments, duration_s=7.25, model="nano", failed=[Stretch(start=6.0, end=7.25, reason="x")])


def test_times_are_seconds_and_text_and_words_are_those_of_all_segments(transcript):
    assert transcript.text == "Hello there. How are you?"
    assert [word.text for word in transcript.words] == ["Hello", "there.", "How", "are", "you?"]
    assert transcript.words[1] == Word(text="there.", start=1.0, end=2.0, confidence=0.877)
    assert [(s.id, s.start, s.end) for s in transcript.segments] == [(0, 0.0, 2.0), (1, 3.0, 6.0)]
    assert transcript.duration == 7.25


def test_the_language_is_the_one_spoken_longest_and_its_probability_the_mean():
    segments = [
        segment(0, "Hallo.", 0, 3, language="de", probability=0.9),
        segment(1, "Hello.", 3, 7, language="en", probability=0.5),
        segment(2, "Wie geht es?", 7, 10, language="de", probability=0.7),
    ]

    said = Transcript.of(segments, duration_s=10, model="nano")

    assert (said.language, said.language_probability) == ("de", 0.8)


def test_nothing_said_is_an_empty_transcript_of_no_language():
    silent = Transcript.of([], duration_s=3.0, model="nano")

    assert (silent.text, silent.language, silent.words, silent.to_srt()) == ("", "", (), "")
    assert silent.to_vtt() == "WEBVTT\n\n"
    assert Transcript.from_json(silent.to_json()) == silent


def test_languages_without_spaces_are_joined_without_them():
    segments = [segment(0, "你好。", 0, 1, language="zh"), segment(1, "再见。", 1, 2, language="zh")]

    assert Transcript.of(segments, duration_s=2, model="nano").text == "你好。再见。"


def test_json_has_the_names_of_the_documentation(transcript):
    written = json.loads(transcript.to_json())

    assert list(written) == ["text", "language", "language_probability", "duration", "model", "segments", "failed"]
    assert written["text"] == transcript.text
    assert written["failed"] == [{"start": 6.0, "end": 7.25, "reason": "x"}]
    assert written["segments"][0] == {
        "id": 0,
        "start": 0.0,
        "end": 2.0,
        "text": "Hello there.",
        "language": "en",
        "language_probability": 0.9,
        "avg_logprob": -0.25,
        "no_speech_prob": 0.01,
        "compression_ratio": 1.25,
        "temperature": 0.2,
        "words": [
            {"word": "Hello", "start": 0.0, "end": 1.0, "confidence": 0.877},
            {"word": "there.", "start": 1.0, "end": 2.0, "confidence": 0.877},
        ],
    }


def test_json_is_read_back_as_it_was_and_a_newer_version_s_fields_are_ignored(transcript):
    newer = {**json.loads(transcript.to_json()), "speakers": ["A"]}

    assert Transcript.from_json(transcript.to_json()) == transcript
    assert Transcript.from_json(json.dumps(newer)) == transcript
    with pytest.raises(msgspec.ValidationError):
        Transcript.from_json('{"text": "only"}')


def test_captions_are_of_the_words_within_the_limits(transcript):
    items = list(srt_library.parse(transcript.to_srt(CueLimits(line_width=12, lines=1))))

    assert [item.content for item in items] == ["Hello there.", "How are you?"]
    assert [item.start.total_seconds() for item in items] == [0.0, 3.0]
    assert transcript.to_vtt().startswith("WEBVTT\n\n00:00:00.000 --> 00:00:02.000\nHello there.\n")


def test_segments_without_words_make_captions_too():
    said = Transcript.of([segment(0, "Hello there.", 1, 2, words=False)], duration_s=2, model="nano")

    assert [item.content for item in srt_library.parse(said.to_srt())] == ["Hello there."]
    assert said.words == ()


def test_times_to_the_millisecond_make_the_captions_of_the_samples():
    exact = events.Segment(
        number=0, start=5, end=40_001, text="Hm.", words=(events.Word("Hm.", 5, 40_001, 1.0),), language="en"
    )

    assert Segment.of(exact).end == 2.5
    assert Transcript.of([exact], duration_s=2.5, model="m").to_srt() == "1\n00:00:00,000 --> 00:00:02,500\nHm.\n\n"


@pytest.mark.parametrize(
    ("save", "expected"),
    [
        ("save_text", lambda t: "Hello there.\nHow are you?\n"),
        ("save_json", lambda t: t.to_json() + "\n"),
        ("save_srt", lambda t: t.to_srt()),
        ("save_vtt", lambda t: t.to_vtt()),
    ],
)
def test_saving_replaces_the_file_and_leaves_nothing_beside_it(transcript, tmp_path, save, expected):
    target = tmp_path / "talk.out"
    target.write_text("old")

    getattr(transcript, save)(target)

    assert target.read_bytes().decode() == expected(transcript)
    assert list(tmp_path.iterdir()) == [target]


def test_saved_captions_obey_the_limits_given(transcript, tmp_path):
    transcript.save_srt(tmp_path / "a.srt", CueLimits(line_width=6))
    transcript.save_vtt(str(tmp_path / "a.vtt"), CueLimits(line_width=6))

    assert "Hello\nthere." in (tmp_path / "a.srt").read_text()
    assert "Hello\nthere." in (tmp_path / "a.vtt").read_text()


def test_saving_into_no_directory_names_it(transcript, tmp_path):
    with pytest.raises(ConfigError, match=r"talk.txt cannot be written: the directory .*nowhere does not exist"):
        transcript.save_text(tmp_path / "nowhere" / "talk.txt")


def test_saving_onto_a_directory_says_so_and_leaves_no_half_written_file(transcript, tmp_path):
    (tmp_path / "talk.txt").mkdir()

    with pytest.raises(ConfigError, match=r"talk.txt cannot be written: "):
        transcript.save_text(tmp_path / "talk.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["talk.txt"]


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are POSIX's")
def test_saved_files_can_be_read_by_whoever_may_read_new_files(transcript, tmp_path):
    (tmp_path / "usual").write_text("")

    transcript.save_text(tmp_path / "talk.txt")

    assert (tmp_path / "talk.txt").stat().st_mode == (tmp_path / "usual").stat().st_mode
