"""Real answers, heard once: a window's hypothesis and a recording's speech scores, kept by what they were made of.

So a simulation costs the models' time only where it asks something new, and the answers of a window never depend on
which others shared its batch. Knows nothing of sessions or costs.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.evalset import Pcm
from streamasr.core.events import FRAME, Hypothesis, Window
from streamasr.errors import WindowFailed
from streamasr.inference.engine import Engine
from streamasr.inference.scorer import VadSource

SCORED_AT_ONCE = 64


class Store:
    """Bytes by key in one file, which several processes may use.

    Args:
        path: the file, made if it is not there; None: forgotten at the end.
    """

    def __init__(self, path: Path | None = None) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._file = sqlite3.connect(":memory:" if path is None else path, timeout=60, isolation_level=None)
        self._file.execute("PRAGMA journal_mode = WAL")
        self._file.execute("PRAGMA synchronous = OFF")  # what a crash loses is heard again
        self._file.execute("CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")

    def get(self, key: bytes) -> bytes | None:
        """What is kept under ``key``."""
        row = self._file.execute("SELECT value FROM answers WHERE key = ?", (key,)).fetchone()
        return None if row is None else bytes(row[0])

    def put(self, key: bytes, value: bytes) -> None:
        """Keep it."""
        self._file.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, value))

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


class Recall:
    """An engine that hears equal windows once, each alone.

    Args:
        engine: loads the real one, when something new is asked first.
        name: of the model and what runs it: answers of another name are not taken.
        store: where answers are kept.
        max_batch_size: the most windows in a call.
        cost: the batcher's estimate: seconds for so many windows of so many encoder samples.
    """

    parallel = 1

    def __init__(
        self,
        engine: Callable[[], Engine],
        name: str,
        store: Store,
        max_batch_size: int,
        cost: Callable[[int, int], float],
    ) -> None:
        self._factory = engine
        self._engine: Engine | None = None
        self._name = name.encode()
        self._store = store
        self.max_batch_size = max_batch_size
        self.cost = cost
        self.tokens: list[int] = []
        """How many tokens each window of the last batch was decoded to, its prefix included."""
        self.heard = 0
        """Windows that the real engine was asked for."""

    def batch_key(self, window: Window) -> Hashable:
        """As the real one's, which counts the context's tokens; equal texts have as many."""
        return window.beam_size, window.temperature, window.prompt, window.hotwords

    def transcribe(self, batch: Sequence[Window]) -> list[Hypothesis | WindowFailed]:
        """One answer for each window, in order."""
        answers = [self._answer(window) for window in batch]
        self.tokens = [
            sum(len(word.tokens) for word in answer.words) if isinstance(answer, Hypothesis) else 0
            for answer in answers
        ]
        return answers

    def close(self) -> None:
        """Free the real engine."""
        if self._engine is not None:
            self._engine.close()

    def _answer(self, window: Window) -> Hypothesis | WindowFailed:
        # Who asks, when and how urgently does not change what is heard.
        asked = msgspec.structs.replace(window, lane="", number=0, kind="final", anchor=0, budget_s=0.0)
        key = hashlib.sha256(self._name + msgspec.msgpack.encode(asked)).digest()
        kept = self._store.get(key)
        if kept is None:
            self._engine = self._engine or self._factory()
            self.heard += 1
            (answer,) = self._engine.transcribe([asked])
            if isinstance(answer, WindowFailed):
                return answer
            kept = msgspec.msgpack.encode(answer)
            self._store.put(key, kept)
        known = msgspec.msgpack.decode(kept, type=Hypothesis)
        words = tuple(
            msgspec.structs.replace(word, start=word.start + window.anchor, end=word.end + window.anchor)
            for word in known.words
        )
        return msgspec.structs.replace(known, lane=window.lane, number=window.number, words=words)


class Scored:
    """A lane whose audio is scored already: hands the scores out in order."""

    def __init__(self, scores: NDArray[np.float32]) -> None:
        self._scores = scores
        self._at = 0

    def score(self, frames: NDArray[np.float32]) -> list[float]:
        """The next frames' scores, shape (n, 512)."""
        self._at += len(frames)
        return [float(score) for score in self._scores[self._at - len(frames) : self._at]]


def scores(pcm: Pcm, vad: VadSource, name: str, store: Store) -> NDArray[np.float32]:
    """The score of every whole frame of a recording, shape (n // 512,); ``name`` is the model's."""
    whole = pcm[: len(pcm) // FRAME * FRAME]
    key = hashlib.sha256(name.encode() + whole.tobytes()).digest()
    kept = store.get(key)
    if kept is None:
        lane = vad.lane()
        frames = whole.reshape(-1, FRAME).astype(np.float32) / np.float32(32768)
        parts = [lane.score(frames[at : at + SCORED_AT_ONCE]) for at in range(0, len(frames), SCORED_AT_ONCE)]
        kept = np.array([score for part in parts for score in part], np.float32).tobytes()
        store.put(key, kept)
    return np.frombuffer(kept, np.float32)
