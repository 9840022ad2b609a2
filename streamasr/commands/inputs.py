"""Which recordings the arguments of a command mean, and where the results of each belong.

Looks at names and directories only; opens no recording, and does not know what results there are already.
"""

import glob
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from streamasr.errors import ConfigError

AUDIO = "aac ac3 aif aifc aiff amr ape au caf flac m4a m4b mka mp2 mp3 oga ogg opus ra spx voc w64 wav wma wv"
VIDEO = "3gp avi flv m2ts m4v mkv mov mp4 mpeg mpg mts mxf ogv rm webm wmv"
SUFFIXES = frozenset(f"{AUDIO} {VIDEO}".split())
"""What is taken for a recording inside a directory; a named file is tried whatever it is called."""

FORMATS = {"text": ".txt", "json": ".json", "srt": ".srt", "vtt": ".vtt"}
"""The forms of the results and the suffixes of their files."""

STDIN = "-"

_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
_MAGIC = re.compile(r"[*?[]")


class Recording(NamedTuple):
    """One input and where its results go."""

    source: str
    """A file, a URL, or ``-`` for what comes on the standard input."""
    path: Path | None
    """The file; None for what is none."""
    stem: Path
    """Its results are this path followed by their suffix."""

    def output(self, format_: str, *, partial: bool = False) -> Path:
        """The file of the results in one of ``FORMATS``; of a part of the recording, if there is no more."""
        return self.stem.with_name(f"{self.stem.name}{'.partial' if partial else ''}{FORMATS[format_]}")


class Found(NamedTuple):
    """What the arguments mean."""

    recordings: tuple[Recording, ...]
    problems: tuple[str, ...]
    """One sentence for each argument that means nothing."""


class _Place(NamedTuple):
    """An input, and the directory whose tree its results mirror."""

    source: str
    path: Path | None
    where: Path
    """Its absolute path; for what is no file, one made of its name."""
    root: Path

    @property
    def relative(self) -> Path:
        return self.where.relative_to(self.root).with_name(_bare(self.where.name))


def is_single(arguments: Sequence[str]) -> bool:
    """Whether these name one recording, and not a directory or a pattern that may mean many."""
    first, *more = arguments
    return not more and (_is_url(first) or not (Path(first).is_dir() or _is_pattern(first)))


def find(arguments: Sequence[str], output_dir: Path | None) -> Found:
    """The recordings that the arguments mean: files, patterns, directories, URLs, ``-``; each once, in order.

    Results go beside their recording (of what is no file: into the current directory), or into a tree below
    ``output_dir`` that mirrors the directory or pattern they were found by, with more of their path in it where
    two would be in each other's way. Where two recordings in one directory differ only in their suffix, the
    results of both keep it.

    Raises:
        ConfigError: the standard input is named together with others.
    """
    if STDIN in arguments and len(arguments) > 1:
        raise ConfigError("-: the standard input cannot be combined with other inputs")
    places: dict[str, _Place] = {}
    problems = []
    for argument in arguments:
        if len(arguments) > 1 and Path(argument).suffix in FORMATS.values() and not _is_url(argument):
            continue  # results of an earlier run, which the shell's * brings along
        try:
            found = list(_places(argument))
        except OSError as error:
            problems.append(f"{argument}: cannot be read: {error.strerror}")
            continue
        if not found:
            problems.append(_nothing(argument))
        for place in found:
            places.setdefault(str(place.where) if place.path else place.source, place)
    return Found(_named(_apart(list(places.values())), output_dir), tuple(problems))


def _places(argument: str) -> Iterator[_Place]:
    """What one argument means.

    Raises:
        OSError: a directory cannot be read.
    """
    path = Path(argument)
    if argument == STDIN:
        yield _Place(STDIN, None, Path.cwd() / "stdin", Path.cwd())
    elif _is_url(argument):
        yield _remote(argument)
    elif path.is_dir():
        yield from (_local(found, _absolute(path)) for found in sorted(_walk(path)))
    elif path.exists():
        yield _local(path, _absolute(path).parent)
    elif _is_pattern(argument):
        named = not _MAGIC.search(path.suffix) and path.suffix
        hits = (Path(hit) for hit in sorted(glob.glob(argument, recursive=True)))  # noqa: PTH207 - it may be absolute
        root = _absolute(Path(*_fixed(path)))
        yield from (_local(hit, root) for hit in hits if hit.is_file() and (named or _is_recording(hit)))


def _walk(directory: Path) -> Iterator[Path]:
    """Every recording below a directory, hidden ones left out."""

    def fail(error: OSError) -> None:
        raise error

    for folder, folders, names in os.walk(directory, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files = (Path(folder, name) for name in names if not name.startswith("."))
        yield from (file for file in files if _is_recording(file))


def _fixed(pattern: Path) -> Iterator[str]:
    """The leading parts of a pattern that are no pattern."""
    for part in pattern.parts[:-1]:
        if _MAGIC.search(part):
            return
        yield part


def _local(path: Path, root: Path) -> _Place:
    return _Place(str(path), path, _absolute(path), root)


def _remote(url: str) -> _Place:
    """A URL, placed as if its scheme, host and path were directories."""
    parts = urlsplit(url)
    names = (name for name in unquote(parts.path).split("/") if name not in ("", ".", ".."))
    where = Path(Path.cwd().anchor, parts.scheme, PurePosixPath(parts.netloc or "remote", *names))
    return _Place(url, None, where, where.parent)


def _apart(places: list[_Place]) -> list[_Place]:
    """The same, each with as much of its path in its results' names as tells it from those in other directories."""
    while True:
        folders: dict[Path, set[Path]] = defaultdict(set)
        for place in places:
            folders[place.relative].add(place.where.parent)
        higher = [p._replace(root=p.root.parent) if len(folders[p.relative]) > 1 else p for p in places]
        if higher == places:
            return places
        places = higher


def _named(places: Sequence[_Place], output_dir: Path | None) -> tuple[Recording, ...]:
    """With the stems of their results, no two of which are the same."""
    taken: set[str] = set()
    recordings = []
    for place in places:
        name = place.where.name if place.path and _has_twin(place.path) else place.relative.name
        folder = place.path.parent if place.path else Path()
        if output_dir is not None:
            folder = output_dir / place.relative.parent
        stem, number = folder / name, 1
        while (key := os.path.abspath(stem).casefold()) in taken:  # noqa: PTH100 - Path.resolve would follow links
            number += 1
            stem = folder / f"{name}-{number}"
        taken.add(key)
        recordings.append(Recording(place.source, place.path, stem))
    return tuple(recordings)


def _has_twin(path: Path) -> bool:
    """Whether another recording stands beside this one that differs only in its suffix."""
    bare = _bare(path.name)
    beside = path.parent.glob(f"{glob.escape(bare)}.*")
    return any(other.name != path.name and _bare(other.name) == bare and _is_recording(other) for other in beside)


def _bare(name: str) -> str:
    """A name without the suffix of a recording; other dots belong to the name."""
    return Path(name).stem if _is_recording(Path(name)) else name


def _is_recording(path: Path) -> bool:
    return path.suffix[1:].lower() in SUFFIXES


def _nothing(argument: str) -> str:
    if Path(argument).is_dir():
        return f"{argument}: there is no audio or video file in this directory"
    if _is_pattern(argument):
        return f"{argument}: no audio or video file matches this pattern"
    return f"{argument}: there is no such file"


def _absolute(path: Path) -> Path:
    """Absolute and without ``..``, as a person reads it: symbolic links are kept."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def _is_url(argument: str) -> bool:
    return _URL.match(argument) is not None


def _is_pattern(argument: str) -> bool:
    return _MAGIC.search(argument) is not None and not Path(argument).exists()
