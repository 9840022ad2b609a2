"""Names and paths of models to what we know of them: where the files are, what the model can, how to use it."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from streamasr.core.policy import Policy, ms
from streamasr.errors import ModelError
from streamasr.inference.tokens import Vocabulary

EMBEDDED = "nano"
"""The model inside the package."""

NEEDED = ("config.json", "model.bin", "tokenizer.json")
"""Files of a Whisper model in CTranslate2's format."""


class Guards(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of a believable hypothesis, set so that at most 1 % of good windows trip them."""

    no_speech: float
    """A hypothesis is taken for none above this no-speech probability …"""
    logprob: float
    """… if its average log-probability is also below this."""
    compression_ratio: float
    """Text that compresses better than this repeats itself."""
    tokens_per_second: float
    """More tokens per second of audio than this are not speech."""


class ModelEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one model."""

    name: str
    path: Path
    languages: tuple[str, ...]
    multilingual: bool
    translates: bool
    n_mels: int
    encoder_floor_s: float
    """The shortest encoder input that does this model no harm, seconds."""
    encoder_margin_s: float
    """Zero audio it wants after the speech, seconds."""
    longest_window_s: float
    """How long a window may grow before its anchor moves, seconds."""
    guards: Guards
    measured: bool
    """Whether floor, margin and guards were measured by this project, or taken from others' reports."""

    def policy(self, *, encoder_window_s: float | None = None) -> Policy:
        """The streaming policy for this model; ``encoder_window_s`` forces the encoder's input length."""
        return Policy(
            encoder_floor=ms(1000 * self.encoder_floor_s),
            encoder_margin=ms(1000 * self.encoder_margin_s),
            encoder_forced=ms(1000 * (encoder_window_s or 0.0)),
            longest_window=ms(1000 * self.longest_window_s),
            no_speech=self.guards.no_speech,
            no_speech_logprob=self.guards.logprob,
            compression_ratio=self.guards.compression_ratio,
            tokens_per_second=self.guards.tokens_per_second,
        )


NANO_GUARDS = Guards(no_speech=0.6, logprob=-1.0, compression_ratio=1.7, tokens_per_second=16.0)
"""Measured on the evaluation sets (docs/topics/streaming-policy.md)."""
STOCK_GUARDS = Guards(no_speech=0.6, logprob=-1.0, compression_ratio=2.4, tokens_per_second=25.0)
"""OpenAI's thresholds; not verified here."""


def resolve(name: str) -> ModelEntry:
    """The entry of a model: ``nano``, or a directory in CTranslate2 format.

    Raises:
        ModelError: there is no such model, or its directory lacks a file or has the wrong format.
    """
    if name == EMBEDDED:
        return _read(Path(str(files("streamasr") / "models" / "nano")), EMBEDDED)
    path = Path(name).expanduser()
    if not path.exists():
        raise ModelError(f"model: {name!r} is neither {EMBEDDED!r} nor an existing directory")
    if not path.is_dir():
        raise ModelError(f"model: {name!r} is a file; expected a directory in CTranslate2 format")
    return _read(path, path.resolve().name)


def _read(path: Path, name: str) -> ModelEntry:
    missing = [needed for needed in NEEDED if not (path / needed).is_file()]
    if missing:
        raise ModelError(f"model: {path} is not a Whisper model in CTranslate2 format: it lacks {', '.join(missing)}")
    config = _json_object(path / "config.json")
    extractor = path / "preprocessor_config.json"
    n_mels = _json_object(extractor).get("feature_size", 80) if extractor.exists() else 80
    if not isinstance(n_mels, int):
        raise ModelError(f"model: feature_size in {extractor} is not a number")
    if "alignment_heads" not in config:
        raise ModelError(f"model: {path / 'config.json'} has no alignment_heads: not a Whisper model")
    vocabulary = Vocabulary(path / "tokenizer.json")
    embedded = name == EMBEDDED
    return ModelEntry(
        name=name,
        path=path,
        languages=vocabulary.languages or ("en",),
        multilingual=bool(vocabulary.languages),
        translates=bool(vocabulary.languages) and not embedded,
        n_mels=n_mels,
        encoder_floor_s=0.0 if embedded else 10.0,
        encoder_margin_s=0.0 if embedded else 2.0,
        longest_window_s=10.0 if embedded else 20.0,
        guards=NANO_GUARDS if embedded else STOCK_GUARDS,
        measured=embedded,
    )


def _json_object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:  # also if it is not UTF-8
        raise ModelError(f"model: {path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ModelError(f"model: {path} is not a JSON object")
    return found
