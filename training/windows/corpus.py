"""The speech corpus on disk: shards of int16 audio, and what is said in them and when.

A shard is ``NAME.i16`` (16 kHz samples, one utterance after the other) and ``NAME.msgpack`` (its utterances).
The second is written last, so a shard without it does not exist.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray


class Utterance(msgspec.Struct, frozen=True, kw_only=True):
    """One utterance of a shard. Samples of 16 kHz audio; word times count from the utterance's first."""

    offset: int
    samples: int
    words: tuple[str, ...]
    """As written."""
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    voice: str
    """``engine:voice``."""
    language: str


class Entry(msgspec.Struct, frozen=True):
    """An utterance and the shard it is in."""

    shard: int
    utterance: Utterance


def write_shard(folder: Path, name: str, audio: Sequence[NDArray[np.int16]], utterances: Sequence[Utterance]) -> None:
    """Write one shard; afterwards it is there as a whole."""
    np.concatenate(audio).tofile(folder / f"{name}.i16")
    unfinished = folder / f"{name}.unfinished"
    unfinished.write_bytes(msgspec.msgpack.encode(list(utterances)))
    unfinished.rename(folder / f"{name}.msgpack")


def shard_seconds(folder: Path, name: str) -> float | None:
    """The length of a shard's speech; None if it does not exist."""
    if not (folder / f"{name}.msgpack").exists():
        return None
    return (folder / f"{name}.i16").stat().st_size / 2 / 16_000


class Corpus:
    """All shards of a folder, read when asked for; ``refresh`` finds those that came since."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: set[str] = set()
        self._audio: list[np.memmap[tuple[int], np.dtype[np.int16]]] = []
        self.entries: list[Entry] = []
        self.refresh()

    def refresh(self) -> None:
        """Take in the shards that are new.

        Raises:
            ValueError: there are none at all.
        """
        for path in sorted(self._folder.glob("*.msgpack")):
            if path.stem in self._read:
                continue
            self._read.add(path.stem)
            shard = len(self._audio)
            self._audio.append(np.memmap(path.with_suffix(".i16"), np.int16, "r"))
            utterances = msgspec.msgpack.decode(path.read_bytes(), type=list[Utterance])
            self.entries += [Entry(shard, utterance) for utterance in utterances]
        if not self.entries:
            raise ValueError(f"{self._folder} has no speech yet: run `python -m training synthesise` first")

    def audio(self, entry: Entry) -> NDArray[np.float32]:
        """An utterance's samples, shape (n,), -1 to 1."""
        first, size = entry.utterance.offset, entry.utterance.samples
        piece = self._audio[entry.shard][first : first + size]
        return piece.astype(np.float32) / np.float32(32768)
