"""How the encoder starts out: a position code in channels of its own, and heads that look a few frames away.

Without this a small encoder stays a frame-by-frame classifier for a long time. Whisper stores its encoder
positions as a table, so any code can be used.
"""

import math

import torch
from torch import Tensor

FREQUENCIES = 24
POSITION_CHANNELS = 2 * FREQUENCIES
"""The code lives in the first channels; the convolutions start out leaving them alone."""
AMPLITUDE = 1.5
OFFSETS = ((-5, -2, 2, 5, 12), (-8, -3, 3, 8, 0))
"""Frames away that the first five heads of even and odd layers start out attending to."""


def sinusoids(length: int, channels: int) -> Tensor:
    """Whisper's sinusoidal code, (length, channels)."""
    step = math.log(10_000) / (channels // 2 - 1)
    angles = torch.arange(length)[:, None] * torch.exp(-step * torch.arange(channels // 2))[None]
    return torch.cat([angles.sin(), angles.cos()], 1)


def frequencies() -> Tensor:
    """Radians a frame, (FREQUENCIES,)."""
    return 1.2 * (1 / 400) ** (torch.arange(FREQUENCIES) / (FREQUENCIES - 1))


def position_table(length: int, channels: int) -> Tensor:
    """The encoder's position code, (length, channels)."""
    angles = torch.arange(length)[:, None] * frequencies()[None]
    rest = torch.zeros(length, channels - POSITION_CHANNELS)
    return torch.cat([AMPLITUDE * angles.sin(), AMPLITUDE * angles.cos(), rest], 1)


class LocalHeads:
    """Starts the first five heads of one encoder layer off attending to fixed offsets."""

    def __init__(self, layer: int) -> None:
        self._offsets = OFFSETS[layer % 2]
        self._gain = 1.3 * (1.4 + 0.12 * layer)

    def start(self, queries: Tensor, keys: Tensor, heads: int) -> None:
        """Overwrite these heads' rows of both matrices, (width, width), but for a tenth of what they were."""
        size = queries.shape[0] // heads
        for head, offset in enumerate(self._offsets[: heads - 1]):
            rows = slice(head * size, (head + 1) * size)
            q, k = self._rotations(size, queries.shape[1], offset)
            queries[rows] = q + 0.1 * queries[rows]
            keys[rows] = k + 0.1 * keys[rows]

    def _rotations(self, size: int, width: int, offset: int) -> tuple[Tensor, Tensor]:
        """Queries turned by ``offset`` frames against the keys, both (size, width)."""
        q, k = torch.zeros(size, width), torch.zeros(size, width)
        turns = (frequencies()[: size // 2] * offset).tolist()
        for j, turn in enumerate(turns):
            c, s = self._gain * math.cos(turn), self._gain * math.sin(turn)
            q[2 * j, j], q[2 * j, FREQUENCIES + j] = c, s
            q[2 * j + 1, FREQUENCIES + j], q[2 * j + 1, j] = c, -s
            k[2 * j, j] = k[2 * j + 1, FREQUENCIES + j] = self._gain
        return q, k
