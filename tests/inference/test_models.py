"""Names and paths to models: what is wrong with one is one clear sentence."""

import json

import pytest

from streamasr.errors import ModelError
from streamasr.inference.models import NANO_GUARDS, STOCK_GUARDS, resolve

NANO = resolve("nano")


@pytest.fixture
def model(tmp_path):
    """A directory with nano's files, to be spoilt."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for file in NANO.path.iterdir():
        (folder / file.name).symlink_to(file)
    return folder


def replace(folder, name, text):
    (folder / name).unlink()
    (folder / name).write_text(text)


def sentence(error):
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith("model: ") or text.endswith(".json") or "tokenizer" in text
    return text


def test_nano_comes_with_the_package():
    assert NANO.name == "nano"
    assert set(NANO.languages) == {"en", "de", "es"}
    assert (NANO.multilingual, NANO.translates, NANO.measured, NANO.n_mels) == (True, False, True, 80)
    assert NANO.guards == NANO_GUARDS


def test_nano_takes_short_windows():
    policy = NANO.policy()
    assert (policy.encoder_floor, policy.encoder_margin, policy.longest_window) == (0, 0, 160_000)
    assert policy.compression_ratio == NANO_GUARDS.compression_ratio
    assert policy.tokens_per_second == NANO_GUARDS.tokens_per_second
    assert (policy.no_speech, policy.no_speech_logprob) == (NANO_GUARDS.no_speech, NANO_GUARDS.logprob)


def test_the_encoders_input_can_be_forced():
    assert NANO.policy().encoder_forced == 0
    assert NANO.policy(encoder_window_s=1.5).encoder_forced == 24_000


def test_a_directory_is_a_model_we_have_not_measured(model):
    entry = resolve(str(model))
    assert (entry.name, entry.path, entry.measured) == ("mine", model, False)
    assert entry.guards == STOCK_GUARDS
    policy = entry.policy()
    assert (policy.encoder_floor, policy.encoder_margin, policy.longest_window) == (160_000, 32_000, 320_000)


def test_a_home_directory_is_expanded(model, monkeypatch):
    monkeypatch.setenv("HOME", str(model.parent))
    assert resolve("~/mine").path == model


def test_the_mel_bins_are_those_of_the_model(model):
    replace(model, "preprocessor_config.json", json.dumps({"feature_size": 128}))
    assert resolve(str(model)).n_mels == 128
    (model / "preprocessor_config.json").unlink()
    assert resolve(str(model)).n_mels == 80


def test_an_unknown_name_is_neither_nano_nor_a_directory():
    with pytest.raises(ModelError) as error:
        resolve("nono")
    assert "'nono' is neither 'nano' nor an existing directory" in sentence(error)


def test_a_file_is_no_model(model):
    with pytest.raises(ModelError) as error:
        resolve(str(model / "model.bin"))
    assert "is a file; expected a directory in CTranslate2 format" in sentence(error)


@pytest.mark.parametrize("missing", ["config.json", "model.bin", "tokenizer.json"])
def test_a_missing_file_is_named(model, missing):
    (model / missing).unlink()
    with pytest.raises(ModelError) as error:
        resolve(str(model))
    assert sentence(error).endswith(f"it lacks {missing}")


def test_all_missing_files_are_named(tmp_path):
    with pytest.raises(ModelError, match=r"it lacks config\.json, model\.bin, tokenizer\.json"):
        resolve(str(tmp_path))


@pytest.mark.parametrize("broken", ["config.json", "preprocessor_config.json"])
@pytest.mark.parametrize("text", ["{", "", "[]", "1", '"text"'])
def test_a_configuration_that_is_no_json_object_is_an_error(model, broken, text):
    replace(model, broken, text)
    with pytest.raises(ModelError) as error:
        resolve(str(model))
    assert str(model) in sentence(error)


def test_bytes_that_are_no_text_are_an_error(model):
    (model / "config.json").unlink()
    (model / "config.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(ModelError) as error:
        resolve(str(model))
    sentence(error)


def test_mel_bins_that_are_no_number_are_an_error(model):
    replace(model, "preprocessor_config.json", json.dumps({"feature_size": "80"}))
    with pytest.raises(ModelError) as error:
        resolve(str(model))
    assert "is not a number" in sentence(error)


def test_a_model_of_another_kind_is_an_error(model):
    replace(model, "config.json", json.dumps({"bos_token": "<s>"}))
    with pytest.raises(ModelError) as error:
        resolve(str(model))
    assert "not a Whisper model" in sentence(error)


@pytest.mark.parametrize("text", ["{", "{}", '{"model": 1}'])
def test_a_file_that_is_no_tokenizer_is_an_error(model, text):
    replace(model, "tokenizer.json", text)
    with pytest.raises(ModelError, match="tokenizer") as error:
        resolve(str(model))
    sentence(error)


def test_a_tokenizer_of_another_model_is_an_error(model):
    tokenizer = json.loads((model / "tokenizer.json").read_text("utf-8"))
    tokenizer["added_tokens"] = [t for t in tokenizer["added_tokens"] if t["content"] != "<|startofprev|>"]
    replace(model, "tokenizer.json", json.dumps(tokenizer))
    with pytest.raises(ModelError, match=r"is not a Whisper tokenizer: it lacks <\|startofprev\|>") as error:
        resolve(str(model))
    sentence(error)
