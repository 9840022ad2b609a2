"""The choice of ``auto``: pure, from what was measured."""

from itertools import pairwise

import pytest

from streamasr.inference import catalog, costs
from streamasr.inference.sizing import (
    LARGEST_FIRST,
    ON_GPU,
    RTF_LIMIT,
    TRIAL_S,
    choose_for_cpu,
    choose_for_gpu,
    predict,
    smaller_than,
)

REFERENCE_S = costs.window_ms("nano", TRIAL_S) / 1000
"""What nano takes where the cost table was measured."""


@pytest.mark.parametrize(
    ("free", "compute_type", "name"),
    [
        (80e9, "float16", "large-v3-turbo"),
        (6e9, "float16", "large-v3-turbo"),
        (4.5e9, "float16", "large-v3-turbo"),  # in int8_float16
        (4.5e9, "float32", "base"),
        (3.5e9, "float16", "small"),
        (0.5e9, "float16", "tiny"),
    ],
)
def test_a_gpu_gets_turbo_or_what_fits(free, compute_type, name):
    size, reason = choose_for_gpu("GeForce", int(free), compute_type)
    assert size.name == name
    assert reason.startswith(f"{name}: ")
    assert "GeForce" in reason
    assert f"{free / 1e9:.1f} GB" in reason


def test_more_memory_never_means_a_smaller_model():
    order = [choose_for_gpu("", int(gb * 1e9), "float16")[0].parameters for gb in range(1, 20)]
    assert order == sorted(order)


def test_a_faster_cpu_never_means_a_smaller_model():
    chosen = [choose_for_cpu(REFERENCE_S / speed)[0].name for speed in (0.1, 1, 3, 10, 30, 100, 1000)]
    assert [LARGEST_FIRST.index(name) for name in chosen] == sorted(map(LARGEST_FIRST.index, chosen), reverse=True)
    assert (chosen[0], chosen[-1]) == ("tiny", "large-v3")


@pytest.mark.parametrize(("larger", "name"), list(pairwise(LARGEST_FIRST)))
def test_the_chosen_size_keeps_up_and_the_next_larger_one_would_not(larger, name):
    """On a CPU that is just fast enough for the one."""
    speed = predict(catalog.BY_NAME[name], REFERENCE_S) / (RTF_LIMIT - 0.001)
    size, reason = choose_for_cpu(REFERENCE_S / speed)
    assert size.name == name
    assert predict(size, REFERENCE_S / speed) <= RTF_LIMIT
    assert predict(catalog.BY_NAME[larger], REFERENCE_S / speed) > RTF_LIMIT
    assert f"{larger} " in reason
    assert "on one thread" in reason


def test_a_cpu_too_slow_for_any_gets_the_smallest_and_is_told():
    size, reason = choose_for_cpu(100 * REFERENCE_S)
    assert size.name == "tiny"
    assert "the smallest, though" in reason
    assert reason.endswith("on one thread")


def test_a_prediction_is_the_work_of_an_utterances_windows():
    """Sixteen windows in 6 s, each in the 12 s that a floor of 10 s makes, decode different lengths of speech."""
    windows = [0.3 + 0.4 * i for i in range(15)] + [6.0]
    work = sum(costs.window_ms("small", 12.0, seconds) for seconds in windows)
    assert predict(catalog.BY_NAME["small"], REFERENCE_S) == pytest.approx(work / 6_000)
    assert predict(catalog.BY_NAME["small"], 2 * REFERENCE_S) == pytest.approx(2 * work / 6_000)


def test_every_size_has_a_cost():
    costed = [predict(size, REFERENCE_S) for size in catalog.SIZES]
    assert all(cost > 0 for cost in costed)


@pytest.mark.parametrize("name", [*LARGEST_FIRST, *ON_GPU])
def test_auto_takes_neither_english_only_nor_distilled_models(name):
    assert len(catalog.BY_NAME[name].languages) > 90


@pytest.mark.parametrize(
    ("megabytes", "english", "expected"),
    [
        (3090, False, "large-v3-turbo (1621 MB)"),
        (1621, False, "small (486 MB)"),
        (486, False, "base (148 MB)"),
        (79, False, "nano (built in)"),
        (486, True, "distil-small.en (335 MB)"),
        (79, True, "nano (built in)"),
    ],
)
def test_a_smaller_model_of_the_same_languages_is_named(megabytes, english, expected):
    assert smaller_than(megabytes * 10**6, english=english) == expected
