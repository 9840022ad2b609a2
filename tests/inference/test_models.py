"""A model's files to its entry: what it can, and what is wrong with it, in one clear sentence."""

import json
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamasr.errors import ModelError
from streamasr.inference import models
from streamasr.inference.models import NANO_GUARDS, STOCK_GUARDS, EntryFile, entry_of, read_entry_file, resolve

NANO = resolve("nano")


@pytest.fixture
def model(tmp_path):
    """A directory with nano's files, to be spoilt."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for file in NANO.path.iterdir():
        (folder / file.name).symlink_to(file)
    return folder


@pytest.fixture
def unknown(model):
    """The same, with alignment heads that no known model has."""
    replace(model, "config.json", json.dumps({"alignment_heads": [[0, 0]]}))
    return model


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


def test_nano_is_recognised_wherever_it_lies(model):
    entry = resolve(str(model))
    assert (entry.name, entry.path, entry.size, entry.measured) == ("mine", model, "nano", True)
    assert (entry.guards, entry.languages, entry.translates) == (NANO_GUARDS, NANO.languages, False)


def test_an_unknown_model_gets_careful_values(unknown):
    entry = resolve(str(unknown))
    assert (entry.name, entry.size, entry.measured, entry.translates) == ("mine", "", False, False)
    assert entry.guards == STOCK_GUARDS
    assert set(entry.languages) == {"en", "de", "es"}
    assert "not measured" in entry.source
    policy = entry.policy()
    assert (policy.encoder_floor, policy.encoder_margin, policy.longest_window) == (160_000, 32_000, 320_000)


def test_a_name_that_does_not_fit_the_files_is_not_believed(unknown):
    assert entry_of(unknown, "mine", repo="Systran/faster-whisper-tiny").size == ""


def test_where_it_was_downloaded_from_tells_a_model(unknown):
    (unknown / "streamasr-manifest.json").write_text('{"repo": "someone/faster-whisper-nano"}')
    assert resolve(str(unknown)).size == "nano"


def test_an_english_only_vocabulary_is_told_by_its_size(model, monkeypatch):
    """It has language tokens too, but its prompts carry none."""
    real = models.dimensions
    monkeypatch.setattr(models, "dimensions", lambda path: real(path)._replace(vocabulary=51_864))
    entry = resolve(str(model))
    assert (entry.multilingual, entry.languages, entry.translates) == (False, ("en",), False)


def test_a_distilled_model_has_a_multilingual_vocabulary_but_knows_english(model, monkeypatch):
    real = models.dimensions
    monkeypatch.setattr(models, "dimensions", lambda path: real(path)._replace(vocabulary=51_866, n_mels=128))
    entry = entry_of(model, "mine", repo="Systran/faster-distil-whisper-large-v3")
    assert (entry.multilingual, entry.languages, entry.translates) == (True, ("en",), False)
    assert (entry.size, entry.n_mels) == ("distil-large-v3", 128)


def test_what_it_needs_of_a_gpu_is_estimated_from_its_weights():
    assert NANO.parameters > 5e6
    assert NANO.needs["int8_float16"] < NANO.needs["float16"] < 1e9


# Entry files.

ENTRY = """
encoder_floor_s = 1.5
encoder_margin_s = 0.5
longest_window_s = 12
measured = true
source = "streamasr bench, 2 h of my calls"
[guards]
compression_ratio = 1.9
"""


def test_an_entry_file_beside_the_model_wins_over_what_is_known(model):
    (model / "streamasr.toml").write_text(ENTRY)
    entry = resolve(str(model))
    assert (entry.encoder_floor_s, entry.encoder_margin_s, entry.longest_window_s) == (1.5, 0.5, 12)
    assert (entry.measured, entry.source) == (True, "streamasr bench, 2 h of my calls")
    assert entry.guards == msgspec.structs.replace(NANO_GUARDS, compression_ratio=1.9)
    assert entry.languages == NANO.languages


def test_json_says_the_same(model):
    (model / "streamasr.json").write_text('{"encoder_floor_s": 3, "languages": ["de"], "translates": true}')
    entry = resolve(str(model))
    assert (entry.encoder_floor_s, entry.languages, entry.translates) == (3, ("de",), True)
    assert entry.source.endswith("streamasr.json")


def test_an_entry_file_given_by_name_wins_over_the_one_beside_the_model(model, tmp_path):
    (model / "streamasr.toml").write_text(ENTRY)
    (tmp_path / "other.toml").write_text("encoder_floor_s = 7")
    assert resolve(str(model), entry_file=tmp_path / "other.toml").encoder_floor_s == 7
    assert resolve("nano", entry_file=tmp_path / "other.toml").encoder_floor_s == 7


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("encoder_flor_s = 1", "encoder_flor_s"),
        ("encoder_floor_s = 31", "encoder_floor_s"),
        ("encoder_floor_s = 'x'", "encoder_floor_s"),
        ("longest_window_s = 1", "longest_window_s"),
        ("[guards]\nlogprob = 1", "logprob"),
        ("languages = []", "languages"),
        ("languages = ['fr']", "no language fr"),
        ("floor", "is not TOML"),
    ],
)
def test_a_wrong_entry_file_is_one_sentence_that_names_it(model, text, part):
    (model / "streamasr.toml").write_text(text)
    with pytest.raises(ModelError) as error:
        resolve(str(model))
    assert str(error.value).startswith("model entry: ")
    assert "streamasr.toml" in str(error.value)
    assert part in str(error.value)


@given(data=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_entry_file_is_read_or_a_model_error(tmp_path_factory, data):
    for name in ("entry.toml", "entry.json"):
        file = tmp_path_factory.mktemp("entry") / name
        file.write_bytes(data)
        with suppress(ModelError):
            assert read_entry_file(file) == EntryFile()  # by chance it says nothing but comments


def test_a_missing_entry_file_is_an_error(tmp_path):
    with pytest.raises(ModelError, match=r"none\.toml cannot be read"):
        resolve("nano", entry_file=tmp_path / "none.toml")


def test_an_english_only_model_cannot_be_said_to_translate(model, monkeypatch):
    real = models.dimensions
    monkeypatch.setattr(models, "dimensions", lambda path: real(path)._replace(vocabulary=51_864))
    (model / "streamasr.toml").write_text("translates = true")
    with pytest.raises(ModelError, match="cannot translate"):
        resolve(str(model))


# Names and files.


def test_a_home_directory_is_expanded(model, monkeypatch):
    monkeypatch.setenv("HOME", str(model.parent))
    assert resolve("~/mine").path == model


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


@pytest.mark.parametrize("broken", ["config.json", "streamasr-manifest.json"])
@pytest.mark.parametrize("text", ["{", "", "[]", "1", '"text"'])
def test_a_configuration_that_is_no_json_object_is_an_error(model, broken, text):
    (model / broken).unlink(missing_ok=True)
    (model / broken).write_text(text)
    with pytest.raises(ModelError) as error:
        resolve(str(model))
    assert str(model) in sentence(error)


def test_bytes_that_are_no_text_are_an_error(model):
    (model / "config.json").unlink()
    (model / "config.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(ModelError) as error:
        resolve(str(model))
    sentence(error)


@pytest.mark.parametrize("heads", ['"all"', "[[1]]", "[[-1, 2.5]]"])
def test_alignment_heads_that_are_no_pairs_are_an_error(model, heads):
    replace(model, "config.json", f'{{"alignment_heads": {heads}}}')
    with pytest.raises(ModelError) as error:
        resolve(str(model))
    assert "alignment_heads is not a list of pairs" in sentence(error)


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
