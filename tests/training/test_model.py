"""The model and its training in torch: what is learned from, and what a checkpoint keeps."""

import msgspec
import pytest

pytest.importorskip("torch", reason="needs the training extra: pip install -e '.[training]'")

import torch

from training import checkpoint
from training.losses import Losses, Tensors, Weights, losses, weights
from training.model import Model
from training.muon import Muon, orthogonalise
from training.settings import MEL_FRAMES_PER_HOUR, RECIPES, Shape
from training.train import Trainer
from training.windows.batch import Batch, collate
from training.windows.window import WindowMaker

SHAPE = Shape(width=96, encoder_layers=2, decoder_layers=2)
RECIPE = msgspec.structs.replace(RECIPES["check"], shape=SHAPE, hours=1.0)


@pytest.fixture(scope="module")
def batch(corpus, tokens) -> Tensors:
    maker = WindowMaker(corpus, tokens, RECIPE, seed=1)
    return on_device(collate([maker.make(0.0) for _ in range(4)]))


def on_device(batch: Batch) -> Tensors:
    return Tensors(*(torch.as_tensor(array) for array in batch))


def trainer(vocabulary: int) -> Trainer:
    torch.manual_seed(5)
    return Trainer(RECIPE, vocabulary, torch.device("cpu"))


def test_short_inputs_have_short_encodings(tokens):
    model = Model(SHAPE, tokens.size).eval()

    assert model.encode(torch.zeros(2, 80, 300)).shape == (2, 150, 96)


def test_the_decoder_does_not_look_ahead(tokens):
    model = Model(SHAPE, tokens.size).eval()
    memory, table = model.encode(torch.randn(1, 80, 100)), model.table()
    ids = torch.randint(0, tokens.end, (1, 12))
    changed = ids.clone()
    changed[0, 8:] += 1

    one, two = (model.decode(x, memory, table)[0] for x in (ids, changed))

    torch.testing.assert_close(one[:, :8], two[:, :8])
    assert not torch.allclose(one[:, 8:], two[:, 8:])


def test_shifted_positions_change_what_a_training_model_sees_and_nothing_else(tokens):
    model, mel = Model(SHAPE, tokens.size), torch.randn(3, 80, 100)
    model.shifted = 1.0

    trained, used = model.train().encode(mel), model.eval().encode(mel)

    assert not torch.allclose(trained, used)
    torch.testing.assert_close(used, model.eval().encode(mel))


def test_an_untrained_model_guesses_evenly(batch, tokens):
    found = losses(Model(SHAPE, tokens.size).train(), batch, Weights(1.0, 0.6, 0.3))

    assert isinstance(found, Losses)
    assert float(found.text) == pytest.approx(7.83, abs=0.6)  # ln 2,516
    assert all(torch.isfinite(value) for value in found)
    assert float(found.total.detach()) == pytest.approx(
        float(found.text + found.spelling + 0.6 * found.frames + 0.3 * found.attention), rel=1e-4
    )


def test_the_aids_fade():
    assert weights(0.0, 0, 300) == Weights(1.0, 0.6, 0.3)
    assert weights(0.0, 150, 300).frames == 0.3
    assert weights(0.4, 300, 300).frames == 0.0
    assert weights(0.0, 0, 0).frames == 0.0
    assert weights(0.6, 900, 300) == Weights(0.6, 0.0, 0.1)


def test_padding_is_not_learned_from(batch, tokens):
    """Windows padded further cost the same text loss."""
    model = Model(SHAPE, tokens.size).train()
    longer = batch._replace(
        tokens=torch.nn.functional.pad(batch.tokens, (0, 8)),
        targets=torch.nn.functional.pad(batch.targets, (0, 8), value=-100),
        spans=torch.nn.functional.pad(batch.spans, (0, 0, 0, 8), value=-1),
    )

    one, two = (losses(model, x, Weights(1.0, 0.6, 0.3)) for x in (batch, longer))

    torch.testing.assert_close(one.text, two.text)
    torch.testing.assert_close(one.attention, two.attention)


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 64, 16), (2, 16, 64)])
def test_orthogonalised_matrices_have_like_singular_values(shape):
    torch.manual_seed(1)

    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))

    assert values.min() > 0.3
    assert values.max() < 1.4


def test_muon_goes_downhill():
    torch.manual_seed(2)
    matrix, target = torch.randn(8, 8), torch.randn(8, 8)
    muon = Muon([matrix], rate=0.05)

    before = float((matrix - target).square().sum())
    for _ in range(60):
        matrix.grad = 2 * (matrix - target)
        muon.step(1.0)

    assert float((matrix - target).square().sum()) < 0.5 * before


def test_a_run_goes_on_from_a_checkpoint_as_though_it_had_not_stopped(tmp_path, batch, tokens):
    one = trainer(tokens.size)
    for _ in range(3):
        one.learn(batch)
    checkpoint.write(tmp_path / "checkpoint.pt", one.checkpoint())
    two = trainer(tokens.size)
    two.restore(checkpoint.read(tmp_path / "checkpoint.pt"))

    expected, found = one.learn(batch), two.learn(batch)

    assert (two.step, two.frames) == (one.step, one.frames) == (4, 4 * batch.mel.shape[0] * batch.mel.shape[2])
    torch.testing.assert_close(found.total, expected.total)
    for name, weight in one.checkpoint().average.items():
        torch.testing.assert_close(two.checkpoint().average[name], weight)


def test_steps_on_one_batch_lower_its_loss(batch, tokens):
    one = trainer(tokens.size)

    found = [float(one.learn(batch).text) for _ in range(12)]

    assert found[-1] < 0.8 * found[0]


def test_the_rate_rises_holds_and_falls_by_hours_heard(tokens):
    one = trainer(tokens.size)
    scales = []
    for step, share in ((0, 0.0), (4, 0.2), (9, RECIPE.hold), (10, 0.8), (11, 1.0)):
        one.step, one.frames = step, round(share * RECIPE.hours * MEL_FRAMES_PER_HOUR)
        scales.append(one.rate_scale())

    assert scales == pytest.approx([0.2, 1.0, 1.0, 0.2 / (1 - RECIPE.hold), 0.01], abs=1e-3)


def test_another_models_checkpoint_is_refused(tmp_path, tokens):
    other = Shape(width=128, encoder_layers=2, decoder_layers=2)
    recipe = msgspec.structs.replace(RECIPE, shape=other)
    saved = Trainer(recipe, tokens.size, torch.device("cpu")).checkpoint()

    with pytest.raises(ValueError, match="width=128"):
        trainer(tokens.size).restore(saved)


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    torch.save({"something": 1}, tmp_path / "other.pt")

    with pytest.raises(ValueError, match="not a checkpoint"):
        checkpoint.read(tmp_path / "other.pt")
