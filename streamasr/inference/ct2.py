"""The CTranslate2 Whisper engine: a batch of windows in, hypotheses out.

One encoder pass serves language detection, decoding and alignment. Every fact of a session travels in its
window; nothing of one is ever kept here.
"""

import math
import zlib
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamasr.core.events import GRID, Hypothesis, Window, Word
from streamasr.core.language import choose_language
from streamasr.errors import ModelError, WindowFailed
from streamasr.inference.features import log_mel
from streamasr.inference.models import ModelEntry
from streamasr.inference.tokens import TimedToken, Vocabulary

CONTEXT_LIMIT = 223
"""Tokens of prompt and hotwords: half the decoder's positions, less one, as Whisper has it."""
MAX_BATCH = {"cpu": 8, "cuda": 32}
"""Windows in a call, unless the server is told otherwise."""
MAX_LENGTH = 448
"""The decoder's positions."""
ALIGNED_STEP = 2 * GRID
"""Samples per encoder frame (20 ms): the resolution of alignment."""
CPU_BATCH_SAMPLES = 80 * 16_000
"""Beyond so much audio in one batch a CPU falls out of its cache and a window costs twice as much."""

COST_SHAPE = ((1.0, 8.0), (2.0, 11.0), (5.0, 16.0), (10.0, 28.0), (15.0, 60.0), (30.0, 311.0))
"""(seconds of encoder input, milliseconds) for encode, decode and align on one core, nano int8; see
docs/topics/batching.md. Other models and machines scale it by one window measured at start."""


class _Decoded(NamedTuple):
    """One row of a batch after generation."""

    window: Window
    language: str
    language_probability: float
    prefix: int
    """How many tokens of ``tokens`` were forced."""
    tokens: list[int]
    no_speech: float


class Ct2Engine:
    """A Whisper model of CTranslate2's on one device."""

    def __init__(
        self,
        entry: ModelEntry,
        *,
        device: str = "cpu",
        compute_type: str = "default",
        threads: int = 0,
        max_batch: int | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Load and run one window, so that the first user does not wait for it.

        Raises:
            ModelError: the files are missing or not in a format that CTranslate2 runs.
        """
        import ctranslate2

        self.vocabulary = Vocabulary(entry.path / "tokenizer.json")
        try:
            self._model = ctranslate2.models.Whisper(
                str(entry.path), device=device, compute_type=compute_type, intra_threads=threads
            )
            self.entry = entry
            self._storage = ctranslate2.StorageView
            self._device = str(self._model.device)
            self._max_batch = max_batch or MAX_BATCH.get(self._device, 8)
            self._scale = 1.0
            self._warm_up(clock)
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"the model in {entry.path} cannot be run: {error}") from error

    def _warm_up(self, clock: Callable[[], float] | None) -> None:
        """Run a window of noise twice; with a clock, the second run scales the cost table."""
        noise = np.random.default_rng(0).normal(0, 1_000, 5 * 16_000).astype(np.int16)
        window = Window(lane="", number=0, kind="final", anchor=0, pcm=noise.tobytes(), encoder_samples=5 * 16_000)
        self.transcribe([window])
        if clock is not None:
            before = clock()
            self.transcribe([window])
            self._scale = max(0.05, (clock() - before) / (_interpolate(5.0) / 1000))

    @property
    def max_batch_size(self) -> int:
        """The most windows one call takes."""
        return self._max_batch

    def batch_key(self, window: Window) -> Hashable:
        """What is one for a whole call: beam, temperature, and where the text begins in the prompt.

        CTranslate2 wants ``<|startoftranscript|>`` at one index in all prompts of a batch, so windows share a
        batch only if their context has the same length.
        """
        context = len(self._context(window))
        return (window.beam_size, window.temperature, context)

    def cost(self, windows: int, encoder_samples: int) -> float:
        """Predicted seconds on the device."""
        one = self._scale * _interpolate(encoder_samples / 16_000) / 1000
        if self._device != "cpu":
            return one * (1 + 0.15 * (windows - 1))
        crowded = windows > 1 and windows * encoder_samples > CPU_BATCH_SAMPLES
        return windows * one * (2.0 if crowded else 0.95 if windows > 1 else 1.0)

    def transcribe(self, batch: Sequence[Window]) -> list[Hypothesis | WindowFailed]:
        """Encode once, tell languages apart where asked, generate, align."""
        length = max(window.encoder_samples for window in batch)
        mel = np.stack([log_mel(np.frombuffer(window.pcm, np.int16), length, self._model.n_mels) for window in batch])
        encoded = self._model.encode(self._storage.from_array(mel), to_cpu=False)
        rows = self._generate(batch, encoded)
        return self._align(rows, encoded)

    def close(self) -> None:
        """Free the device's memory."""
        self._model.unload_model()

    def _context(self, window: Window) -> list[int]:
        return self.vocabulary.context_tokens(window.prompt, window.hotwords, CONTEXT_LIMIT)

    def _languages(self, batch: Sequence[Window], encoded: Any) -> list[tuple[str, float]]:
        """Each window's language: its own, or the likeliest of its candidates."""
        if not self.entry.multilingual:
            return [("en", 1.0) for _ in batch]
        if all(window.language for window in batch):
            return [(window.language or "", 1.0) for window in batch]
        chosen = []
        for window, found in zip(batch, self._model.detect_language(encoded), strict=True):
            if window.language:
                chosen.append((window.language, 1.0))
                continue
            probabilities = {token[2:-2]: float(p) for token, p in found}
            chosen.append(choose_language(probabilities, window.languages, window.previous_language))
        return chosen

    def _generate(self, batch: Sequence[Window], encoded: Any) -> list[_Decoded]:
        languages = self._languages(batch, encoded)
        prompts, prefixes, limit = [], [], 0
        for window, (language, _) in zip(batch, languages, strict=True):
            prefix = list(window.prefix)
            if not prefix and window.prefix_text:
                prefix = self.vocabulary.encode(" " + window.prefix_text.strip())
            head = self._context(window) + self.vocabulary.task_tokens(language, window.task)
            prefixes.append(prefix)
            prompts.append(head + prefix)
            # CTranslate2 gives at most half of max_length to the output, the prefix included.
            limit = max(limit, 2 * (len(prefix) + window.max_new_tokens) + len(head))
        first = batch[0]
        results = self._model.generate(
            encoded,
            prompts,
            beam_size=first.beam_size if first.temperature == 0 else 1,
            num_hypotheses=1,
            max_length=min(MAX_LENGTH, limit),
            sampling_temperature=first.temperature,
            sampling_topk=0 if first.temperature > 0 else 1,
            return_no_speech_prob=True,
            suppress_blank=True,
            suppress_tokens=[-1],
        )
        rows = []
        for window, (language, p), prefix, result in zip(batch, languages, prefixes, results, strict=True):
            tokens = [t for t in result.sequences_ids[0] if t < self.vocabulary.first_special]
            tokens = tokens[: len(prefix) + window.max_new_tokens]
            rows.append(_Decoded(window, language, p, len(prefix), tokens, result.no_speech_prob))
        return rows

    def _align(self, rows: list[_Decoded], encoded: Any) -> list[Hypothesis | WindowFailed]:
        """Times and probabilities of every row's tokens, one call for each language among the rows."""
        answers: list[Hypothesis | WindowFailed | None] = [None] * len(rows)
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, row in enumerate(rows):
            if row.tokens:
                start = tuple(self.vocabulary.task_tokens(row.language, row.window.task))
                groups.setdefault(start, []).append(index)
            else:
                answers[index] = self._hypothesis(row, ())
        for start, indices in groups.items():
            part = encoded if len(indices) == len(rows) else self._rows(encoded, indices)
            frames = [min(3000, -(-rows[i].window.samples // GRID)) for i in indices]
            aligned = self._model.align(
                part, list(start), [rows[i].tokens for i in indices], [max(2, f) for f in frames]
            )
            for index, result in zip(indices, aligned, strict=True):
                row = rows[index]
                timed = _timed(row.tokens, result.alignments, result.text_token_probs, row.window)
                answers[index] = self._hypothesis(row, timed)
        return [a if a is not None else WindowFailed("no answer for a window") for a in answers]

    def _rows(self, encoded: Any, indices: list[int]) -> Any:
        """Some rows of the encoder's output; by way of the CPU, since CTranslate2 cannot index."""
        import ctranslate2

        on_cpu = encoded.to_device(ctranslate2.Device.cpu) if self._device != "cpu" else encoded
        part: NDArray[Any] = np.ascontiguousarray(np.array(on_cpu)[indices])
        view = self._storage.from_array(part)
        return view.to_device(ctranslate2.Device.cuda) if self._device != "cpu" else view

    def _hypothesis(self, row: _Decoded, timed: Sequence[TimedToken]) -> Hypothesis:
        new = timed[row.prefix :]
        text = self.vocabulary.decode(row.tokens).encode()
        return Hypothesis(
            lane=row.window.lane,
            number=row.window.number,
            words=_separated(self.vocabulary.words(timed, row.language)),
            language=row.language,
            language_probability=row.language_probability,
            no_speech_probability=float(row.no_speech),
            average_logprob=(sum(math.log(max(t.probability, 1e-6)) for t in new) / len(new) if new else 0.0),
            compression_ratio=len(text) / len(zlib.compress(text)) if text else 1.0,
        )


def _interpolate(seconds: float) -> float:
    """Milliseconds of ``COST_SHAPE`` for an encoder input of so many seconds."""
    return float(np.interp(seconds, [s for s, _ in COST_SHAPE], [ms for _, ms in COST_SHAPE]))


def _timed(
    tokens: list[int], pairs: Sequence[tuple[int, int]], probabilities: Sequence[float], window: Window
) -> list[TimedToken]:
    """Each token from the frame where the alignment's path reaches it to where it reaches the next."""
    starts = [-1] * (len(tokens) + 1)
    for token, frame in pairs:
        if token < len(starts) and starts[token] < 0:
            starts[token] = frame
    last = -(-window.samples // ALIGNED_STEP)
    if starts[-1] < 0:
        starts[-1] = last
    for index in range(len(starts) - 2, -1, -1):  # a token the path skipped begins where the next does
        if starts[index] < 0:
            starts[index] = starts[index + 1]
    place = [min(window.end, window.anchor + max(0, s) * ALIGNED_STEP) for s in starts]
    return [
        TimedToken(token, place[i], max(place[i], place[i + 1]), float(p))
        for i, (token, p) in enumerate(zip(tokens, probabilities, strict=False))
    ]


def _separated(words: tuple[Word, ...]) -> tuple[Word, ...]:
    """Words whose text is not only space."""
    return tuple(word for word in words if word.text.strip())
