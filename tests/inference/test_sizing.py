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
    choice = choose_for_gpu("GeForce", int(free), compute_type)
    assert choice.size.name == name
    assert "GeForce" in choice.reason
    assert f"{free / 1e9:.1f} GB" in choice.reason


def test_on_a_gpu_everything_that_fits_may_stand_in_best_first():
    assert [size.name for size in choose_for_gpu("", 80_000_000_000, "float16").stand_ins] == list(LARGEST_FIRST)
    choice = choose_for_gpu("", 3_500_000_000, "float16")
    assert [size.name for size in choice.stand_ins] == ["small", "base", "tiny"]
    assert choose_for_gpu("", 500_000_000, "float16").stand_ins == ()


def test_more_memory_never_means_a_smaller_model():
    order = [choose_for_gpu("", int(gb * 1e9), "float16").size.parameters for gb in range(1, 20)]
    assert order == sorted(order)


def test_a_faster_cpu_never_means_a_smaller_model():
    chosen = [choose_for_cpu(REFERENCE_S / speed).size.name for speed in (0.1, 1, 3, 10, 30, 100, 1000)]
    assert [LARGEST_FIRST.index(name) for name in chosen] == sorted(map(LARGEST_FIRST.index, chosen), reverse=True)
    assert (chosen[0], chosen[-1]) == ("tiny", "large-v3")


@pytest.mark.parametrize(("larger", "name"), list(pairwise(LARGEST_FIRST)))
def test_the_chosen_size_keeps_up_and_the_next_larger_one_would_not(larger, name):
    """On a CPU that is just fast enough for the one."""
    speed = predict(catalog.BY_NAME[name], REFERENCE_S) / (RTF_LIMIT - 0.001)
    choice = choose_for_cpu(REFERENCE_S / speed)
    assert choice.size.name == name
    assert predict(choice.size, REFERENCE_S / speed) <= RTF_LIMIT
    assert predict(catalog.BY_NAME[larger], REFERENCE_S / speed) > RTF_LIMIT
    assert f"{larger}: " in choice.reason
    assert "on one thread" in choice.reason


def seconds(name, busy):
    """Nano's time on a CPU that the size is predicted to keep so busy."""
    return REFERENCE_S * busy / predict(catalog.BY_NAME[name], REFERENCE_S)


def test_the_size_that_was_just_too_slow_is_shown_above_the_limit():
    choice = choose_for_cpu(seconds("base", 0.5001))
    assert choice.size.name == "tiny"
    assert "base: 51%, limit 50%" in choice.reason


@pytest.mark.parametrize(("larger", "name"), list(pairwise(LARGEST_FIRST)))
@pytest.mark.parametrize("busy", [0.499, 0.501])
def test_what_was_chosen_once_is_chosen_again_though_the_machine_seems_a_fifth_quicker_or_slower(larger, name, busy):
    """On a CPU at the limit between two sizes, whichever was downloaded."""
    first = choose_for_cpu(seconds(larger, busy)).size.name
    assert first in (larger, name)
    for seems in (0.82, 0.9, 1.0, 1.1, 1.19):
        again = choose_for_cpu(seconds(larger, busy * seems), {first})
        assert again.size.name == first, again.reason


def test_what_is_here_is_replaced_only_by_what_is_clearly_quick_enough():
    assert choose_for_cpu(seconds("base", 0.45)).size.name == "base"
    choice = choose_for_cpu(seconds("base", 0.445), {"tiny"})
    assert choice.size.name == "tiny"
    assert "base: 45%, limit 40%" in choice.reason
    assert choose_for_cpu(seconds("base", 0.35), {"tiny"}).size.name == "base"


def test_a_size_that_is_here_may_be_a_little_too_slow_and_the_reason_says_so():
    choice = choose_for_cpu(seconds("base", 0.55), {"base"})
    assert choice.size.name == "base"
    assert "55% busy, and it is here already (limit 60%)" in choice.reason
    assert choose_for_cpu(seconds("base", 0.65), {"base"}).size.name == "tiny"


def test_on_a_cpu_everything_that_would_be_kept_may_stand_in_best_first():
    assert [size.name for size in choose_for_cpu(seconds("base", 0.55)).stand_ins] == ["base", "tiny"]
    assert choose_for_cpu(100 * REFERENCE_S).stand_ins == ()


def test_a_cpu_too_slow_for_any_gets_the_smallest_and_is_told():
    choice = choose_for_cpu(100 * REFERENCE_S)
    assert choice.size.name == "tiny"
    assert "the smallest, though" in choice.reason
    assert choice.reason.endswith("on one thread")


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
