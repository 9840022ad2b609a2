"""A recording sent to a running server, and the messages that come back while it is still being sent.

Owns the connection and the sentences for what can go wrong with it. Knows the native endpoint and its messages,
nothing of how they are shown or kept.
"""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from functools import partial
from typing import BinaryIO
from urllib.parse import SplitResult, urlencode, urlsplit

import h11
import msgspec

from streamasr.errors import (
    ClientError,
    ConfigError,
    EngineError,
    InvalidSetting,
    MediaError,
    Refused,
    TooLarge,
    Unavailable,
)
from streamasr.inference.blocking import BlockingThread
from streamasr.wire.files import ErrorMessage, FileRequest, Message, read_message, write_query

CONNECT_S = 10.0
PIECE = 1 << 18
"""Bytes read and sent at a time."""
LONGEST_ANSWER = 1 << 16
"""Bytes of a refusal that are looked at."""


class ServerAddress:
    """Where the server is.

    Raises:
        ConfigError: the text is no ``http://`` or ``https://`` address.
    """

    def __init__(self, text: str) -> None:
        try:
            parts = urlsplit(text)
            self.port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as error:
            raise _no_address(text) from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise _no_address(text)
        self.text = text
        self.host = parts.hostname
        self.tls = parts.scheme == "https"
        self._parts: SplitResult = parts

    def target(self, request: FileRequest) -> str:
        """The path and query of a request."""
        query = urlencode(write_query(request))
        return f"{self._parts.path.rstrip('/')}/v1/transcribe{'?' if query else ''}{query}"

    @property
    def authority(self) -> str:
        """For the ``Host`` header."""
        return self._parts.netloc.rpartition("@")[2]


async def upload(address: ServerAddress, file: BinaryIO, request: FileRequest) -> AsyncGenerator[Message]:
    """Send a recording and yield what the server says of it, up to its last message; to be closed.

    Args:
        address: the server.
        file: the recording, read from where it stands, on a thread.
        request: what is asked of it.

    Raises:
        Unavailable: the server cannot be reached, went away, or is none of ours.
        Refused: it has no room now, or shuts down.
        InvalidSetting: it, or its model, cannot do what is asked.
        MediaError, TooLarge: it cannot or will not read the recording.
    """
    try:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(address.host, address.port, ssl=address.tls or None)
    except (OSError, TimeoutError) as error:
        raise Unavailable(f"{address.text} cannot be reached ({_why(error)}): is the server running there?") from error
    exchange = _Exchange(address, h11.Connection(h11.CLIENT), reader, writer)
    sending = asyncio.create_task(exchange.send(file, request))
    try:
        async for message in exchange.messages():
            if isinstance(message, ErrorMessage):
                raise error_of(message, address.text)
            yield message
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


class _Exchange:
    """One request and its answer, each at its own pace."""

    def __init__(
        self,
        address: ServerAddress,
        http: h11.Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._address = address
        self._http = http
        self._reader = reader
        self._writer = writer
        self._unreadable: MediaError | None = None
        """Why the recording could not be sent to its end, if that was our side's fault."""

    async def send(self, file: BinaryIO, request: FileRequest) -> None:
        """Send everything. If the connection is gone, the reading side will say so."""
        size = _size(file)
        framing = ("Transfer-Encoding", "chunked") if size is None else ("Content-Length", str(size))
        headers = [
            ("Host", self._address.authority),
            ("Content-Type", "application/octet-stream"),
            ("Accept", "application/x-ndjson"),
            framing,
        ]
        try:
            self._write(h11.Request(method="POST", target=self._address.target(request), headers=headers))
            with BlockingThread("upload") as thread:
                while data := await thread.call(partial(file.read, PIECE)):
                    self._write(h11.Data(data=data))
                    await self._writer.drain()
            self._write(h11.EndOfMessage())
            await self._writer.drain()
        except ConnectionError:
            return
        except h11.LocalProtocolError:  # more or fewer bytes than were announced
            self._give_up(MediaError("it changed while it was sent"))
        except OSError as error:
            self._give_up(MediaError(f"it cannot be read: {error.strerror or error}"))
        except MediaError as error:
            self._give_up(error)

    def _give_up(self, error: MediaError) -> None:
        """There is no more to send: the reading side says why."""
        self._unreadable = error
        self._writer.close()

    async def messages(self) -> AsyncIterator[Message]:
        """What the server says.

        Raises:
            Unavailable: it went away before its last message, or speaks otherwise.
            MediaError: the recording could not be read here.
        """
        kept = b""
        last: Message | None = None
        response = await self._event()
        if not isinstance(response, h11.Response):
            raise self._gone()
        while isinstance(event := await self._event(), h11.Data):
            kept += event.data
            if response.status_code == 200:
                *lines, kept = kept.split(b"\n")
                for message in self._read(lines):
                    last = message
                    yield message
            elif len(kept) > LONGEST_ANSWER:
                break
        if response.status_code != 200:
            yield self._refusal(response.status_code, kept)
        elif last is None or last.__struct_config__.tag not in ("done", "error"):
            raise self._gone()

    async def _event(self) -> object:
        """The next thing the server sends."""
        while True:
            try:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    self._http.receive_data(await self._reader.read(1 << 16))
                elif not isinstance(event, h11.InformationalResponse):
                    return event
            except (h11.RemoteProtocolError, OSError) as error:
                raise self._gone() from error

    def _read(self, lines: list[bytes]) -> list[Message]:
        try:
            found = [read_message(line) for line in lines if line]
        except msgspec.DecodeError as error:
            raise Unavailable(f"{self._address.text} does not answer as a streamasr server does") from error
        return [message for message in found if message is not None]

    def _refusal(self, status: int, body: bytes) -> ErrorMessage:
        try:
            return msgspec.json.decode(body, type=ErrorMessage)
        except msgspec.DecodeError as error:
            text = f"{self._address.text} answers with HTTP status {status}: is it a streamasr server?"
            raise Unavailable(text) from error

    def _gone(self) -> Exception:
        return self._unreadable or Unavailable(f"{self._address.text} closed the connection before it had said all")

    def _write(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            self._writer.write(data)


def error_of(message: ErrorMessage, server: str) -> ClientError | EngineError | Refused:
    """The error that a server's message tells of."""
    match message:
        case ErrorMessage(code="invalid_media"):
            return MediaError(message.message)
        case ErrorMessage(code="too_large"):
            return TooLarge(message.message)
        case ErrorMessage(retry_after=float() | int() as seconds):
            return Refused(f"{server} refuses: {message.message}; try again in {seconds:g} s", retry_after_s=seconds)
        case ErrorMessage(code="internal"):
            return Unavailable(f"{server} failed; its log says why")
        case _:
            return InvalidSetting(message.message, field=message.field)


def _size(file: BinaryIO) -> int | None:
    """The bytes of a file that is all there; None for what is still coming, or does not tell."""
    if not file.seekable():
        return None
    try:
        at = file.tell()
        size = file.seek(0, os.SEEK_END) - at
        file.seek(at)
    except (OSError, ValueError):
        return None
    return size


def _why(error: OSError | TimeoutError) -> str:
    """Why there is no connection."""
    if isinstance(error, TimeoutError) and not error.errno:
        return f"no answer in {CONNECT_S:g} s"
    if isinstance(error, socket.gaierror):
        return error.strerror or "no such name"
    # asyncio's own text for several addresses, or one, names sockets.
    return os.strerror(error.errno).lower() if error.errno else "none of its addresses answers"


def _no_address(text: str) -> ConfigError:
    return ConfigError(f"--server: expected an address such as http://localhost:8765, got {text!r}")
