"""The CTranslate2 Whisper engine: a batch of windows in, hypotheses out.

One encoder pass serves language detection, decoding and alignment. Every fact of a session travels in its
window; nothing of one is ever kept here.
"""

import json
import logging
import math
import time
import zlib
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from streamasr.core.events import GRID, Hypothesis, Window, Word
from streamasr.core.language import choose_language
from streamasr.errors import ModelError, WindowFailed
from streamasr.inference import costs, hardware
from streamasr.inference.engine import Stages
from streamasr.inference.features import MelCache, log_mel
from streamasr.inference.models import ModelEntry
from streamasr.inference.tokens import TimedToken, Vocabulary
from streamasr.inference.weights import Dimensions, dimensions

CONTEXT_LIMIT = 223
"""Tokens of prompt and hotwords: half the decoder's positions, less one, as Whisper has it."""
MAX_BATCH = {"cpu": 8, "cuda": 32}
"""Windows in a call, unless the server is told otherwise."""
MAX_LENGTH = 448
"""The decoder's positions."""
ALIGNED_STEP = 2 * GRID
"""Samples per encoder frame (20 ms): the resolution of alignment."""
SEED = 0
"""Of the random numbers that temperatures above 0 draw."""

logger = logging.getLogger(__name__)


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
    """A Whisper model of CTranslate2's on one or several devices.

    ``transcribe`` may be called from ``parallel`` threads at once; further ones wait their turn.

    At temperatures above 0 text is drawn at random. CTranslate2 seeds its generator once for each of its threads,
    not for each call: an engine that is given the same batches in the same order in a new process gives the same
    answers, if ``parallel`` is 1; a window alone does not decide its answer then.
    """

    on_stages: Callable[[Stages], None] | None = None
    """Called after every batch, on the thread that ran it, with where its time went; may be set at any time."""

    def __init__(
        self,
        entry: ModelEntry,
        *,
        device: str = "cpu",
        device_index: Sequence[int] = (0,),
        compute_type: str = "default",
        threads: int = 0,
        replicas: int = 1,
        max_batch: int | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Load, and run one window on every device, so that the first user does not wait for it nor find it broken.

        Args:
            entry: the model.
            device: ``cpu``, ``cuda`` or ``auto``.
            device_index: which GPUs, each with the model of its own.
            compute_type: CTranslate2's name of it; ``default`` is that of the file.
            threads: of one batch on a CPU; 0 leaves it to CTranslate2.
            replicas: batches at once on each device, all with the same weights; for files on a CPU.
            max_batch: windows in a call; None for the device's own number.
            clock: seconds, for the times of stages; if it is given, ``cost`` is scaled by what a window takes here.

        Raises:
            ModelError: the files are missing or not in a format that CTranslate2 runs, or the device does not run
                them; CTranslate2's error is its cause.
        """
        hardware.prepare()
        import ctranslate2

        self.entry = entry
        self.vocabulary = Vocabulary(entry.path / "tokenizer.json")
        shape = dimensions(entry.path / "model.bin")
        self._size = costs.nearest(shape.encoder_layers, shape.width, shape.decoder_layers)
        self._storage = ctranslate2.StorageView
        self._clock = clock or time.perf_counter
        self._scale = 1.0
        ctranslate2.set_random_seed(SEED)
        try:
            self._models = [
                ctranslate2.models.Whisper(
                    str(entry.path),
                    device=device,
                    device_index=index,
                    compute_type=compute_type,
                    intra_threads=threads,
                    inter_threads=replicas,
                    files=_files(entry, shape, self.vocabulary),
                )
                for index in (device_index if device != "cpu" else (0,))
            ]
            self._device = str(self._models[0].device)
            self._mels = MelCache(self._models[0].n_mels)
            self._max_batch = max_batch or MAX_BATCH.get(self._device, 8)
            self._warm_up(measure=clock is not None)
        except (RuntimeError, ValueError, MemoryError) as error:
            reason = hardware.explain(error)
            raise ModelError(f"the model in {entry.path} cannot be run on {device}: {reason}") from error
        self._free: SimpleQueue[Any] = SimpleQueue()
        for model in self._models * replicas:
            self._free.put(model)
        self._parallel = len(self._models) * replicas

    def _warm_up(self, *, measure: bool) -> None:
        """Run a window of speech's length in tokens on each device, and once more to scale the costs.

        What it says is forced: however little a model hears in noise, the work is that of the table's windows.
        The first also tells its language, so that a model that cannot is found out here.
        """
        seconds = max(5, math.ceil(self.entry.encoder_floor_s))
        noise = np.random.default_rng(0).normal(0, 1_000, seconds * 16_000).astype(np.int16)
        window = Window(
            lane="",
            number=0,
            kind="final",
            anchor=0,
            pcm=noise.tobytes(),
            encoder_samples=seconds * 16_000,
            prefix=tuple(self.vocabulary.encode(" a") * round(seconds * costs.TOKENS_PER_SECOND)),
            max_new_tokens=1,
        )
        for model in self._models:
            self._transcribe(model, [window])
        if measure:
            before = self._clock()
            self._transcribe(self._models[0], [structs.replace(window, language=self.entry.languages[0])])
            self._scale = max(0.001, (self._clock() - before) / (costs.window_ms(self._size, seconds) / 1000))

    @property
    def parallel(self) -> int:
        """How many batches may be transcribed at once."""
        return self._parallel

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
        one = self._scale * costs.window_ms(self._size, encoder_samples / 16_000) / 1000
        if self._device != "cpu":
            return one * (1 + 0.15 * (windows - 1))
        return windows * one * costs.batch_factor(self._size, windows, encoder_samples / 16_000)

    def transcribe(self, batch: Sequence[Window]) -> list[Hypothesis | WindowFailed]:
        """Encode once, tell languages apart where asked, generate, align."""
        model = self._free.get()
        try:
            return self._transcribe(model, batch)
        finally:
            self._free.put(model)

    def _transcribe(self, model: Any, batch: Sequence[Window]) -> list[Hypothesis | WindowFailed]:
        clock = self._clock
        begun = clock()
        length = max(window.encoder_samples for window in batch)
        mel = np.stack([self._features(window, length) for window in batch])
        heard = clock()
        encoded = model.encode(self._storage.from_array(mel), to_cpu=False)
        coded = clock()
        rows = self._generate(model, batch, encoded)
        decoded = clock()
        timed = self._align(model, rows, encoded)
        aligned = clock()
        answers: list[Hypothesis | WindowFailed] = [
            self._hypothesis(row, tokens) for row, tokens in zip(rows, timed, strict=True)
        ]
        if self.on_stages is not None:
            stages = Stages(
                features_s=heard - begun,
                encode_s=coded - heard,
                decode_s=decoded - coded,
                align_s=aligned - decoded,
                assembly_s=clock() - aligned,
            )
            self.on_stages(stages)
        return answers

    def close(self) -> None:
        """Free the devices' memory."""
        for model in self._models:
            model.unload_model()

    def _context(self, window: Window) -> list[int]:
        return self.vocabulary.context_tokens(window.prompt, window.hotwords, CONTEXT_LIMIT)

    def _languages(self, model: Any, batch: Sequence[Window], encoded: Any) -> list[tuple[str, float]]:
        """Each window's language: its own, the only one the model knows, or the likeliest of its candidates."""
        known = self.entry.languages
        only = known[0] if len(known) == 1 else None
        if not self.entry.multilingual:
            return [(only or "en", 1.0) for _ in batch]
        told = [window.language or only for window in batch]
        found = model.detect_language(encoded) if None in told else [()] * len(batch)
        chosen = []
        for window, language, scores in zip(batch, told, found, strict=True):
            if language is not None:
                chosen.append((language, 1.0))
                continue
            probabilities = {token[2:-2]: float(p) for token, p in scores}
            chosen.append(choose_language(probabilities, window.languages or known, window.previous_language))
        return chosen

    def _features(self, window: Window, length: int) -> NDArray[np.float32]:
        pcm = np.frombuffer(window.pcm, np.int16)
        if window.kind == "file":  # no two of a file's windows begin alike
            return log_mel(pcm, length, self._mels.n_mels)
        return self._mels.log_mel(window.lane, pcm, length)

    def _generate(self, model: Any, batch: Sequence[Window], encoded: Any) -> list[_Decoded]:
        languages = self._languages(model, batch, encoded)
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
        results = model.generate(
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

    def _align(self, model: Any, rows: list[_Decoded], encoded: Any) -> list[list[TimedToken]]:
        """Times and probabilities of every row's tokens, one call for each language among the rows."""
        timed: list[list[TimedToken]] = [[] for _ in rows]
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, row in enumerate(rows):
            if row.tokens:
                # CTranslate2 puts <|notimestamps|> after these itself.
                start = tuple(self.vocabulary.task_tokens(row.language, row.window.task)[:-1])
                groups.setdefault(start, []).append(index)
        for start, indices in groups.items():
            part = encoded if len(indices) == len(rows) else self._rows(encoded, indices)
            frames = [min(3000, -(-rows[i].window.samples // GRID)) for i in indices]
            aligned = model.align(part, list(start), [rows[i].tokens for i in indices], [max(2, f) for f in frames])
            for index, result in zip(indices, aligned, strict=True):
                row = rows[index]
                timed[index] = _timed(row.tokens, result.alignments, result.text_token_probs, row.window)
        return timed

    def _rows(self, encoded: Any, indices: list[int]) -> Any:
        """Some rows of the encoder's output, on the CPU: CTranslate2 cannot index, and takes them to its device."""
        import ctranslate2

        on_cpu = encoded.to_device(ctranslate2.Device.cpu).to(ctranslate2.DataType.float32)
        part: NDArray[Any] = np.ascontiguousarray(np.array(on_cpu)[indices])
        return self._storage.from_array(part)

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


def _files(entry: ModelEntry, shape: Dimensions, vocabulary: Vocabulary) -> dict[str, Any] | None:
    """None, or what CTranslate2 is to read in place of the directory: its files with a config.json put right.

    Conversions of the distilled models are about that carry the alignment heads of the model they were distilled
    from; CTranslate2 does not check them, it writes outside its memory. Others lack the languages' tokens, without
    which it tells no language apart.
    """
    path = entry.path / "config.json"
    config = json.loads(path.read_text("utf-8"))
    right = _heads(path, config, shape) | _language_ids(path, config, entry, vocabulary)
    if not right:
        return None
    vocabularies = {path.name: path.read_bytes() for path in entry.path.glob("vocabulary.*")}
    weights = (entry.path / "model.bin").read_bytes()
    return {**vocabularies, "model.bin": weights, "config.json": json.dumps(config | right).encode()}


def _heads(path: Path, config: dict[str, Any], shape: Dimensions) -> dict[str, Any]:
    """Alignment heads that exist; nothing if the config's do."""
    heads = config.get("alignment_heads")
    if heads and all(0 <= layer < shape.decoder_layers and 0 <= head < shape.heads for layer, head in heads):
        return {}
    logger.warning(
        "the alignment heads in %s are not those of a decoder with %d layers of %d heads; "
        "word times are taken from all heads of its later half",
        path,
        shape.decoder_layers,
        shape.heads,
    )
    later = range(shape.decoder_layers // 2, shape.decoder_layers)
    return {"alignment_heads": [[layer, head] for layer in later for head in range(shape.heads)]}


def _language_ids(path: Path, config: dict[str, Any], entry: ModelEntry, vocabulary: Vocabulary) -> dict[str, Any]:
    """The languages' tokens by the vocabulary; nothing if the config's are some of them, or the model has none."""
    if not entry.multilingual:
        return {}
    known = [vocabulary.task_tokens(code, "transcribe")[1] for code in vocabulary.languages]
    told = config.get("lang_ids")
    if isinstance(told, list) and told and all(token in known for token in told):
        return {}
    logger.warning("lang_ids in %s are not the vocabulary's languages; these are taken from tokenizer.json", path)
    return {"lang_ids": known}


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
