"""A model's dimensions from the headers of its weights."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamasr.errors import ModelError
from streamasr.inference.models import resolve
from streamasr.inference.weights import dimensions

NANO = resolve("nano").path / "model.bin"
WHOLE = NANO.read_bytes()


def test_nanos_dimensions_are_those_of_its_card():
    found = dimensions(NANO)
    assert (found.encoder_layers, found.decoder_layers, found.width, found.n_mels) == (6, 3, 192, 80)
    assert 5.4e6 < found.parameters < 5.6e6


@given(kept=st.integers(0, len(WHOLE) - 10_000))
def test_a_file_cut_off_anywhere_is_an_error(tmp_path_factory, kept):
    cut = tmp_path_factory.mktemp("cut") / "model.bin"
    cut.write_bytes(WHOLE[:kept])
    with pytest.raises(ModelError, match="cut off or not a model"):
        dimensions(cut)


@given(junk=st.binary(max_size=200))
def test_junk_is_an_error_and_nothing_worse(tmp_path_factory, junk):
    file = tmp_path_factory.mktemp("junk") / "model.bin"
    file.write_bytes(WHOLE[:4] + junk)
    with pytest.raises(ModelError):
        dimensions(file)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(ModelError, match="cannot be read"):
        dimensions(tmp_path / "model.bin")


def test_a_model_without_an_encoder_is_no_whisper_model(tmp_path):
    other = tmp_path / "model.bin"
    other.write_bytes(WHOLE.replace(b"encoder/conv1/weight\0", b"decoder/conv1/weight\0"))
    with pytest.raises(ModelError, match="is not a Whisper model"):
        dimensions(other)
