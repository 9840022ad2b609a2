"""Batches from other processes, on the device when they are needed."""

import ctypes
import multiprocessing
from collections.abc import Iterator
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from random import Random

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from training.losses import Tensors
from training.settings import Recipe
from training.tokenizer import Tokens
from training.windows.batch import Batch, batches
from training.windows.corpus import Corpus
from training.windows.window import WindowMaker


class Windows(IterableDataset[Batch]):
    """The batches one process makes; no two processes, and no two parts of a run, make the same."""

    def __init__(self, corpus: Path, tokenizer: Path, recipe: Recipe, most_frames: int, seed: int) -> None:
        self._corpus, self._tokenizer, self._recipe = corpus, tokenizer, recipe
        self._most_frames, self._seed = most_frames, seed
        self._share: Synchronized[float] = multiprocessing.Value(ctypes.c_double, 0.0)

    def set_progress(self, share: float) -> None:
        """Tell the processes how far the run has come, 0 to 1."""
        self._share.value = share

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        seed = self._seed + 1_000_003 * (worker.id + 1 if worker else 0)
        maker = WindowMaker(Corpus(self._corpus), Tokens(self._tokenizer), self._recipe, seed)
        return batches(maker, self._most_frames, Random(seed), lambda: self._share.value)


def load(windows: Windows, workers: int, device: torch.device) -> Iterator[Tensors]:
    """Batches on the device, without end; ``workers`` 0 makes them here."""
    on_gpu = device.type == "cuda"
    loader = DataLoader(windows, batch_size=None, num_workers=workers, pin_memory=on_gpu)
    for batch in loader:
        yield Tensors(*(torch.as_tensor(array).to(device, non_blocking=on_gpu) for array in batch))
