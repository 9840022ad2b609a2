"""Answers that are heard once."""

import msgspec
import numpy as np
import pytest

from benchmarks.recall import Recall, Scored, Store, scores
from streamasr.core.events import FRAME, SAMPLE_RATE, Window
from streamasr.errors import WindowFailed
from streamasr.inference.fake import ScriptedEngine, ToneCodeEngine, tone_words


class CountingVad:
    """Scores frames by their first sample, and counts them."""

    def __init__(self):
        self.frames = 0

    def lane(self):
        return self

    def score(self, frames):
        self.frames += len(frames)
        return [abs(float(frame[0])) for frame in frames]


@pytest.fixture
def store():
    kept = Store()
    yield kept
    kept.close()


def window(ids=(1, 2, 3), **changes):
    pcm = (tone_words(ids) * 32767).astype(np.int16).tobytes()
    whole = Window(lane="a", number=7, kind="partial", anchor=16_000, pcm=pcm, encoder_samples=3 * SAMPLE_RATE)
    return msgspec.structs.replace(whole, **changes)


def recall(engine, store, name="tones"):
    return Recall(lambda: engine, name, store, 8, lambda windows, samples: 0.01 * windows)


def test_the_answer_is_the_engines_own(store):
    """Place, lane and number are those of whoever asks, the first time and every other."""
    engine, asked = ToneCodeEngine(), window()
    (expected,) = engine.transcribe([asked])
    remembered = recall(engine, store)
    for _ in range(2):
        assert remembered.transcribe([asked]) == [expected]
    later = window(lane="b", number=9, anchor=48_000, kind="final", budget_s=0.2)
    (answer,) = remembered.transcribe([later])
    assert (answer,) == tuple(engine.transcribe([later]))
    assert remembered.heard == 1
    assert remembered.tokens == [3]


def test_what_changes_the_answer_is_heard_again(store):
    """Other audio, another prefix, another length, another model."""
    remembered = recall(ToneCodeEngine(), store)
    remembered.transcribe([window(), window(ids=(4,)), window(prefix=(1001,)), window(encoder_samples=64_000)])
    assert remembered.heard == 4
    other = recall(ToneCodeEngine(), store, name="other tones")
    other.transcribe([window()])
    assert other.heard == 1


def test_answers_outlive_the_process(tmp_path):
    """Kept in the file; the engine is not even loaded."""
    first = Store(tmp_path / "kept.db")
    expected = recall(ToneCodeEngine(), first).transcribe([window()])
    first.close()
    again = Store(tmp_path / "kept.db")

    def never():
        raise AssertionError("the engine was loaded")

    assert Recall(never, "tones", again, 8, lambda windows, samples: 0.0).transcribe([window()]) == expected
    again.close()


def test_failures_are_not_kept(store):
    """They may have been accidents."""
    remembered = recall(ScriptedEngine({}), store)
    for _ in range(2):
        assert isinstance(remembered.transcribe([window()])[0], WindowFailed)
    assert remembered.heard == 2
    assert remembered.tokens == [0]


def test_a_recording_is_scored_once(store):
    """And handed out in order, however many frames at a time."""
    pcm = np.random.default_rng(0).integers(-9_000, 9_000, 100 * FRAME + 17).astype(np.int16)
    vad = CountingVad()
    known = scores(pcm, vad, "level", store)
    assert np.array_equal(scores(pcm, vad, "level", store), known)
    assert vad.frames == len(known) == 100
    lane, frames = Scored(known), pcm[: 100 * FRAME].reshape(100, FRAME).astype(np.float32) / 32768
    handed = [score for at in range(0, 100, 7) for score in lane.score(frames[at : at + 7])]
    assert handed == pytest.approx(np.abs(frames[:, 0]))
