"""What is known of models that have a name: look-ups by name, by repository and by what the files say."""

import re
from pathlib import Path

import msgspec
import pytest

from streamasr.inference import catalog
from streamasr.inference.catalog import SIZES, Shape, by_fingerprint, by_repo, by_title

NAMED = [size for size in SIZES if size.repo]


def test_every_size_that_faster_whisper_knows_is_there_with_its_repository():
    from faster_whisper.utils import _MODELS

    assert {name: catalog.by_name(name).repo for name in _MODELS} == _MODELS
    assert {size.name for size in NAMED} <= set(_MODELS)


def test_the_page_on_models_has_the_same_table():
    page = (Path(__file__).parents[2] / "docs/reference/models.md").read_text("utf-8")
    written = [line for line in page.splitlines() if re.match(r"\| `[^|]*\| \d+ M ", line)]
    names = {name: alias for alias, name in catalog.ALIASES.items()}
    expected = [
        f"| `{s.name}`{f', `{names[s.name]}`' if s.name in names else ''} | {s.parameters / 1e6:.0f} M"
        f" | {s.megabytes} MB | {'English' if s.languages == ('en',) else len(s.languages)}"
        f" | {'yes' if s.translates else 'no'} | {s.shape.n_mels} | `{s.repo}` |"
        for s in NAMED
    ]
    assert written == expected


def test_only_openais_multilingual_models_but_turbo_translate():
    translating = {size.name for size in SIZES if size.translates}
    assert translating == {"tiny", "base", "small", "medium", "large-v1", "large-v2", "large-v3"}


def test_english_only_models_know_english_and_distilled_ones_too_whatever_their_vocabulary():
    english = {size.name for size in SIZES if size.languages == ("en",)}
    assert english == {size.name for size in NAMED if size.name.endswith(".en") or size.name.startswith("distil-")}


def test_the_third_generation_knows_cantonese_and_hears_128_mel_bins():
    third = {"large-v3", "large-v3-turbo"}
    assert {size.name for size in SIZES if "yue" in size.languages} == third
    assert {s.name for s in SIZES if s.shape.n_mels == 128} == third | {"distil-large-v3", "distil-large-v3.5"}
    assert {len(s.languages) for s in NAMED} == {1, 99, 100}


def test_alignment_heads_lie_within_their_model():
    for size in SIZES:
        assert all(0 <= layer < size.shape.decoder_layers for layer, _ in size.heads), size.name


@pytest.mark.parametrize("size", [s for s in SIZES if s.heads], ids=lambda s: s.name)
def test_a_size_is_told_by_its_heads_even_if_its_width_was_shrunk(size):
    shrunk = msgspec.structs.replace(size.shape, width=64, encoder_layers=2)
    assert by_fingerprint(shrunk, size.heads) is size


@pytest.mark.parametrize("name", ["tiny", "medium.en", "large-v3", "large-v3-turbo"])
def test_a_fine_tuned_model_with_other_heads_is_told_by_its_shape(name):
    assert by_fingerprint(catalog.BY_NAME[name].shape, ((1, 1),)) is catalog.BY_NAME[name]


@pytest.mark.parametrize("name", ["distil-large-v3", "distil-large-v2", "distil-small.en", "nano"])
def test_a_shape_that_others_share_is_not_enough(name):
    """French, German and Japanese models were distilled to the shape of distil-large-v3: they are not English."""
    assert by_fingerprint(catalog.BY_NAME[name].shape, ((0, 1),)) is None


def test_an_unknown_shape_is_no_size():
    shape = Shape(encoder_layers=3, decoder_layers=3, width=300, n_mels=80, vocabulary=51_865)
    assert by_fingerprint(shape, ()) is None


@pytest.mark.parametrize("size", NAMED, ids=lambda s: s.name)
def test_a_repository_is_told_by_its_id_in_any_case_and_elsewhere_by_its_name(size):
    assert by_repo(size.repo) is size
    assert by_repo(size.repo.upper()) is size
    assert by_repo("somebody/" + size.repo.partition("/")[2]) is size


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("small", "small"),
        ("turbo", "large-v3-turbo"),
        ("whisper-large-v3-turbo-ct2", "large-v3-turbo"),
        ("distil-whisper-large-v3", "distil-large-v3"),
        ("faster-distil-whisper-large-v2", "distil-large-v2"),
    ],
)
def test_a_directory_is_told_by_its_name(title, name):
    assert by_title(title) is catalog.BY_NAME[name]


@pytest.mark.parametrize(
    "title", ["distil-large-v3-fr", "kotoba-whisper-v2.0-faster", "whisper-small-hindi", "mine", ""]
)
def test_a_word_more_makes_it_another_model(title):
    assert by_title(title) is None


@pytest.mark.parametrize(
    ("wrong", "meant"), [("tinny", "tiny"), ("larg-v3", "large-v3"), ("nono", "nano"), ("aut", "auto")]
)
def test_a_misspelt_name_is_recognised(wrong, meant):
    assert catalog.similar(wrong) == meant


def test_a_name_like_nothing_is_not():
    assert catalog.similar("xyzzy") is None


def test_memory_grows_with_the_model_and_with_the_width_of_its_numbers():
    turbo, tiny = catalog.BY_NAME["large-v3-turbo"], catalog.BY_NAME["tiny"]
    need = catalog.memory(turbo.parameters, turbo.shape.width)
    assert need["int8_float16"] < need["float16"] < need["float32"]
    assert 3e9 < need["float16"] < 6e9
    assert catalog.memory(tiny.parameters, tiny.shape.width)["float16"] < 1.5e9
