"""Windows of about one length put together, padded to arrays."""

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.mel import Floats
from training.windows.targets import IGNORED
from training.windows.window import TrainingWindow, WindowMaker

POOL_BATCHES = 8
"""So many batches' worth of windows are sorted by length before they are cut into batches."""
MEAN_FRAMES = 700
"""Only to know how many windows that is."""
REFRESH_POOLS = 20

Ints = NDArray[np.int64]


class Batch(NamedTuple):
    """B windows of T mel frames and L decoder positions."""

    mel: Floats
    """(B, mels, T)."""
    tokens: Ints
    """(B, L): the decoder's input."""
    targets: Ints
    """(B, L), IGNORED where nothing is learned."""
    letters: Ints
    """(B, most letters), zeros after the end."""
    letter_counts: Ints
    """(B,)."""
    frames: Ints
    """(B, T / 2): the letter at each encoder frame, IGNORED in the padding."""
    spans: Ints
    """(B, L, 2): first and last encoder frame of each target, -1 where there is none."""


def collate(windows: Sequence[TrainingWindow]) -> Batch:
    """The arrays of some windows, padded to multiples that keep the number of shapes small."""
    mels = windows[0].mel.shape[0]
    frames = _round_up(max(w.mel.shape[1] for w in windows), 20)
    positions = _round_up(max(len(w.targets.tokens) for w in windows), 8)
    most = _round_up(max(1, *(len(w.targets.letters) for w in windows)), 8)
    count = len(windows)
    batch = Batch(
        mel=np.zeros((count, mels, frames), np.float32),
        tokens=np.zeros((count, positions), np.int64),
        targets=np.full((count, positions), IGNORED, np.int64),
        letters=np.zeros((count, most), np.int64),
        letter_counts=np.array([len(w.targets.letters) for w in windows], np.int64),
        frames=np.full((count, frames // 2), IGNORED, np.int64),
        spans=np.full((count, positions, 2), -1, np.int64),
    )
    last = frames // 2 - 1
    for i, (mel, said) in enumerate((w.mel, w.targets) for w in windows):
        batch.mel[i, :, : mel.shape[1]] = mel
        batch.tokens[i, : len(said.tokens)] = said.tokens
        batch.targets[i, : len(said.targets)] = said.targets
        batch.letters[i, : len(said.letters)] = said.letters
        batch.frames[i, : len(said.frames)] = said.frames
        for j, span in enumerate(said.spans):
            if span is not None:
                batch.spans[i, j] = min(max(0, span[0]), last), min(span[1], last)
    return batch


def batches(maker: WindowMaker, most_frames: int, rng: Random, progress: Callable[[], float]) -> Iterator[Batch]:
    """Batches without end, each of at most ``most_frames`` mel frames with its padding."""
    pools = 0
    while True:
        pools += 1
        if pools % REFRESH_POOLS == 0:
            maker.refresh()
        size = max(8, POOL_BATCHES * most_frames // MEAN_FRAMES)
        windows = [maker.make(progress()) for _ in range(min(size, 2_000))]
        groups = divide(windows, most_frames)
        rng.shuffle(groups)
        for group in groups:
            yield collate(group)


def divide(windows: Sequence[TrainingWindow], most_frames: int) -> list[list[TrainingWindow]]:
    """Windows by length into groups of at most ``most_frames``; one that is longer stands alone."""
    groups: list[list[TrainingWindow]] = []
    group: list[TrainingWindow] = []
    for window in sorted(windows, key=lambda w: w.mel.shape[1]):
        if group and window.mel.shape[1] * (len(group) + 1) > most_frames:
            groups.append(group)
            group = []
        group.append(window)
    return [*groups, group] if group else groups


def _round_up(number: int, step: int) -> int:
    return -(-number // step) * step
