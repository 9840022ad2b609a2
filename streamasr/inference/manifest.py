"""What a downloaded model consists of, and whether it is still that: names, sizes, checksums.

Knows neither hubs nor models: only files and the list beside them.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from streamasr.errors import ModelError

MANIFEST = "streamasr-manifest.json"
"""Lies beside a downloaded model: where it came from, and its checksums."""
CHUNK = 1 << 20


class HubFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a repository."""

    name: str
    size: int
    checksum: str
    """``sha256:…`` of a large file, ``git-sha1:…`` (of git's blob) of a small one: what the hub itself says."""

    @property
    def etag(self) -> str:
        """Its name in the cache."""
        return self.checksum.partition(":")[2]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a repository holds of a model, at one commit; also what lies beside a downloaded copy."""

    repo: str
    revision: str
    """As it was asked for."""
    commit: str
    files: tuple[HubFile, ...]

    @property
    def size(self) -> int:
        """Bytes of it all."""
        return sum(file.size for file in self.files)


def verify(directory: Path) -> tuple[str, ...]:
    """What is wrong with a downloaded directory, a sentence for each file; empty if nothing is.

    Raises:
        ModelError: it has no manifest, or one that cannot be read.
    """
    try:
        wanted = msgspec.json.decode((directory / MANIFEST).read_bytes(), type=Manifest)
    except OSError as error:
        raise ModelError(f"model: {directory} has no {MANIFEST}, so nothing to compare with") from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise ModelError(f"model: {directory / MANIFEST} is not a manifest: {error}") from error
    problems = []
    for file in wanted.files:
        path = directory / file.name
        if not path.is_file():
            problems.append(f"{file.name} is missing")
        elif digest(path, file.checksum) != file.checksum:
            problems.append(f"{file.name} is not what was downloaded: its checksum is not {file.checksum}")
    return tuple(problems)


def digest(path: Path, like: str, tell: Callable[[int], object] | None = None) -> str:
    """The file's checksum, of the same kind as ``like``; ``tell`` hears how many bytes were read, and may raise."""
    kind = like.partition(":")[0]
    found = hashlib.sha256() if kind == "sha256" else hashlib.sha1(usedforsecurity=False)
    if kind != "sha256":
        found.update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            found.update(chunk)
            if tell is not None:
                tell(file.tell())
    return f"{kind}:{found.hexdigest()}"
