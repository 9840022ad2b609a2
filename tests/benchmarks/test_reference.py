"""The yardstick: the embedded model on true utterances and on whole files of the bundled recordings."""

import pytest

from benchmarks import evalset
from benchmarks.reference import Reference, WholeFile
from streamasr.bench.scoring import Errors, count_errors, normalise
from streamasr.inference.models import resolve

PLACE = evalset.PLACES[-1]


def wer(recordings, hear):
    errors = Errors()
    for recording in recordings:
        text = hear(evalset.read_audio(PLACE, recording), recording)
        errors += count_errors(normalise(recording.text), normalise(text))
    return errors.wer


@pytest.fixture
def seen():
    return evalset.load(PLACE, ("seen",))


def test_the_model_hears_true_utterances_about_as_well_as_its_card_says(seen):
    """Known voices: about a quarter of the words wrong; more would be a fault of the yardstick."""
    reference = Reference(resolve("nano"))

    assert 5.0 < wer(seen, reference.transcribe) < 35.0


def test_a_recording_of_many_utterances_is_heard_utterance_by_utterance():
    reference = Reference(resolve("nano"))

    assert 5.0 < wer(evalset.load(PLACE, ("long",)), reference.transcribe) < 35.0


def test_faster_whisper_hears_the_same_on_whole_files(seen):
    whole = WholeFile(resolve("nano"))

    assert 5.0 < wer(seen[:4], lambda pcm, r: whole.transcribe(pcm, r, conditioned=False)) < 40.0
