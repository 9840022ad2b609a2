"""Models on a hub: which are cached, what a download takes, and the download itself: resumed, checked, bounded.

Wraps huggingface_hub, whose cache it shares with every other program. Knows no sizes and no entries: a model
here is a repository's files.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from streamasr.errors import HubUnreachable, ModelError
from streamasr.inference.manifest import MANIFEST, HubFile, Manifest, digest
from streamasr.inference.models import NEEDED
from streamasr.inference.transfer import Advance, Watched, attended, bounded

WANTED = (*NEEDED, "preprocessor_config.json")
"""Files to fetch, with every ``vocabulary.*``."""
VOCABULARY = re.compile(r"vocabulary\.\w+")
CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}|git-sha1:[0-9a-f]{40}")
COMMIT = re.compile(r"[0-9a-f]{40}")
ANSWER_S = 5.0
"""How long the hub may take to connect, and to answer; ``PATIENCE_S`` bounds both, over all its addresses."""
PATIENCE_S = 10.0
CHUNK = 1 << 16
"""Bytes of a download between two reports."""
CACHE_VARIABLES = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME")
"""What decides where the cache is; the first that is set."""


class Hub:
    """One hub and one cache; the defaults are huggingface_hub's, which the environment decides."""

    def __init__(self, endpoint: str | None = None, cache: Path | None = None) -> None:
        from huggingface_hub import constants

        self.endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        self.cache = cache or Path(constants.HF_HUB_CACHE)

    def source(self, to: Path | None = None) -> str:
        """Where a download comes from and goes to (the cache, or ``to``), each with the variable that decides it."""
        variable = next((name for name in CACHE_VARIABLES if os.environ.get(name)), CACHE_VARIABLES[0])
        place = f"{self.cache} (variable {variable})" if to is None else str(to)
        return f"from {self.endpoint} (variable HF_ENDPOINT) to {place}"

    def cached(self, repo: str, revision: str | None = None) -> Path | None:
        """The directory of a model that is all here. No network."""
        from huggingface_hub import try_to_load_from_cache

        found = [
            try_to_load_from_cache(repo, name, cache_dir=self.cache, revision=revision or "main") for name in NEEDED
        ]
        paths = [Path(path) for path in found if isinstance(path, str)]
        if len(paths) < len(NEEDED):
            return None
        directory = paths[0].parent
        return directory if any(VOCABULARY.fullmatch(p.name) and p.is_file() for p in directory.iterdir()) else None

    def manifest(self, repo: str, revision: str | None = None) -> Manifest:
        """Ask the hub what a model consists of.

        Raises:
            HubUnreachable: no answer in ``PATIENCE_S``, or none that a hub would give.
            ModelError: there is no such repository or revision, we may not read it, or it is not a Whisper
                model in CTranslate2 format.
        """
        from huggingface_hub import HfApi

        api = HfApi(endpoint=self.endpoint)

        def ask() -> Any:
            return api.model_info(repo, revision=revision, files_metadata=True, timeout=ANSWER_S)

        try:
            info = self._asked(repo, revision, lambda: bounded(ask, PATIENCE_S))
        except (ValueError, TypeError, KeyError) as error:  # a page, or other JSON
            raise HubUnreachable(self._silent(repo, "its answer is not a hub's", revision)) from error
        there = {sibling.rfilename: sibling for sibling in info.siblings or ()}
        missing = [name for name in NEEDED if name not in there]
        if not any(VOCABULARY.fullmatch(name) for name in there):
            missing.append("vocabulary.json")
        if missing == ["tokenizer.json"]:
            raise ModelError(f"model: {repo} has no tokenizer.json (an old conversion): take a newer conversion")
        if missing:
            raise ModelError(
                f"model: {repo} is not a Whisper model in CTranslate2 format: it lacks {', '.join(missing)}"
            )
        wanted = sorted(name for name in there if name in WANTED or VOCABULARY.fullmatch(name))
        files = tuple(_hub_file(repo, there[name]) for name in wanted)
        if not COMMIT.fullmatch(str(info.sha)):
            raise HubUnreachable(self._silent(repo, f"it names {info.sha!r} as a commit", revision))
        return Manifest(repo=repo, revision=revision or "main", commit=info.sha, files=files)

    def check(self, wanted: Manifest, advance: Advance, directory: Path | None = None) -> tuple[str, ...]:
        """Compare what is here, in the cache and in the directory, with the checksums; what is wrong is deleted.

        Returns:
            The names of the files that were deleted.

        Raises:
            ModelError: one cannot be read, or not be deleted.
        """
        spoilt, before = [], 0
        for file in wanted.files:
            target = directory / file.name if directory is not None else None
            tell = _offset(advance, before)
            right = target is not None and self._right(target, file, tell)
            if target is not None and target.is_file() and not right:
                spoilt.append(file.name)
                with _writing(target):
                    target.unlink()
            if not right:  # else the cache is not asked for it
                for place in self._places(wanted, file):
                    if place.is_file() and not self._right(place, file, tell):
                        spoilt.append(file.name)
                        with _writing(place):
                            place.unlink()
            before += file.size
        return tuple(dict.fromkeys(spoilt))

    def missing(self, wanted: Manifest, directory: Path | None = None) -> int:
        """Bytes of it that are still to come from the hub, to the cache or to a directory."""
        here = [
            file.size if self._copy(wanted, file) else _length(_partial(self._blob(wanted, file)), file)
            for file in wanted.files
        ]
        if directory is not None:
            there = [_here(directory / file.name, file) for file in wanted.files]
            here = [max(pair) for pair in zip(here, there, strict=True)]
        return wanted.size - sum(here)

    def fetch(self, wanted: Manifest, advance: Advance) -> Path:
        """Bring a model into the cache, going on where an earlier try broke off; the directory it is in.

        What is here is taken to be right: ``check`` comes before.

        Raises:
            HubUnreachable: the hub stopped answering; what is here is kept.
            ModelError: a file is not what its checksum says, or cannot be written.
        """
        from huggingface_hub import hf_hub_download
        from huggingface_hub.utils import WeakFileLock

        before = 0
        for file in wanted.files:
            lock = self.cache / ".locks" / self._folder(wanted) / f"{file.etag}.lock"  # where the library locks it
            with _writing(lock):
                lock.parent.mkdir(parents=True, exist_ok=True)
                with WeakFileLock(lock):  # another server may be fetching the same
                    if self._copy(wanted, file) is None:
                        self._transfer(wanted, file, self._blob(wanted, file), _offset(advance, before))
            before += file.size
            advance(before)
        # The blobs are here: the library adds its links to them, or copies where the system has no links.
        for file in wanted.files:
            shown = self._asked(
                wanted.repo,
                wanted.revision,
                lambda name=file.name: hf_hub_download(  # type: ignore[misc]
                    wanted.repo,
                    name,
                    revision=wanted.revision,
                    cache_dir=self.cache,
                    endpoint=self.endpoint,
                    etag_timeout=ANSWER_S,
                ),
            )
            if not Path(shown).is_symlink():
                self._blob(wanted, file).unlink(missing_ok=True)
        found = self.cached(wanted.repo, wanted.revision)
        if found is None:
            raise ModelError(f"model: {wanted.repo} was downloaded, but is not in the cache {self.cache}")
        return found

    def fetch_to(self, wanted: Manifest, directory: Path, advance: Advance) -> None:
        """Bring a model into a directory, with its manifest; what is here is taken to be right, as in ``fetch``.

        Raises:
            HubUnreachable, ModelError: as ``fetch``.
        """
        before = 0
        with _writing(directory):
            directory.mkdir(parents=True, exist_ok=True)
            for file in wanted.files:
                target = directory / file.name
                if not target.exists() and (copy := self._copy(wanted, file)):
                    shutil.copyfile(copy, _partial(target))
                if not target.exists():
                    self._transfer(wanted, file, target, _offset(advance, before))
                before += file.size
                advance(before)
            (directory / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(wanted)))

    def _blob(self, wanted: Manifest, file: HubFile) -> Path:
        return self.cache / self._folder(wanted) / "blobs" / file.etag

    def _folder(self, wanted: Manifest) -> str:
        from huggingface_hub.file_download import repo_folder_name

        return str(repo_folder_name(repo_id=wanted.repo, repo_type="model"))

    def _copy(self, wanted: Manifest, file: HubFile) -> Path | None:
        """Where the cache has this file: among its blobs or, on a system without links, in the snapshot."""
        return next((place for place in self._places(wanted, file) if place.is_file()), None)

    def _places(self, wanted: Manifest, file: HubFile) -> tuple[Path, Path]:
        snapshot = self.cache / self._folder(wanted) / "snapshots" / wanted.commit
        return self._blob(wanted, file), snapshot / file.name

    def _right(self, path: Path, file: HubFile, tell: Advance) -> bool:
        """Whether the file is there, and what the hub says it is."""
        try:
            return path.is_file() and digest(path, file.checksum, tell) == file.checksum
        except OSError as error:
            raise ModelError(f"model: {path} cannot be read: {error.strerror or error}") from error

    def _transfer(self, wanted: Manifest, file: HubFile, target: Path, advance: Advance) -> None:
        """Bring one file: to a partial file, checked, then renamed."""
        target.parent.mkdir(parents=True, exist_ok=True)
        room = shutil.disk_usage(target.parent).free
        if room < file.size - _here(target, file):
            raise ModelError(
                f"model: {file.name} of {wanted.repo} needs {file.size / 1e6:.0f} MB in {target.parent}, which has"
                f" {room / 1e6:.0f} MB free"
            )
        partial = _partial(target)
        self._get(wanted, file, partial, advance)
        partial.replace(target)

    def _get(self, wanted: Manifest, file: HubFile, partial: Path, advance: Advance) -> None:
        from huggingface_hub import constants, hf_hub_url
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import build_hf_headers, disable_progress_bars

        disable_progress_bars("huggingface_hub.http_get")  # the caller shows progress
        url = hf_hub_url(wanted.repo, file.name, revision=wanted.commit, endpoint=self.endpoint)
        # The library's 10 MB take minutes on a slow line, and only after a chunk is anything told or stopped.
        constants.DOWNLOAD_CHUNK_SIZE = min(constants.DOWNLOAD_CHUNK_SIZE, CHUNK)
        with partial.open("ab") as out:
            if out.tell() > file.size:
                out.truncate(0)
            here = out.tell()
            watched = Watched(out, advance)

            def get() -> None:
                http_get(url, watched, resume_size=here, headers=build_hf_headers(), expected_size=file.size)

            self._asked(wanted.repo, wanted.revision, lambda: attended(get, watched.tell_again))
        if digest(partial, file.checksum, lambda _: advance(file.size)) != file.checksum:
            partial.unlink()
            raise ModelError(
                f"model: {file.name} of {wanted.repo} came with another checksum than {self.endpoint} announced"
                f" ({file.checksum}); it was deleted, try again"
            )

    def _asked(self, repo: str, revision: str | None, call: Callable[[], Any]) -> Any:
        """What the call returns; what it raises about the hub, in our own words."""
        from huggingface_hub import errors

        try:
            return call()
        except errors.OfflineModeIsEnabled as error:
            here = "" if self.cached(repo, revision) else f"{repo} is not in the cache {self.cache}, and "
            raise HubUnreachable(f"model: {here}HF_HUB_OFFLINE forbids asking the hub for it") from error
        except errors.GatedRepoError as error:
            raise ModelError(
                f"model: {repo} is only given to those who accepted its terms at {self.endpoint}/{repo}; then set"
                " HF_TOKEN to your token"
            ) from error
        except errors.RevisionNotFoundError as error:
            raise ModelError(f"model: {repo} has no revision {revision!r} on {self.endpoint}") from error
        except errors.RepositoryNotFoundError as error:
            raise ModelError(
                f"model: there is no {repo} on {self.endpoint}, or it is private: then set HF_TOKEN to your token"
            ) from error
        except errors.HfHubHTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if status in (401, 403):
                raise ModelError(
                    f"model: {self.endpoint} refuses {repo} ({status}); HF_TOKEN must be a token that may read it"
                ) from error
            raise HubUnreachable(self._silent(repo, f"it answered {status}", revision)) from error
        except _transport_error() as error:
            raise HubUnreachable(self._silent(repo, str(error) or type(error).__name__, revision)) from error
        except OSError as error:
            if error.errno is not None:
                raise  # this machine's: no room, no right to write
            raise HubUnreachable(self._silent(repo, str(error) or type(error).__name__, revision)) from error

    def _silent(self, repo: str, why: str, revision: str | None) -> str:
        why = why.splitlines()[0].rstrip(".")
        hub = f"{self.endpoint} (variable HF_ENDPOINT) does not give"
        if self.cached(repo, revision):
            return f"model: {hub} {repo}: {why}"
        return f"model: {repo} is not all in the cache {self.cache}, and {hub} it: {why}"


@contextmanager
def _writing(place: Path) -> Iterator[None]:
    """Tells what this machine refuses, in our own words."""
    try:
        yield
    except OSError as error:
        where = error.filename or place
        raise ModelError(f"model: {where} cannot be written: {error.strerror or error}") from error


def _here(target: Path, file: HubFile) -> int:
    return file.size if target.is_file() else _length(_partial(target), file)


def _length(partial: Path, file: HubFile) -> int:
    return min(file.size, partial.stat().st_size) if partial.is_file() else 0


def _partial(target: Path) -> Path:
    return target.with_name(f"{target.name}.incomplete")


def _offset(advance: Advance, before: int) -> Advance:
    return lambda here: advance(before + here)


def _hub_file(repo: str, sibling: Any) -> HubFile:
    large = sibling.lfs
    if sibling.size is None or (large is None and sibling.blob_id is None):
        raise ModelError(f"model: the hub gives no checksum for {sibling.rfilename} of {repo}")
    checksum = f"sha256:{large['sha256']}" if large else f"git-sha1:{sibling.blob_id}"
    if not CHECKSUM.fullmatch(checksum):  # it is to be a file's name
        raise ModelError(f"model: the hub gives {checksum!r} as a checksum of {sibling.rfilename} of {repo}")
    return HubFile(name=sibling.rfilename, size=sibling.size, checksum=checksum)


def _transport_error() -> type[Exception]:
    """What the HTTP library raises: which one it is depends on the version of huggingface_hub, whose error is one."""
    from huggingface_hub.errors import HfHubHTTPError

    root: type[Exception] = HfHubHTTPError.__bases__[0]
    return root
