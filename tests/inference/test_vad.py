"""The voice-activity model as we run it: frame by frame, each stream with its own state."""

import numpy as np
import pytest
from faster_whisper.vad import get_vad_model

from benchmarks.evalset import ROOT, load, read_audio
from streamasr.core.events import FRAME
from streamasr.errors import ModelError
from streamasr.inference import vad
from streamasr.inference.vad import VadModel, weights

DATA = ROOT / "tests" / "data"
RECORDINGS = {recording.id: recording for recording in load(DATA)}


@pytest.fixture(scope="module")
def model():
    return VadModel()


def frames(name):
    recording = RECORDINGS[name]
    pcm = read_audio(DATA, recording)[: 100 * FRAME].astype(np.float32) / 32_768
    return pcm[: len(pcm) // FRAME * FRAME].reshape(-1, FRAME)


def spoken(name, count):
    """Which frames lie wholly inside words."""
    inside = np.zeros(count * FRAME, bool)
    for word in RECORDINGS[name].words:
        inside[round(word.start * 16_000) : round(word.end * 16_000)] = True
    return inside.reshape(-1, FRAME).all(axis=1)


def test_scores_equal_those_of_faster_whisper(model):
    """Theirs scores a whole recording at once."""
    audio = frames("seen_000")
    theirs = np.asarray(get_vad_model()(audio.reshape(-1))).reshape(-1)
    np.testing.assert_allclose(model.lane().score(audio), theirs[: len(audio)], atol=1e-4)


@pytest.mark.parametrize("sizes", [[1], [2], [3, 1, 4]])
def test_frames_may_come_in_any_portions(model, sizes):
    audio, lane, scores, at = frames("seen_050"), model.lane(), [], 0
    while at < len(audio):
        size = sizes[len(scores) % len(sizes)]
        scores += lane.score(audio[at : at + size])
        at += size
    np.testing.assert_allclose(scores, model.lane().score(audio), atol=1e-4)


def test_lanes_do_not_hear_each_other(model):
    one, other = model.lane(), model.lane()
    speech, silence = frames("seen_000"), np.zeros((100, FRAME), np.float32)
    mixed = [one.score(speech[i : i + 1])[0] + 0 * other.score(silence[i : i + 1])[0] for i in range(len(speech))]
    np.testing.assert_allclose(mixed, model.lane().score(speech), atol=1e-4)


def test_speech_scores_high_and_silence_low(model):
    audio = frames("seen_050")
    scores, inside = np.array(model.lane().score(audio)), spoken("seen_050", len(audio))
    assert scores[inside].mean() > 0.8
    assert scores[:8].max() < 0.35  # nobody speaks yet
    assert max(model.lane().score(np.zeros((60, FRAME), np.float32))) < 0.35


def test_no_frames_have_no_scores(model):
    assert model.lane().score(np.empty((0, FRAME), np.float32)) == []


def test_missing_weights_are_one_clear_sentence(monkeypatch):
    assert weights().is_file()
    monkeypatch.setattr(vad, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match="is not installed"):
        weights()


def test_weights_under_another_name_are_one_clear_sentence(monkeypatch, tmp_path):
    class Spec:
        origin = str(tmp_path / "__init__.py")

    monkeypatch.setattr(vad, "find_spec", lambda _: Spec)
    with pytest.raises(ModelError, match=r"silero_vad_v6\.onnx \(reinstall faster-whisper\)"):
        weights()
