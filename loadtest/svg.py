"""Plots as SVG text: axes with round numbers and units, lines, columns, a divided bar. Pure.

Colours are CSS variables, so a page decides between light and dark; ``standalone`` gives a file its own. Nothing runs
in them: what a reader can point at has a ``title``.
"""

import math
from collections.abc import Sequence
from html import escape

import msgspec

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 52, 44

COLOURS = """
:root{--paper:#fff;--ink:#1d2433;--soft:#5b6577;--grid:#dfe4ec;--c0:#0b6bcb;--c1:#c2410c;--c2:#0f8a5f;--c3:#8b46c9;\
--c4:#b7791f;--c5:#0e8fa3;--c6:#c02675;--c7:#7b8494}
@media(prefers-color-scheme:dark){:root{--paper:#12161f;--ink:#e6eaf2;--soft:#9aa5b8;--grid:#2a3140;--c0:#5aa9f5;\
--c1:#f28b54;--c2:#4cc796;--c3:#b98bec;--c4:#e0b252;--c5:#4fc3d4;--c6:#ef77b0;--c7:#8e98aa}}
"""
"""Of text, grid and series, on light and on dark; told apart by the colour-blind too (by lightness)."""

RULES = """
svg{font:12px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
svg text{fill:var(--soft)}svg .head{fill:var(--ink);font-weight:600;font-size:14px}
svg .value{fill:var(--ink)}svg .grid{stroke:var(--grid);stroke-width:1}svg .axis{stroke:var(--soft);stroke-width:1}
svg .mark{stroke:var(--soft);stroke-width:1;stroke-dasharray:4 4}
svg .line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
"""


class Series(msgspec.Struct, frozen=True):
    """One line; where y is None there is a gap."""

    name: str
    points: tuple[tuple[float, float | None], ...]
    colour: int = 0
    dots: bool = False


class Axis(msgspec.Struct, frozen=True):
    """What an axis shows, with its unit, and how far; None: as far as there are values."""

    label: str
    low: float | None = 0.0
    high: float | None = None


class Mark(msgspec.Struct, frozen=True):
    """A horizontal line at a value that means something."""

    at: float
    label: str


def standalone(svg: str) -> str:
    """A plot as a file of its own, with its colours."""
    head, _, rest = svg.partition(">")
    paper = '<rect width="100%" height="100%" fill="var(--paper)"/>'
    return f'{head} xmlns="http://www.w3.org/2000/svg"><style>{COLOURS}{RULES}</style>{paper}{rest}\n'


def lines(title: str, series: Sequence[Series], x: Axis, y: Axis, marks: Sequence[Mark] = ()) -> str:
    """Lines over a number. What lies above ``y.high`` is cut off."""
    xs = [px for line in series for px, py in line.points if py is not None]
    ys = [py for line in series for _, py in line.points if py is not None] + [mark.at for mark in marks]
    frame = _Frame(_range(x, xs), _range(y, ys))
    body = [_legend(series), frame.y_axis(y.label), frame.x_axis(x.label)]
    for mark in marks:
        if mark.at <= frame.y[1]:
            at = frame.py(mark.at)
            body.append(f'<line class="mark" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
            body.append(_text(LEFT + 4, at - 4 if at > TOP + 6 else at + 14, mark.label))
    return _svg(title, [*body, frame.inside("".join(_line(line, frame) for line in series))])


def columns(title: str, values: Sequence[tuple[str, float]], x: str, y: Axis, *, colour: int = 0) -> str:
    """A column for each label, in order; labels are thinned out where they would overlap."""
    frame = _Frame((0.0, float(max(1, len(values)))), _range(y, [value for _, value in values]))
    body = [frame.y_axis(y.label), _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x, anchor="middle")]
    every = math.ceil(len(values) / 16)
    gap = 0.0 if len(values) > 40 else 0.12
    for index, (label, value) in enumerate(values):
        left, right, top = frame.px(index + gap), frame.px(index + 1 - gap), frame.py(value)
        size = f'width="{max(0.5, right - left - 0.5):.1f}" height="{max(0.0, frame.bottom - top):.1f}"'
        tip = f"<title>{escape(label)}: {_number(value)}</title>"
        body.append(f'<rect x="{left:.1f}" y="{top:.1f}" {size} fill="var(--c{colour})">{tip}</rect>')
        if index % every == 0:
            body.append(_text(frame.px(index + 0.5), frame.bottom + 16, label, anchor="middle"))
    body.append(_rule(LEFT, WIDTH - RIGHT, frame.bottom, "axis"))
    return _svg(title, body)


def divided(title: str, parts: Sequence[tuple[str, float]], unit: str) -> str:
    """One bar divided into parts, and beneath it what each part is."""
    total = sum(value for _, value in parts) or 1.0
    width, at = WIDTH - 2 * RIGHT, float(RIGHT)
    body = []
    for index, (name, value) in enumerate(parts):
        length = width * value / total
        tip = f"<title>{escape(name)}: {value:.1f} {escape(unit)}</title>"
        fill = f'fill="var(--c{index % 8})"'
        body.append(f'<rect x="{at:.1f}" y="40" width="{max(0.0, length - 1):.1f}" height="36" {fill}>{tip}</rect>')
        at += length
        left, top = RIGHT + (index % 2) * (width // 2 + 8), 104 + (index // 2) * 24
        body.append(f'<rect x="{left}" y="{top - 10}" width="11" height="11" rx="2" {fill}/>')
        body.append(_text(left + 18, top, name))
        share = f"{value:.1f} {unit} · {100 * value / total:.0f} %"
        body.append(_text(left + width // 2 - 12, top, share, anchor="end", kind="value"))
    return _svg(title, body, height=104 + 24 * math.ceil(len(parts) / 2))


def ticks(low: float, high: float, count: int = 6) -> list[float]:
    """About ``count`` round numbers from ``low`` to ``high``: multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / count
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(n * step, 10) for n in range(first, last + 1)]


class _Frame:
    """Where values lie in the picture."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        self.x, self.y = x, y
        self.bottom = HEIGHT - BOTTOM

    def px(self, value: float) -> float:
        low, high = self.x
        return LEFT + (WIDTH - RIGHT - LEFT) * (value - low) / (high - low)

    def py(self, value: float) -> float:
        low, high = self.y
        return self.bottom - (self.bottom - TOP) * (value - low) / (high - low)

    def inside(self, drawn: str) -> str:
        """What lies between the axes of it, with a dot's breadth around; the rest is cut off."""
        top, height = TOP - 5, self.bottom - TOP + 10
        return f'<svg y="{top}" width="{WIDTH}" height="{height}" viewBox="0 {top} {WIDTH} {height}">{drawn}</svg>'

    def y_axis(self, label: str) -> str:
        """Grid lines with their numbers, and the label above them."""
        parts = []
        for value in ticks(*self.y, count=5):
            at = self.py(value)
            parts.append(_rule(LEFT, WIDTH - RIGHT, at, "grid"))
            parts.append(_text(LEFT - 8, at + 4, _number(value), anchor="end"))
        at = (TOP + self.bottom) / 2
        turned = f'transform="rotate(-90 14 {at:.0f})" x="14" y="{at:.0f}" text-anchor="middle"'
        return "".join([*parts, f"<text {turned}>{escape(label)}</text>"])

    def x_axis(self, label: str) -> str:
        parts = [_rule(LEFT, WIDTH - RIGHT, self.bottom, "axis")]
        parts += [
            _text(self.px(value), self.bottom + 16, _number(value), anchor="middle")
            for value in ticks(*self.x, count=8)
        ]
        parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, label, anchor="middle"))
        return "".join(parts)


def _range(axis: Axis, values: Sequence[float]) -> tuple[float, float]:
    """From where to where: to a round number above the largest value, and never nothing."""
    low = axis.low if axis.low is not None else min(values, default=0.0)
    top = axis.high if axis.high is not None else max(values, default=1.0)
    if top <= low:
        top = low + 1.0
    step = ticks(low, top, 5)
    high = top if axis.high is not None or len(step) < 2 else math.ceil(top / (step[1] - step[0])) * (step[1] - step[0])
    return low, max(high, top)


def _line(line: Series, frame: _Frame) -> str:
    stroke, parts, run = f'stroke="var(--c{line.colour})"', [], list[str]()
    for px, py in [*line.points, (0.0, None)]:
        if py is not None:
            run.append(f"{frame.px(px):.1f},{frame.py(py):.1f}")
            if line.dots:
                tip = f"<title>{escape(line.name)}: {_number(py)} at {_number(px)}</title>"
                place = f'cx="{frame.px(px):.1f}" cy="{frame.py(py):.1f}"'
                parts.append(f'<circle {place} r="3.5" fill="var(--c{line.colour})">{tip}</circle>')
        elif run:
            parts.insert(0, f'<polyline class="line" {stroke} points="{" ".join(run)}"/>')
            run = []
    return "".join(parts)


def _legend(series: Sequence[Series]) -> str:
    if len(series) < 2:
        return ""
    parts, at = [], float(LEFT)
    for line in series:
        parts.append(f'<rect x="{at:.0f}" y="32" width="14" height="4" rx="2" fill="var(--c{line.colour})"/>')
        parts.append(_text(at + 20, 38, line.name))
        at += 40 + 6.6 * len(line.name)
    return "".join(parts)


def _svg(title: str, body: Sequence[str], height: int = HEIGHT) -> str:
    head = f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
    return "".join([head, _text(RIGHT, 18, title, kind="head"), *body, "</svg>"])


def _rule(left: float, right: float, at: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{left}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _number(value: float) -> str:
    """With as many digits as a reader needs."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return f"{value:.3g}"
