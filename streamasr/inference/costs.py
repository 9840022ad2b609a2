"""What a window costs each size of model, as measured: the committed table, and how to read between its rows.

The numbers are those of one core of the machine that measured them (`python -m benchmarks.model_costs` writes
`costs.json`; docs/topics/model-costs.md shows them). What travels to other machines is a size's cost relative to
nano's, which takes a moment to measure there. Knows nothing of models' files, engines or this machine.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from itertools import pairwise

import msgspec

TOKENS_PER_SECOND = 3.0
"""Tokens in a second of speech: what the table's windows decode."""

BATCH_FACTORS = ((0.0, 0.85), (8.0, 0.88), (16.0, 0.97), (32.0, 1.2), (64.0, 1.4))
"""(seconds of encoder input in a batch, cost of each of its windows relative to one alone): nano, one core, from
``python -m benchmarks.simulated --calibrate``."""
CACHED_S = 12.0
"""A longer window leaves the processor's cache by itself."""

SAME_SHAPE = {
    "large-v1": "large-v3",
    "large-v2": "large-v3",  # 80 mel bins for 128: a thousandth of its cost
    "large": "large-v3",
    "turbo": "large-v3-turbo",
    "distil-large-v2": "distil-large-v3",
    "distil-large-v3.5": "distil-large-v3",
}
"""Sizes that share another's row; so does every English-only size with the size it is named after."""


class SizeCost(msgspec.Struct, frozen=True, kw_only=True):
    """One row: a size's shape, and milliseconds at each of the table's window lengths."""

    encoder_layers: int
    width: int
    decoder_layers: int
    memory_mb: int
    """What a process grows by when it loads the model in int8 and runs the engine's first window on a CPU."""
    features_ms: tuple[float, ...]
    encode_ms: tuple[float, ...]
    decode_ms: tuple[float, ...]
    """For ``TOKENS_PER_SECOND`` tokens a second of window."""
    align_ms: tuple[float, ...]


class CostTable(msgspec.Struct, frozen=True, kw_only=True):
    """The committed file."""

    measured_on: str
    seconds: tuple[float, ...]
    """Lengths of the encoder's input, ascending."""
    sizes: dict[str, SizeCost]


@cache
def table() -> CostTable:
    """The committed table."""
    return msgspec.json.decode(files("streamasr.inference").joinpath("costs.json").read_bytes(), type=CostTable)


def window_ms(size: str, encoder_s: float, speech_s: float | None = None) -> float:
    """Milliseconds of one reference core for one window: features, encode, decode, align; int8, alone in its batch.

    Args:
        size: a size's name, ``nano`` among them (``medium.en``, ``turbo`` and the like are known).
        encoder_s: seconds the encoder sees, 0 to 30; between the table's rows, a line.
        speech_s: seconds of speech to be decoded in it; all of the window unless told.

    Raises:
        KeyError: the table does not know the size.
    """
    known = row(size)
    seconds = table().seconds
    share = 1.0 if speech_s is None else speech_s / encoder_s
    fixed = _between(seconds, known.features_ms, encoder_s) + _between(seconds, known.encode_ms, encoder_s)
    return fixed + share * (
        _between(seconds, known.decode_ms, encoder_s) + _between(seconds, known.align_ms, encoder_s)
    )


def batch_factor(size: str, windows: int, encoder_s: float) -> float:
    """What a window of a batch costs on a CPU, relative to the same window alone.

    A batch saves decoding, and costs encoding as soon as it is larger than the processor's cache; one window of
    more than ``CACHED_S`` is so by itself. Measured on nano (``BATCH_FACTORS``); for larger models, whose weights
    are what passes through the cache, only that decoding together saves something.
    """
    if windows == 1:
        return 1.0
    if row(size) is not row("nano") or encoder_s > CACHED_S:
        return 0.95
    return _between([s for s, _ in BATCH_FACTORS], [f for _, f in BATCH_FACTORS], windows * encoder_s)


def row(size: str) -> SizeCost:
    """The row a size has or shares.

    Raises:
        KeyError: the table does not know the size.
    """
    sizes = table().sizes
    for name in (size, SAME_SHAPE.get(size, size), size.removesuffix(".en")):
        if name in sizes:
            return sizes[name]
    raise KeyError(f"{size!r} is not in the cost table; it has {', '.join(sizes)}")


def nearest(encoder_layers: int, width: int, decoder_layers: int) -> str:
    """The size of this shape, or the one whose encoder, and then decoder, does the most nearly equal work."""

    def distance(name: str) -> tuple[float, float]:
        known = table().sizes[name]
        return (
            abs(math.log(_work(encoder_layers, width) / _work(known.encoder_layers, known.width))),
            abs(math.log(_work(decoder_layers, width) / _work(known.decoder_layers, known.width))),
        )

    return min(table().sizes, key=distance)


def _work(layers: int, width: int) -> float:
    return layers * width**2


def _between(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    """The point at ``x`` on the line through the points; before the first and after the last, their heights."""
    if x <= xs[0]:
        return ys[0]
    if x >= xs[-1]:
        return ys[-1]
    at = bisect_right(xs, x)
    (left, low), (right, high) = list(pairwise(zip(xs, ys, strict=True)))[at - 1]
    return low + (high - low) * (x - left) / (right - left)
