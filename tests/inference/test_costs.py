"""The cost table: every size has a row, and what lies between its points is a line."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamasr.inference import costs
from streamasr.inference.catalog import ALIASES, SIZES
from streamasr.inference.models import resolve
from streamasr.inference.weights import dimensions

ROWS = sorted(costs.table().sizes)


def at(row, index):
    return sum(part[index] for part in (row.features_ms, row.encode_ms, row.decode_ms, row.align_ms))


@pytest.mark.parametrize("name", ROWS)
def test_at_its_points_the_table_says_what_was_measured(name):
    for index, seconds in enumerate(costs.table().seconds):
        assert costs.window_ms(name, seconds) == pytest.approx(at(costs.row(name), index))


def test_between_two_points_is_a_line():
    low, high = costs.window_ms("small", 10), costs.window_ms("small", 15)
    assert costs.window_ms("small", 12) == pytest.approx(low + (high - low) * 2 / 5)


def test_outside_the_table_its_ends_count():
    first, last = costs.table().seconds[0], costs.table().seconds[-1]
    assert costs.window_ms("nano", first / 4) == costs.window_ms("nano", first)
    assert costs.window_ms("nano", last + 5) == costs.window_ms("nano", last) > 0


@given(st.sampled_from(ROWS), st.floats(0.1, 30), st.floats(0.1, 30))
def test_a_longer_window_never_costs_less(name, one, other):
    short, long = sorted((one, other))
    assert costs.window_ms(name, short) <= costs.window_ms(name, long)


def test_a_window_with_less_speech_has_less_to_decode():
    """Encoding is the same for silence."""
    whole, half, silent = (costs.window_ms("large-v3", 10, speech_s) for speech_s in (10, 5, 0))
    assert whole - half == pytest.approx(half - silent)
    row = costs.row("large-v3")
    assert silent == pytest.approx(row.features_ms[3] + row.encode_ms[3])


@pytest.mark.parametrize("seconds", [1, 5, 12, 30])
def test_larger_models_cost_more(seconds):
    def rising(*names):
        pairs = itertools.pairwise(costs.window_ms(name, seconds) for name in names)
        return all(smaller < larger for smaller, larger in pairs)

    assert rising("nano", "tiny", "base", "small", "medium", "large-v3")
    assert rising("distil-large-v3", "large-v3-turbo", "large-v3")
    assert rising("distil-small.en", "small")
    assert rising("distil-medium.en", "medium")


@pytest.mark.parametrize("name", [*(size.name for size in SIZES), *ALIASES, "nano"])
def test_every_size_that_can_be_named_has_a_row(name):
    assert costs.window_ms(name, 10) > 0
    assert costs.row(name).memory_mb > 0


@pytest.mark.parametrize("size", SIZES, ids=lambda size: size.name)
def test_a_size_is_found_by_its_shape(size):
    shape = size.shape
    assert costs.row(costs.nearest(shape.encoder_layers, shape.width, shape.decoder_layers)) == costs.row(size.name)


def test_the_built_in_model_is_found_by_its_shape():
    shape = dimensions(resolve("nano").path / "model.bin")
    assert costs.nearest(shape.encoder_layers, shape.width, shape.decoder_layers) == "nano"


def test_an_unknown_shape_costs_what_the_nearest_does():
    assert costs.nearest(4, 400, 4) == "tiny"
    assert costs.nearest(32, 1280, 3) in ("distil-large-v3", "large-v3-turbo")
    assert costs.nearest(40, 1600, 40) == "large-v3"


def test_an_unknown_size_is_an_error_that_names_it():
    with pytest.raises(KeyError, match=r"'huge' is not in the cost table; it has .*nano"):
        costs.window_ms("huge", 10)


def test_a_batch_of_short_windows_is_cheaper_and_one_of_long_windows_dearer_than_they_are_alone():
    assert costs.batch_factor("nano", 1, 8.0) == 1.0
    assert costs.batch_factor("nano", 8, 1.0) < 0.9
    assert costs.batch_factor("nano", 2, 8.0) < 1.0 < costs.batch_factor("nano", 4, 8.0)
    assert costs.batch_factor("nano", 8, 30.0) == 0.95  # it leaves the cache alone as well
    assert costs.batch_factor("small", 8, 8.0) == 0.95
