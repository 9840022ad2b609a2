"""Figures as values: how times are spread, and that JSON brings back what was written."""

import math

from hypothesis import given
from hypothesis import strategies as st

from loadtest.results import BIN_S, Results, distribution, read, write
from tests.loadtest.made import figures


def test_percentiles_and_bins_of_literal_values():
    found = distribution([0.01, 0.02, 0.12, 0.26, math.nan])
    assert (found.count, found.p50, found.max) == (4, 0.07, 0.26)
    assert (found.first_bin, found.bins) == (0.0, (2, 0, 1, 0, 0, 1))
    assert len(found.quantiles) == 101
    assert (found.quantiles[0], found.quantiles[100]) == (0.01, 0.26)


def test_early_values_have_bins_below_zero():
    found = distribution([-0.06, 0.01])
    assert (found.first_bin, found.bins) == (-0.1, (1, 0, 1))


def test_nothing_has_no_figures():
    assert (distribution([]).count, distribution([]).p50, distribution([math.nan]).quantiles) == (0, None, ())


@given(st.lists(st.floats(-5, 300), min_size=1))
def test_every_value_is_in_a_bin(values):
    found = distribution(values)
    assert sum(found.bins) == found.count == len(values)
    assert found.first_bin <= min(values) + 1e-6 <= found.first_bin + BIN_S + 1e-4


def test_what_was_written_can_be_read():
    results = Results(kind="limit", command="python -m loadtest", runs=(figures([0.5, 1.0], cpu_s=1.0),), limit=3)
    assert read(write(results)) == results
