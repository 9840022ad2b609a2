"""Recordings with known words: read, cut into true utterances, brought to a level."""

import math

import msgspec
import numpy as np
import pytest

from benchmarks import evalset
from benchmarks.evalset import Recording, Span
from streamasr.bench.scoring import TimedWord, normalise

BUNDLED = evalset.PLACES[-1]


def recording(words=(), duration=3.0):
    return Recording(
        id="r", set="s", path="r.flac", text="", duration=duration, voice="v", lang="en", words=tuple(words)
    )


def test_the_bundled_recordings_are_what_their_manifest_says():
    """Every file is there and as long as it should be, its words lie inside it and give its text."""
    recordings = evalset.load(BUNDLED)

    counts = {r.set: sum(x.set == r.set for x in recordings) for r in recordings}
    assert counts == {
        "seen": 12, "unseen": 8, "noisy": 8, "lang_de": 4, "lang_es": 4, "silence": 8, "long": 1
    }  # fmt: skip
    for r in recordings:
        assert len(evalset.read_audio(BUNDLED, r)) / 16_000 == pytest.approx(r.duration, abs=0.001)
        assert all(0 <= w.start < w.end <= r.duration for w in r.words)
        assert [t for w in r.words for t in normalise(w.text)] == normalise(r.text)


def test_sets_are_chosen_by_name_and_thinned(tmp_path):
    manifest = [
        msgspec.json.encode(msgspec.structs.replace(recording(), id=f"{s}{i}", set=s)) for i in range(5) for s in "ab"
    ]
    (tmp_path / "manifest.jsonl").write_bytes(b"\n".join(manifest))

    assert [r.id for r in evalset.load(tmp_path, ("b",), every=2)] == ["b0", "b2", "b4"]
    assert len(evalset.load(tmp_path)) == 10
    with pytest.raises(ValueError, match=r"no set c in .*; there are a, b"):
        evalset.load(tmp_path, ("c",))


def test_audio_of_another_form_is_refused(tmp_path):
    import soundfile

    soundfile.write(tmp_path / "r.flac", np.zeros((800, 2), np.int16), 8_000)

    with pytest.raises(ValueError, match="expected mono 16000 Hz, got 8000 Hz"):
        evalset.read_audio(tmp_path, recording())


def test_a_gap_of_300_ms_ends_an_utterance():
    """A margin of 100 ms around, clipped to the recording."""
    words = [
        TimedWord("a", 0.05, 0.5),
        TimedWord("b", 0.75, 1.0),
        TimedWord("c", 1.5, 2.0),
        TimedWord("d", 2.5, 2.95),
    ]

    assert evalset.utterances(recording(words)) == [
        Span(0, 17_600),
        Span(22_400, 33_600),
        Span(38_400, 48_000),
    ]
    assert evalset.utterances(recording()) == []


def test_a_level_is_that_of_the_words_alone():
    """A tone of amplitude 0.5 inside the word has -9 dB; what lies outside is scaled along."""
    t = np.arange(48_000)
    tone = np.round(16_384 * np.sin(2 * np.pi * t / 32)).astype(np.int16)
    pcm = np.where((t >= 16_000) & (t < 32_000), tone, tone // 4).astype(np.int16)
    spoken = recording([TimedWord("tone", 1.0, 2.0)])

    quiet = evalset.at_level(pcm, spoken, -40.0)

    assert evalset.speech_level(pcm, spoken) == pytest.approx(-9.03, abs=0.01)
    assert evalset.speech_level(quiet, spoken) == pytest.approx(-40.0, abs=0.05)
    assert np.abs(quiet[:16_000]).max() == pytest.approx(np.abs(quiet[16_000:32_000]).max() / 4, abs=1)


def test_a_level_that_would_overflow_is_clipped_and_silence_stays_as_it_is():
    loud = evalset.at_level(np.array([3, -3, 30], np.int16), recording([TimedWord("x", 0.0, 2 / 16_000)]), 0.0)

    assert loud.tolist() == [32767, -32768, 32767]
    assert math.isinf(evalset.speech_level(np.ones(5, np.int16), recording()))
    assert evalset.at_level(np.ones(5, np.int16), recording(), -40.0).tolist() == [1] * 5
