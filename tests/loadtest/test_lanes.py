"""Lanes: natural speech joined by pauses, with the truth of every word at its new place."""

import json
import wave

import numpy as np
import pytest

from benchmarks.evalset import Recording
from loadtest import lanes
from loadtest.lanes import Utterance, lane, pieces, source, utterances
from streamasr.bench.scoring import TimedWord


@pytest.fixture
def recordings(tmp_path):
    """Two spoken recordings of 2 s, and one of noise; each has its own sample value."""
    rows = []
    for number, (name, words) in enumerate(
        [("one", [("one", 0.5, 0.75), ("two", 1.0, 1.5)]), ("three", [("three", 0.25, 1.0)]), ("noise", [])]
    ):
        with wave.open(str(tmp_path / f"{name}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes(np.full(32_000, 1_000 * (number + 1), "<i2").tobytes())
        row = {"id": name, "set": "calm" if words else "silence", "path": f"{name}.wav", "voice": "v", "lang": "en"}
        row |= {"text": " ".join(w for w, _, _ in words), "duration": 2.0}
        rows.append(row | {"words": [{"word": w, "start": s, "end": e} for w, s, e in words]})
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_every_word_of_a_lane_stands_where_its_recording_was_put(recordings):
    """Inside a word the samples are its recording's; between recordings there is only a quiet room."""
    one = lane(source(recordings), 0, 10.0)

    assert one.seconds >= 10
    for word in one.truth:
        value = 2_000 if word.text == "three" else 1_000
        middle = round((word.start + word.end) / 2 * 16_000)
        assert one.pcm[middle] == value
    quiet = np.abs(one.pcm) < 100
    assert (
        lanes.PAUSE_S[0] * (len(one.pieces) + 0.5) <= quiet.sum() / 16_000 <= lanes.PAUSE_S[1] * (len(one.pieces) + 1)
    )


def test_a_lane_is_the_same_on_every_call_and_another_for_every_number(recordings):
    found = source(recordings)
    assert np.array_equal(lane(found, 3, 8.0).pcm, lane(found, 3, 8.0).pcm)
    assert lane(found, 3, 8.0).truth != lane(found, 4, 8.0).truth


def test_a_manifest_and_its_directory_are_the_same(recordings):
    assert source(recordings / "manifest.jsonl") == source(recordings)


@pytest.mark.parametrize(
    ("asked", "said"), [({"sets": ("loud",)}, "no set loud .* calm, silence"), ({"language": "de"}, "language 'de'")]
)
def test_what_there_is_not_is_said(recordings, asked, said):
    with pytest.raises(ValueError, match=said):
        source(recordings, **asked)


def test_idle_sockets_hear_noise_recordings_or_else_a_quiet_room(recordings):
    found = source(recordings)
    assert set(lanes.idle_audio(found, 5)) == {3_000}

    quiet = lanes.idle_audio(lanes.Source(place=recordings, speech=found.speech, noises=(), language="en"), 0, 2.0)
    assert len(quiet) == 32_000
    assert 0 < np.abs(quiet).max() < 100


def test_words_without_a_pause_between_them_are_one_utterance():
    truth = [TimedWord("a", 0.0, 1.0), TimedWord("b", 1.29, 2.0), TimedWord("c", 2.31, 2.5)]
    assert utterances(truth, 0.3) == (Utterance(0.0, 2.0, 2), Utterance(2.31, 2.5, 1))
    assert utterances(truth, 0.8) == (Utterance(0.0, 2.5, 3),)
    assert utterances([], 0.3) == ()


def test_a_long_recording_is_cut_in_the_middle_of_its_pauses():
    words = (TimedWord("a", 1.0, 9.0), TimedWord("b", 10.0, 11.0), TimedWord("c", 12.0, 19.0))
    whole = Recording(id="r", set="long", path="r.flac", text="a b c", duration=20.0, voice="v", lang="en", words=words)
    first, rest = pieces(whole)

    assert (first.id, first.start, first.end, first.words) == ("r@0.00", 0, 152_000, (words[0],))
    assert (rest.id, rest.start, rest.end) == ("r@9.50", 152_000, 320_000)
    assert rest.words == (TimedWord("b", 0.5, 1.5), TimedWord("c", 2.5, 9.5))
