"""Plots: axes with round numbers, and every value where it belongs."""

import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest import svg
from loadtest.svg import Axis, Mark, Series

LINE = Series("a < b", ((0.0, 1.0), (1.0, 3.0), (2.0, None), (3.0, 2.0), (4.0, 4.0)), dots=True)


def parsed(plot: str) -> ET.Element:
    return ET.fromstring(plot)


def polylines(plot: str) -> list[list[tuple[float, float]]]:
    found = [line.get("points").split() for line in parsed(plot).iter("polyline")]
    return [[tuple(map(float, point.split(","))) for point in points] for points in found]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0, 60, [0, 20, 40, 60]), (-0.1, 0.3, [-0.1, 0, 0.1, 0.2, 0.3])],
)
def test_ticks_are_round(low, high, expected):
    assert svg.ticks(low, high, 5) == pytest.approx(expected)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 10))
def test_ticks_lie_within_and_are_neither_few_nor_many(low, width, count):
    found = svg.ticks(low, low + width, count)

    assert all(low - 1e-6 * width <= tick <= low + width * (1 + 1e-6) for tick in found)
    assert count / 2.5 - 1 <= len(found) <= count + 2


def test_a_line_has_a_gap_where_there_is_no_value():
    plot = svg.lines("t", [LINE], Axis("s"), Axis("ms"))

    before, after = sorted(polylines(plot))
    assert (len(before), len(after)) == (2, 2)
    assert before[0] == (svg.LEFT, pytest.approx(svg.HEIGHT - svg.BOTTOM - (svg.HEIGHT - svg.BOTTOM - svg.TOP) / 4))
    assert after[1] == (svg.WIDTH - svg.RIGHT, svg.TOP)
    assert len(list(parsed(plot).iter("circle"))) == 4


def test_what_is_above_an_axis_keeps_its_slope_and_is_cut_off():
    plot = svg.lines("t", [Series("x", ((0.0, 0.0), (1.0, 10.0)))], Axis("s"), Axis("ms", 0.0, 5.0))

    [[_, (_, top)]] = polylines(plot)
    inner = next(parsed(plot).iter("svg")).find("svg")
    assert top < svg.TOP - 10
    assert inner.get("viewBox").split()[1] == str(svg.TOP - 5)


def test_a_mark_outside_is_left_out():
    plot = svg.lines("t", [LINE], Axis("s"), Axis("ms", 0.0, 4.0), [Mark(2, "in"), Mark(5, "out")])

    assert ">in<" in plot
    assert ">out<" not in plot


def test_columns_are_as_high_as_their_values():
    rects = list(parsed(svg.columns("t", [("1", 2.0), ("2", 4.0), ("3", 0.0)], "size", Axis("batches"))).iter("rect"))

    heights = [float(rect.get("height")) for rect in rects]
    assert heights[1] == pytest.approx(2 * heights[0], abs=0.11)
    assert heights[2] == 0
    assert [rect[0].text for rect in rects] == ["1: 2", "2: 4", "3: 0"]


def test_many_columns_do_not_write_over_one_another():
    plot = svg.columns("t", [(f"#{n}", 1.0) for n in range(100)], "x", Axis("y"))

    assert len(re.findall(r">#\d+</text>", plot)) <= 16


def test_a_divided_bar_is_divided_by_share():
    plot = parsed(svg.divided("t", [("encode", 30.0), ("decode", 10.0)], "ms"))

    bars = [float(rect.get("width")) for rect in plot.iter("rect") if rect.get("height") == "36"]
    assert bars[0] + 1 == pytest.approx(3 * (bars[1] + 1), abs=0.5)
    assert "30.0 ms · 75 %" in [text.text for text in plot.iter("text")]


@pytest.mark.parametrize(
    "plot",
    [
        svg.lines("<&>", [], Axis("s"), Axis("%")),
        svg.lines("<&>", [Series("x", ((1.0, 0.0),))], Axis("s", None), Axis("%")),
        svg.columns("<&>", [], "x", Axis("y")),
        svg.divided("<&>", [("<&>", 0.0)], "ms"),
    ],
    ids=["no line", "a point", "no columns", "no time"],
)
def test_little_to_show_is_shown_too(plot):
    assert parsed(svg.standalone(plot)).get("aria-label") == "<&>"
