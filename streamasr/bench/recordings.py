"""A user's own recordings and what was said in them: decoded, paired, cut to the time there is.

Blocks. Knows nothing of models or scores.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamasr.bench.truth import MANIFEST, READERS, Truth, of_manifest
from streamasr.core.events import SAMPLE_RATE
from streamasr.errors import ConfigError, MediaError
from streamasr.inference.media import decode


class Source(NamedTuple):
    """A recording that has not been read yet."""

    path: Path
    truth: Truth | None


class Recording(NamedTuple):
    """One recording."""

    name: str
    pcm: NDArray[np.int16]
    """Mono 16 kHz, shape (n,)."""
    truth: Truth | None

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.pcm) / SAMPLE_RATE


def is_truth(path: Path) -> bool:
    """Whether a file is taken for what was said, by its name's end."""
    return path.suffix.lower() in (*READERS, MANIFEST)


def pair(audio: Sequence[Path], truths: Sequence[Path], beside: Iterable[Path] = ()) -> list[Source]:
    """The recordings with their truths, which are of the same name but for its end.

    Args:
        audio: the recordings.
        truths: files that were named: each recording must have one, and a single one goes with a single recording.
        beside: files found in directories that were named: used where they fit.

    Raises:
        ConfigError: a truth cannot be read, or some recordings have one and others have none.
    """
    named = _by_stem(truths)
    if len(audio) == 1 and len(truths) == 1 and len(named) == 1:
        return [Source(audio[0], next(iter(named.values())))]
    stems = {path.stem for path in audio}
    known = _by_stem(p for p in beside if p.suffix.lower() == MANIFEST or p.stem in stems) | named
    sources = [Source(path, known.get(path.stem)) for path in audio]
    without = [source.path for source in sources if source.truth is None]
    if truths and without:
        raise ConfigError(f"{without[0]} has no truth; expected a file such as {without[0].stem}.txt, or none at all")
    if without and len(without) < len(sources):
        raise ConfigError(
            f"{without[0]} has no truth, but {len(sources) - len(without)} other recordings have one; "
            f"expected a file such as {without[0].stem}.txt beside it, or recordings all of one kind"
        )
    return sources


def read(source: Source, limit_s: float, advance: Callable[[float], None]) -> Recording | None:
    """Decode at most ``limit_s`` seconds; ``advance`` is told the seconds done.

    None: it is longer, and its truth has no word times by which it could be cut.

    Raises:
        MediaError: it is no audio that we can read.
    """
    blocks: list[NDArray[np.int16]] = []
    held = 0
    limit = round(limit_s * SAMPLE_RATE)
    for block in decode(source.path, duration_s=limit_s + 1):
        blocks.append(np.clip(np.round(block * 32768), -32768, 32767).astype(np.int16))
        held += len(block)
        advance(len(block) / SAMPLE_RATE)
    if not held:
        raise MediaError(f"{source.path} has no audio in it")
    truth = source.truth
    if held > limit and truth is not None:
        words = tuple(word for word in truth.words if word.end <= limit_s)
        if not words:
            return None
        truth = Truth(text=" ".join(word.text for word in words), words=words, language=truth.language)
    return Recording(source.path.name, np.concatenate(blocks)[:limit], truth)


def _by_stem(files: Iterable[Path]) -> dict[str, Truth]:
    """What each file tells; of two with one stem, that which may tell more."""
    order = (MANIFEST, *READERS)
    found: dict[str, Truth] = {}
    for path in sorted(files, key=lambda p: -order.index(p.suffix.lower())):
        found |= _read(path)
    return found


def _read(path: Path) -> dict[str, Truth]:
    try:
        content = path.read_text("utf-8-sig")
        if path.suffix.lower() == MANIFEST:
            return of_manifest(content)
        return {path.stem: READERS[path.suffix.lower()](content)}
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # not UTF-8, or not of the form that its name promises
        raise ConfigError(f"{path}: is not a transcript: {error}") from error
