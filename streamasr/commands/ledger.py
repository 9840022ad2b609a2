"""The results in a directory: which of them this command has written, so that no file of anybody else's is lost.

Owns a hidden file of JSON lines beside the results: a name, the hash of what was written under it, and whether it
was only a part. A file is ours if it stands there; ours as long as its hash does too. Lines are only added.
"""

from functools import cached_property
from hashlib import sha256
from pathlib import Path

import msgspec

from streamasr.errors import ConfigError
from streamasr.results import write_whole

LEDGER = ".streamasr-results.jsonl"


class _Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One result that was written."""

    name: str
    sha256: str
    partial: bool = False


class Ledger:
    """What was written into ``folder``, which need not exist. Read when it is first asked.

    Its methods raise ConfigError if the list or a result cannot be read, or not be written.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LEDGER

    def knows(self, path: Path) -> bool:
        """Whether a whole result of this name was written, be it that somebody has changed it since."""
        return path.name in self._wholes

    def may_replace(self, path: Path, *, partial: bool = False) -> bool:
        """Whether nothing is lost by writing there: nothing is there, or it is as we have written it."""
        if not path.exists():
            return True
        return path.is_file() and _Line(name=path.name, sha256=_hash(_bytes(path)), partial=partial) in self._lines

    def save(self, path: Path, text: str, *, partial: bool = False, overwrite: bool = False) -> None:
        """Write a result, whole or not at all, and note it.

        Raises:
            ConfigError: also if a file is there that is not ours, unless ``overwrite``.
        """
        if not overwrite and not self.may_replace(path, partial=partial):
            raise ConfigError(foreign(path))
        # Noted first: a result that is in its place must not be taken for somebody else's file.
        line = _Line(name=path.name, sha256=_hash(text.encode()), partial=partial)
        try:
            with self._path.open("ab") as file:
                file.write(b"\n" + msgspec.json.encode(line))  # this newline also ends a line that was torn
        except OSError as error:
            raise ConfigError(f"{self._path} cannot be written: {error.strerror or error}.") from error
        write_whole(path, text)

    def drop_part(self, path: Path) -> None:
        """Delete a part that was written there, now that there is the whole."""
        if path.is_file() and self.may_replace(path, partial=True):
            path.unlink()

    @cached_property
    def _lines(self) -> frozenset[_Line]:
        lines = []
        for text in filter(None, _bytes(self._path).split(b"\n") if self._path.exists() else ()):
            try:
                lines.append(msgspec.json.decode(text, type=_Line))
            except msgspec.DecodeError:  # torn by a power cut: its result was not yet in its place
                continue
        return frozenset(lines)

    @cached_property
    def _wholes(self) -> frozenset[str]:
        return frozenset(line.name for line in self._lines if not line.partial)


def foreign(path: Path) -> str:
    """A sentence about a file that is in the way."""
    return (
        f"{path} is there and is not as this command wrote it: --overwrite replaces it,"
        " --output-dir writes the results elsewhere."
    )


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}.") from error


def _hash(data: bytes) -> str:
    return sha256(data).hexdigest()
