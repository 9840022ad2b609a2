"""Where a recording's bytes come from: a path, an address, a caller's file, an upload that is still arriving.

Gives all of them as one binary file, and their faults as one sentence each. Must not know what the bytes are.
"""

import io
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from streamasr.errors import MediaError, TooLarge

_BUFFER = 1 << 16
"""Bytes copied at a time."""

STALLED_S = 60.0
"""A web server that sends nothing for so long is given up; how long a whole file takes is its own affair."""


class GrowingFile(io.RawIOBase):
    """Bytes that are still arriving, as a file: what is not there yet is waited for. Kept on disk, not in memory.

    One thread writes (``write``, then ``finish`` or ``fail``), another reads; ``close``, from either, wakes both.
    """

    def __init__(self, name: str = "the upload", *, max_bytes: int | None = None) -> None:
        """``name`` is what errors call it; more than ``max_bytes`` are refused."""
        super().__init__()
        self._changed = threading.Condition()
        self.name = name
        self._max_bytes = max_bytes
        self._file: BinaryIO = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        self._written = 0
        self._position = 0
        self._complete = False
        self._error: Exception | None = None

    @property
    def complete(self) -> bool:
        """Whether all of its bytes are there."""
        return self._complete

    @property
    def size(self) -> int:
        """Bytes that are there."""
        return self._written

    def write(self, data: Any, /) -> int:
        """Add bytes at the end.

        Raises:
            TooLarge: they would be more than ``max_bytes``; the reader gets the same.
            MediaError: the reader has closed it.
        """
        with self._changed:
            self._check_open()
            if self._max_bytes is not None and self._written + len(data) > self._max_bytes:
                self._error = TooLarge(f"{self.name} is larger than the {self._max_bytes} bytes that are allowed.")
                self._changed.notify_all()
                raise self._error
            self._file.seek(self._written)
            view = memoryview(data)
            while view:
                written = self._file.write(view)
                view = view[written:]
                self._written += written
            self._changed.notify_all()
        return len(data)

    def finish(self) -> None:
        """No more bytes will come."""
        with self._changed:
            self._complete = True
            self._changed.notify_all()

    def fail(self, error: Exception) -> None:
        """The rest will never come: the reader gets ``error``, once it has read what is there."""
        with self._changed:
            self._error = error
            self._changed.notify_all()

    def close(self) -> None:
        """Give the disk space back; whoever waits gets a MediaError."""
        with self._changed:
            self._file.close()
            self._changed.notify_all()
        super().close()

    def wait(self) -> None:
        """Return when all bytes are there; raise what ``fail`` was given, or MediaError once closed."""
        with self._changed:
            while not self._complete:
                self._wait()

    def readable(self) -> bool:
        """True."""
        return True

    def writable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """Whether all bytes are there. Until then seeking works but waits, and FFmpeg had better not try it.

        It would look for what lies at the end of the file first.
        """
        return self._complete

    def tell(self) -> int:
        """The reader's position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move the reader; from the end: waits for the end."""
        if whence == io.SEEK_END:
            self.wait()
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._written}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        """Read what is there, one byte at least; 0 at the end."""
        with self._changed:
            while self._position >= self._written and not self._complete:
                self._wait()
            self._check_open()
            self._file.seek(self._position)
            wanted = memoryview(buffer)[: max(0, self._written - self._position)]
            count: int = self._file.readinto(wanted)  # type: ignore[attr-defined]
            self._position += count
        return count

    def _wait(self) -> None:
        self._check_open()
        if self._error is not None:
            raise self._error
        self._changed.wait()

    def _check_open(self) -> None:
        if self._file.closed:
            raise MediaError(f"{self.name} was closed before it was read to its end.")


class PulledFile(GrowingFile):
    """A file that can only be read once, as one that can be read again: read on demand, and kept on disk."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        """``file`` stays the caller's to close."""
        super().__init__(name)
        self._pull = getattr(file, "read1", file.read)

    def _wait(self) -> None:
        self._check_open()
        data = self._pull(_BUFFER)
        if data:
            self.write(data)
        else:
            self.finish()


class _RemoteFile(io.RawIOBase):
    """A file that fsspec has opened; whatever its protocol's package raises is a MediaError."""

    def __init__(self, file: Any, address: str, *, seekable: bool, stalled_s: float) -> None:
        super().__init__()
        self._remote = file
        self.name = address
        self._seekable = seekable
        self._stalled_s = stalled_s

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._seekable

    def tell(self) -> int:
        return int(self._remote.tell())

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return int(self._remote.seek(offset, whence))

    def readinto(self, buffer: Any, /) -> int:
        try:
            data = self._remote.read(len(buffer))
        except Exception as error:  # each protocol's package has its own errors
            why = _why(error, self._stalled_s)
            raise MediaError(f"{self.name} could not be read to its end: {why}.") from error
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._remote.close()
        super().close()


def open_source(source: str, *, stalled_s: float = STALLED_S) -> BinaryIO:
    """Open a file elsewhere: ``http(s)://``, ``s3://``, ``gs://``, ``az://``, whatever fsspec knows.

    Args:
        source: its address.
        stalled_s: how long a web server may send nothing, here and while the file is read; what the other
            protocols' packages wait for is theirs.

    Raises:
        MediaError: its protocol's package is missing, nobody knows the protocol, or the file cannot be opened.
    """
    shown = _shown(source)
    protocol = source.partition("://")[0]
    try:
        # Many web servers give a file only as a whole: it is read once, in order.
        streamed = {"block_size": 0} if protocol in {"http", "https"} else {}
        import fsspec.core

        system, path = fsspec.core.url_to_fs(source, **(_patience(stalled_s) if streamed else {}))
        file = system.open(path, "rb", **streamed)
    except ImportError as error:
        raise MediaError(
            f"{shown} needs a package for {protocol}:// files that is not installed: "
            "pip install 'streamasr[remote]' brings it."
        ) from error
    except Exception as error:  # each protocol's package has its own errors
        # fsspec says of whatever happens to a request that the file is not found; the cause knows better.
        cause = error.__cause__ or error
        if isinstance(cause, FileNotFoundError):
            raise MediaError(f"{shown} does not exist.") from error
        raise MediaError(f"{shown} cannot be opened: {_why(cause, stalled_s)}.") from error
    return cast("BinaryIO", _RemoteFile(file, shown, seekable=not streamed, stalled_s=stalled_s))


def _patience(stalled_s: float) -> dict[str, Any]:
    """For fsspec: no limit on a whole file, which may be read for hours, as fast as it is transcribed."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=stalled_s, sock_read=stalled_s)
    return {"client_kwargs": {"timeout": timeout}}


def _why(error: BaseException, stalled_s: float) -> str:
    return f"nothing came for {stalled_s:g} s" if isinstance(error, TimeoutError) else reason(error)


@contextmanager
def open_file(source: Path | str | BinaryIO) -> Iterator[tuple[BinaryIO, str]]:
    """The file at its beginning and what errors call it. Closes what it has opened: not the caller's file.

    What can be read only once comes as a ``PulledFile``.

    Raises:
        MediaError: it is not there or cannot be opened.
    """
    with ExitStack() as opened:
        if isinstance(source, Path) or (isinstance(source, str) and "://" not in source):
            file, name = opened.enter_context(_open_path(Path(source))), str(source)
        elif isinstance(source, str):
            file, name = opened.enter_context(open_source(source)), _shown(source)
        else:
            file, name = source, source.name if isinstance(getattr(source, "name", None), str) else "the audio"
        if not isinstance(file, GrowingFile) and not file.seekable():
            file = cast("BinaryIO", opened.enter_context(PulledFile(file, name)))
        file.seek(0)
        yield file, name


def _shown(address: str) -> str:
    """An address for people, without the secrets it may carry: a signature, a password."""
    protocol, _, rest = address.partition("?")[0].partition("://")
    return f"{protocol}://{rest.rpartition('@')[2]}"


def _open_path(path: Path) -> BinaryIO:
    if path.is_dir():
        raise MediaError(f"{path} is a directory; a file was expected.")
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise MediaError(f"{path} does not exist.") from error
    except OSError as error:
        raise MediaError(f"{path} cannot be read: {reason(error)}.") from error


def size_of(file: BinaryIO) -> int:
    """Bytes of a file; those that are there, of a growing one."""
    if isinstance(file, GrowingFile):
        return file.size
    start = file.tell()
    size = file.seek(0, io.SEEK_END)
    file.seek(start)
    return size


def reason(error: BaseException) -> str:
    """What went wrong, in the words of the library, without its full stop."""
    text = getattr(error, "strerror", None) or getattr(error, "message", None) or str(error) or type(error).__name__
    return str(text).strip().rstrip(".")
