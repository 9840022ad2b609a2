"""A model's files to its entry: what it can, and how to use it.

Knows directories, the built-in model and entry files; where a model comes from is for hub.py and selection.py.
"""

import json
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import msgspec

from streamasr.core.policy import Policy, ms
from streamasr.errors import ModelError
from streamasr.inference import catalog
from streamasr.inference.catalog import ENGLISH_VOCABULARY, NANO_GUARDS, REPORTED, STOCK_GUARDS, Guards, Shape, Size
from streamasr.inference.manifest import MANIFEST
from streamasr.inference.tokens import Vocabulary
from streamasr.inference.weights import Dimensions, dimensions

__all__ = [
    "NANO_GUARDS",
    "STOCK_GUARDS",
    "EntryFile",
    "Guards",
    "GuardsFile",
    "ModelEntry",
    "entry_of",
    "expanded",
    "read_entry_file",
    "resolve",
]

EMBEDDED = "nano"
"""The model inside the package."""

NEEDED = ("config.json", "model.bin", "tokenizer.json")
"""Files of a Whisper model in CTranslate2's format."""

ENTRY_FILES = ("streamasr.toml", "streamasr.json")
"""What is known of the model beside them, by whoever put it there."""

Ratio = Annotated[float, msgspec.Meta(ge=0, le=1)]
WindowSeconds = Annotated[float, msgspec.Meta(ge=0, le=30)]


class ModelEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one model."""

    name: str
    path: Path
    size: str = ""
    """The size it is, by its name in the catalogue; empty for what is not there."""
    languages: tuple[str, ...]
    """What it knows, whatever its vocabulary has tokens for."""
    multilingual: bool
    """Whether its prompts carry language and task tokens."""
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
    """Whether floor, margin and guards were measured, or taken from others' reports."""
    source: str = ""
    """Who says so: what was measured, when and on what, or whose reports they are."""
    parameters: int = 0
    width: int = 0

    @property
    def needs(self) -> dict[str, int]:
        """Bytes of memory on a GPU, by compute type: an estimate."""
        return catalog.memory(self.parameters, self.width)

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


class GuardsFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The table ``guards`` of an entry file; what is not there stays as it was."""

    no_speech: Ratio | None = None
    logprob: Annotated[float, msgspec.Meta(le=0)] | None = None
    compression_ratio: Annotated[float, msgspec.Meta(gt=0)] | None = None
    tokens_per_second: Annotated[float, msgspec.Meta(gt=0)] | None = None


class EntryFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a ``streamasr.toml`` may say of a model; what is not there stays as it was."""

    languages: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] | None = None
    translates: bool | None = None
    encoder_floor_s: WindowSeconds | None = None
    encoder_margin_s: WindowSeconds | None = None
    longest_window_s: Annotated[float, msgspec.Meta(ge=2, le=30)] | None = None
    guards: GuardsFile = GuardsFile()
    measured: bool | None = None
    source: str | None = None


def resolve(name: str, *, entry_file: Path | None = None) -> ModelEntry:
    """The entry of a model: ``nano``, or a directory in CTranslate2 format.

    Args:
        name: as ``--model`` has it.
        entry_file: what is known of it, instead of what lies beside it.

    Raises:
        ModelError: there is no such model, its directory lacks a file or has the wrong format, or the entry
            file is wrong.
    """
    if name == EMBEDDED:
        return entry_of(Path(str(files("streamasr") / "models" / "nano")), EMBEDDED, entry_file=entry_file)
    path = expanded(name)
    if not path.exists():
        raise ModelError(f"model: {name!r} is neither {EMBEDDED!r} nor an existing directory")
    if not path.is_dir():
        raise ModelError(f"model: {name!r} is a file; expected a directory in CTranslate2 format")
    return entry_of(path, path.resolve().name, entry_file=entry_file)


def expanded(name: str) -> Path:
    """The path that a person means by ``name``."""
    try:
        return Path(name).expanduser()
    except RuntimeError:  # ~somebody who is not a user here
        return Path(name)


def entry_of(path: Path, name: str, *, repo: str = "", entry_file: Path | None = None) -> ModelEntry:
    """The entry of the model in a directory.

    Args:
        path: where its files are.
        name: what to call it.
        repo: the hub id it came from, if it is known; it may tell which size it is.
        entry_file: what is known of it, instead of what lies beside it.

    Raises:
        ModelError: as ``resolve``.
    """
    missing = [needed for needed in NEEDED if not (path / needed).is_file()]
    if missing:
        raise ModelError(f"model: {path} is not a Whisper model in CTranslate2 format: it lacks {', '.join(missing)}")
    heads = _heads(path / "config.json")
    found = dimensions(path / "model.bin")
    vocabulary = Vocabulary(path / "tokenizer.json")
    size = _recognise(path, repo, found, heads)
    multilingual = found.vocabulary != ENGLISH_VOCABULARY and bool(vocabulary.languages)
    spoken = vocabulary.languages if multilingual else ("en",)
    entry = ModelEntry(
        name=name,
        path=path,
        size=size.name if size else "",
        languages=tuple(code for code in spoken if size is None or code in size.languages),
        multilingual=multilingual,
        translates=multilingual and size is not None and size.translates,
        n_mels=found.n_mels,
        encoder_floor_s=size.encoder_floor_s if size else 10.0,
        encoder_margin_s=size.encoder_margin_s if size else 2.0,
        longest_window_s=size.longest_window_s if size else 20.0,
        guards=size.guards if size else STOCK_GUARDS,
        measured=size is not None and size.measured,
        source=size.source if size else f"unknown model: {REPORTED}",
        parameters=found.parameters,
        width=found.width,
    )
    beside = entry_file or next((path / name for name in ENTRY_FILES if (path / name).is_file()), None)
    return _overridden(entry, beside, vocabulary.languages) if beside else entry


def _recognise(path: Path, repo: str, found: Dimensions, heads: catalog.Heads) -> Size | None:
    """Which size this is: by where it came from, by its files, or by its directory's name."""
    shape = Shape(
        encoder_layers=found.encoder_layers,
        decoder_layers=found.decoder_layers,
        width=found.width,
        n_mels=found.n_mels,
        vocabulary=found.vocabulary,
    )
    manifest = path / MANIFEST
    origin = repo or (str(_json_object(manifest).get("repo", "")) if manifest.is_file() else "")
    named = [catalog.by_repo(origin)] if origin else []
    for size in (*named, catalog.by_fingerprint(shape, heads), catalog.by_title(path.resolve().name)):
        if size and (size.shape.vocabulary, size.shape.n_mels) == (shape.vocabulary, shape.n_mels):
            return size  # a name alone may lie: what it names must at least fit
    return None


def read_entry_file(file: Path) -> EntryFile:
    """What a file (TOML, or JSON if its name ends so) says of a model.

    Raises:
        ModelError: it cannot be read, or says something unknown or impossible.
    """
    try:
        text = file.read_text("utf-8")
        values = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
        return msgspec.convert(values, EntryFile)
    except OSError as error:
        raise ModelError(f"model entry: {file} cannot be read: {error.strerror}") from error
    except msgspec.ValidationError as error:
        raise ModelError(f"model entry: {file}: {error}") from error
    except ValueError as error:  # not TOML or JSON, or not UTF-8
        kind = "JSON" if file.suffix == ".json" else "TOML"
        raise ModelError(f"model entry: {file} is not {kind}: {error}") from error


def _overridden(entry: ModelEntry, file: Path, known: tuple[str, ...]) -> ModelEntry:
    """The entry with what the file says instead."""
    said = msgspec.structs.asdict(read_entry_file(file))
    guards = {k: v for k, v in msgspec.structs.asdict(said.pop("guards")).items() if v is not None}
    changes = {key: value for key, value in said.items() if value is not None}
    foreign = [code for code in changes.get("languages", ()) if code not in (known if entry.multilingual else ("en",))]
    if foreign:
        raise ModelError(f"model entry: {file}: the model's vocabulary has no language {', '.join(foreign)}")
    if changes.get("translates") and not entry.multilingual:
        raise ModelError(f"model entry: {file}: an English-only model cannot translate")
    if guards:
        changes["guards"] = msgspec.structs.replace(entry.guards, **guards)
    changes.setdefault("source", str(file))
    return msgspec.structs.replace(entry, **changes)


def _heads(path: Path) -> catalog.Heads:
    try:
        return msgspec.convert(_json_object(path).get("alignment_heads") or (), catalog.Heads)
    except msgspec.ValidationError as error:
        raise ModelError(f"model: {path}: alignment_heads is not a list of pairs of numbers") from error


def _json_object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:  # also if it is not UTF-8
        raise ModelError(f"model: {path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ModelError(f"model: {path} is not a JSON object")
    return found
