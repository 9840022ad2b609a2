"""Recordings and their truths find each other, and are cut to the time there is."""

import json
import wave

import numpy as np
import pytest

from streamasr.bench.recordings import Source, pair, read
from streamasr.bench.scoring import TimedWord
from streamasr.bench.truth import Truth
from streamasr.errors import ConfigError, MediaError


def said(folder, name, content):
    path = folder / name
    path.write_text(content, "utf-8")
    return path


def sound(folder, name="talk.wav", seconds=3.0):
    path = folder / name
    samples = (8000 * np.sin(np.arange(round(16_000 * seconds)) / 20)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    return path, samples


def test_a_single_truth_belongs_to_a_single_recording_whatever_it_is_called(tmp_path):
    truth = said(tmp_path, "what-was-said.txt", "so it goes")

    [source] = pair([tmp_path / "talk.wav"], [truth])

    assert source.truth == Truth(text="so it goes")


def test_of_several_each_has_the_truth_of_its_name(tmp_path):
    audio = [tmp_path / "b.wav", tmp_path / "a.mp3"]
    truths = [said(tmp_path, "a.txt", "first"), said(tmp_path, "b.srt", "1\n00:00:01,0 --> 00:00:02,0\nsecond")]

    assert [source.truth.text for source in pair(audio, truths)] == ["second", "first"]


def test_the_truth_that_tells_more_is_taken(tmp_path):
    words = [{"word": "timed", "start": 0, "end": 1}]
    files = [
        said(tmp_path, "a.txt", "plain"),
        said(tmp_path, "a.json", json.dumps({"text": "timed", "words": words})),
    ]

    [source] = pair([tmp_path / "a.wav"], [], beside=files)

    assert source.truth.words == (TimedWord("timed", 0, 1),)


def test_what_lies_beside_and_belongs_to_no_recording_is_not_even_read(tmp_path):
    [source] = pair([tmp_path / "a.wav"], [], beside=[tmp_path / "package.json"])

    assert source.truth is None


@pytest.mark.parametrize("named", [True, False])
def test_a_truth_for_some_only_is_a_mistake(tmp_path, named):
    truth = [said(tmp_path, "a.txt", "first")]
    audio = [tmp_path / "a.wav", tmp_path / "b.wav"]

    with pytest.raises(ConfigError, match=r"b\.wav has no truth.*b\.txt"):
        pair(audio, truth if named else [], beside=[] if named else truth)


@pytest.mark.parametrize(("name", "content"), [("a.json", "{"), ("a.srt", "no cues"), ("a.jsonl", "{}")])
def test_a_truth_that_cannot_be_read_is_named(tmp_path, name, content):
    with pytest.raises(ConfigError, match=rf"{name}: is not a transcript"):
        pair([tmp_path / "a.wav"], [said(tmp_path, name, content)])


def test_a_missing_truth_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"a\.txt: cannot be read"):
        pair([tmp_path / "a.wav"], [tmp_path / "a.txt"])


def test_a_recording_is_read_sample_for_sample(tmp_path):
    path, samples = sound(tmp_path)
    seconds = []

    recording = read(Source(path, None), 60, seconds.append)

    np.testing.assert_array_equal(recording.pcm, samples)
    assert sum(seconds) == pytest.approx(3)
    assert recording.name == "talk.wav"


def test_what_is_too_long_is_cut_with_its_timed_truth(tmp_path):
    path, _ = sound(tmp_path)
    words = (TimedWord("one", 0.1, 0.9), TimedWord("two", 1.5, 2.1), TimedWord("three", 2.2, 2.9))

    recording = read(Source(path, Truth(text="one two three", words=words)), 2.15, lambda _: None)

    assert recording.seconds == 2.15
    assert recording.truth.text == "one two"


def test_what_is_too_long_and_cannot_be_cut_is_not_measured_against_the_wrong_text(tmp_path):
    path, _ = sound(tmp_path)

    assert read(Source(path, Truth(text="one two three")), 2, lambda _: None) is None
    assert read(Source(path, None), 2, lambda _: None).seconds == 2


def test_what_is_no_audio_is_refused(tmp_path):
    with pytest.raises(MediaError, match=r"talk\.wav"):
        read(Source(said(tmp_path, "talk.wav", "words"), None), 60, lambda _: None)
