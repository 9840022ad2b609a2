"""Export: what CTranslate2 runs is what was trained."""

import json
import warnings

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the training extra: pip install -e '.[training]'")

import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the converter's imports are not ours
    import ctranslate2
    import ctranslate2.specs

from training.export import export
from training.heads import choose_heads, first_frames
from training.model import Model
from training.settings import SHIPPED, Shape

SHAPE = Shape(width=96, encoder_layers=3, decoder_layers=2)


@pytest.fixture(scope="module")
def model(tokens) -> Model:
    """Random weights, large enough that the answers are far apart."""
    torch.manual_seed(3)
    made = Model(SHAPE, tokens.size).eval()
    with torch.no_grad():
        made.emb.mul_(6)
        for name, weight in made.named_parameters():
            if name.endswith((".bias", "b", "gamma")):
                weight.add_(0.1 * torch.randn_like(weight))
    return made


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("model")
    export(model, SHIPPED / "tokenizer.json", out, None)
    return ctranslate2.models.Whisper(str(out), device="cpu", compute_type="float32", intra_threads=1), out


def mel(frames: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((1, 80, frames)).astype(np.float32)


@pytest.mark.parametrize("frames", [20, 300])
def test_the_encoder_gives_the_same_numbers(model, exported, frames):
    encoded = exported[0].encode(ctranslate2.StorageView.from_array(mel(frames)))

    expected = model.encode(torch.from_numpy(mel(frames))).detach().numpy()
    np.testing.assert_allclose(np.array(encoded), expected, atol=1e-3)


def test_greedy_decoding_gives_the_same_tokens(model, exported, tokens):
    prompt = [tokens.start, tokens.languages["de"], tokens.transcribe, tokens.no_timestamps]
    encoded = exported[0].encode(ctranslate2.StorageView.from_array(mel(200)))

    found = exported[0].generate(
        encoded, [prompt], beam_size=1, max_length=32, suppress_blank=False, suppress_tokens=[]
    )[0]

    ids, memory = list(prompt), model.encode(torch.from_numpy(mel(200)))
    for _ in range(len(found.sequences_ids[0])):
        states, _ = model.decode(torch.tensor([ids]), memory, model.table())
        logits = states[0, -1] @ model.table().t()
        logits[tokens.first_timestamp :] = -torch.inf  # after <|notimestamps|> the runtime allows none
        ids.append(int(logits.argmax()))
    assert len(found.sequences_ids[0]) >= 5
    assert ids[len(prompt) :] == found.sequences_ids[0]


def test_exporting_again_changes_nothing(model, exported, tmp_path):
    export(model, SHIPPED / "tokenizer.json", tmp_path, None)

    for name in ("model.bin", "config.json", "vocabulary.json", "tokenizer.json"):
        assert (tmp_path / name).read_bytes() == (exported[1] / name).read_bytes()


def test_the_configuration_is_the_shipped_models_but_for_the_heads(exported):
    ours, shipped = (json.loads((place / "config.json").read_text()) for place in (exported[1], SHIPPED))

    assert ours.pop("alignment_heads") == [[0, 0], [0, 1], [1, 0]]
    shipped.pop("alignment_heads")
    assert ours == shipped


def test_int8_is_a_quarter_of_float32(model, exported, tmp_path):
    export(model, SHIPPED / "tokenizer.json", tmp_path, "int8")

    assert (tmp_path / "model.bin").stat().st_size < 0.45 * (exported[1] / "model.bin").stat().st_size


def test_another_models_tokenizer_is_refused(tokens, tmp_path):
    other = Model(SHAPE, tokens.size + 1)

    with pytest.raises(ValueError, match="not the tokenizer of this model"):
        export(other, SHIPPED / "tokenizer.json", tmp_path, None)


def test_the_cheapest_path_enters_each_row_once_and_in_order():
    cost = np.ones((3, 6), np.float32)
    cost[0, 0:2] = cost[1, 2:5] = cost[2, 5] = 0

    assert first_frames(cost).tolist() == [0, 2, 5]


def test_some_heads_are_chosen_and_always_the_same(model, tokens, corpus):
    chosen = choose_heads(model, tokens, corpus, utterances=3)

    assert 1 <= len(chosen) <= 6
    assert all(0 <= layer < 2 and 0 <= head < 3 for layer, head in chosen)
    assert choose_heads(model, tokens, corpus, utterances=3) == chosen
