"""Recordings over HTTP: a body of any container in, what is said in it out while it still arrives.

Owns which uploads are let in, what one may cost, and the order in which things end. How results are written is a
``Form``'s affair (``wire/files.py``), so that other dialects can answer from the same uploads. Knows nothing of
containers but that ``media`` reads them, nothing of speech.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import BinaryIO, cast

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Message as AsgiMessage
from starlette.types import Receive, Scope, Send

from streamasr.core.events import Segment
from streamasr.core.filelane import Lost
from streamasr.errors import ClientError, EngineError, MediaError, Refused, TooLarge
from streamasr.inference import media
from streamasr.inference.files import Progress, Transcriber
from streamasr.server.admission import DRAINING_RETRY_S
from streamasr.server.registry import Registry
from streamasr.server.sessions import check_options
from streamasr.wire.files import (
    Document,
    DoneMessage,
    FileRequest,
    Form,
    Lines,
    Message,
    ProgressMessage,
    read_query,
    said,
)
from streamasr.wire.native import error_body

logger = logging.getLogger(__name__)

PATH = "/v1/transcribe"
BUSY_RETRY_S = 10.0
"""Recordings take seconds to minutes; a place is not free at once."""
STALLED_S = 60.0
"""An upload of which nothing comes for so long is given up."""


class Uploads:
    """The recordings that are being transcribed; all routes that take recordings share one of these."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.open = 0
        """How many there are now."""

    def check(self, request: FileRequest, size: int | None) -> None:
        """Whether a recording may be sent now.

        Args:
            request: what is asked of it.
            size: its bytes, if they are announced.

        Raises:
            Refused: the model is not ready, the server shuts down, or there are too many recordings.
            TooLarge: it has too many bytes.
            InvalidSetting: the model cannot do what is asked.
        """
        if refused := self.registry.not_ready():
            raise refused
        self._check_room()
        most = self.registry.settings.max_file_bytes
        if size is not None and size > most:
            raise TooLarge(f"the recording has {size} bytes; at most {most} are taken")
        check_options(request.options, self.registry.services.model)

    async def transcribe_upload(self, body: AsyncIterator[bytes], request: FileRequest) -> AsyncGenerator[Message]:
        """Transcribe a recording while it arrives; to be closed, which frees all that it holds.

        The last message is a ``DoneMessage``.

        Args:
            body: its bytes, in pieces of any size; not read further than the recording is needed.
            request: what is asked of it.

        Raises:
            Refused: there are too many by now.
            MediaError: it is not audio that can be read; what came before is said first.
            TooLarge: it has too many bytes, or is too long.
            EngineError: our fault.
        """
        self._check_room()
        settings, services = self.registry.settings, self.registry.services
        growing = media.GrowingFile("the recording", max_bytes=settings.max_file_bytes)
        blocks = media.decode(
            cast("BinaryIO", growing),
            offset_s=request.offset_s,
            duration_s=request.duration_s,
            limits=media.MediaLimits(max_bytes=settings.max_file_bytes, max_seconds=settings.max_file_seconds),
        )
        transcriber = Transcriber(services.backend, services.scorer, services.vad, services.policy)
        items = transcriber.transcribe(blocks, request.options)
        filling = asyncio.create_task(_fill(growing, body))
        self.open += 1
        try:
            async for message in messages(items, request.offset_s, services.model.name):
                yield message
        finally:
            self.open -= 1
            filling.cancel()
            growing.close()  # first: who waits for bytes on a thread is woken by it
            await items.aclose()
            await asyncio.gather(filling, return_exceptions=True)

    def _check_room(self) -> None:
        most = self.registry.settings.max_files
        if self.open >= most:
            raise Refused(f"all places for recordings are taken ({most})", retry_after_s=BUSY_RETRY_S)


async def _fill(growing: media.GrowingFile, body: AsyncIterator[bytes]) -> None:
    """Everything into the file; what goes wrong is raised where the file is read."""
    try:
        async for piece in body:
            await asyncio.to_thread(growing.write, piece)
    except ClientDisconnect:
        growing.fail(MediaError("the recording ends before its end"))
    except ClientError as error:
        growing.fail(error)
    except Exception as error:
        logger.exception("an upload could not be kept")
        growing.fail(EngineError(str(error)))
    else:
        growing.finish()


async def messages(
    items: AsyncIterator[Segment | Lost | Progress], offset_s: float, model: str
) -> AsyncIterator[Message]:
    """What a ``Transcriber`` says of a recording, from which ``offset_s`` seconds were left out, as messages."""
    last: Progress | None = None
    async for item in items:
        if isinstance(item, Progress):
            last = item
            if item.seconds_read:  # before there is audio, nothing is said: it may turn out to be none
                yield ProgressMessage(done=round(item.seconds_done, 2), read=round(item.seconds_read, 2))
        else:
            yield said(item, offset_s)
    yield DoneMessage(
        language=(last.language if last else None) or "",
        language_probability=round(last.language_probability, 3) if last and last.language else 0.0,
        duration=round(last.seconds_read, 3) if last else 0.0,
        model=model,
    )


def file_routes(registry: Registry) -> list[BaseRoute]:
    """The native route; ``Accept: application/json`` asks for one document in place of lines."""
    uploads = Uploads(registry)

    async def transcribe(request: Request) -> Response:
        try:
            asked = read_query(dict(request.query_params))
            uploads.check(asked, _announced(request))
        except (ClientError, Refused) as error:
            return refuse(error)
        document = "application/json" in request.headers.get("Accept", "")
        return Answer(uploads, asked, Document() if document else Lines())

    return [Route(PATH, transcribe, methods=["POST"])]


def refuse(error: ClientError | EngineError | Refused) -> Response:
    """An error in place of an answer; uvicorn throws the rest of the body away as it comes."""
    status, headers = _status(error)
    return Response(error_body(error), status, headers, media_type="application/json")


class Body:
    """A request's body, and whether the client is still there."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._ended = asyncio.Event()

    @property
    def complete(self) -> bool:
        """Whether no more of it will come."""
        return self._ended.is_set()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Its bytes as they come.

        Raises:
            ClientDisconnect: the client left before its end.
            MediaError: nothing came for too long.
        """
        while not self.complete:
            try:
                async with asyncio.timeout(STALLED_S):
                    message = await self._next()
            except TimeoutError as error:
                raise MediaError(f"nothing came of the recording for {STALLED_S:g} s") from error
            if not message.get("more_body", False):
                self._ended.set()
            if message.get("body"):
                yield message["body"]

    async def until_left(self) -> None:
        """Wait until the client leaves.

        Raises:
            ClientDisconnect: it has left.
        """
        await self._ended.wait()
        while True:
            await self._next()

    async def _next(self) -> AsgiMessage:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._ended.set()
            raise ClientDisconnect
        return message


class Answer(Response):
    """One upload's answer, begun with its first result: what goes wrong before has a status of its own."""

    def __init__(self, uploads: Uploads, request: FileRequest, form: Form) -> None:
        self._uploads = uploads
        self._request = request
        self._form = form
        self._patience: asyncio.Timeout | None = None
        self._began = False

    def drain(self) -> None:
        """The server shuts down: what is not done when its patience ends, ends with an error."""
        if self._patience is not None:
            wait = self._uploads.registry.settings.drain_timeout_s
            self._patience.reschedule(asyncio.get_running_loop().time() + wait)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, until all is said or the client leaves."""
        body = Body(receive)
        with self._uploads.registry.registered(self, session=False):
            try:
                async with asyncio.TaskGroup() as group:
                    watching = group.create_task(body.until_left())
                    if failure := await self._answer(body, send):
                        await self._fail(failure, scope, receive, send)
                    watching.cancel()
            except* ClientDisconnect:
                logger.info("the client of a recording has left")

    async def _answer(self, body: Body, send: Send) -> ClientError | EngineError | Refused | None:
        """Say all there is to say; what kept it from doing so."""
        now = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(None) as self._patience:
                async with aclosing(self._uploads.transcribe_upload(body.pieces(), self._request)) as messages:
                    async for message in messages:
                        if text := self._form.say(message, now()):
                            await self._say(text, body, send)
                await self._say(b"", body, send, more=False)
        except TimeoutError:
            return Refused("the server is shutting down", retry_after_s=DRAINING_RETRY_S)
        except (ClientError, Refused) as error:
            return error
        except EngineError as error:
            logger.exception("a recording could not be transcribed")
            return error
        return None

    async def _fail(
        self, failure: ClientError | EngineError | Refused, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if self._began:
            await send({"type": "http.response.body", "body": self._form.error(failure)})
        else:
            await refuse(failure)(scope, receive, send)

    async def _say(self, text: bytes, body: Body, send: Send, *, more: bool = True) -> None:
        if not self._began:
            self._began = True
            headers = [(b"content-type", self._form.media_type.encode()), (b"cache-control", b"no-store")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
        # Many clients read nothing before they have sent everything.
        wait = self._uploads.registry.settings.send_timeout_s if body.complete else None
        try:
            async with asyncio.timeout(wait):
                await send({"type": "http.response.body", "body": text, "more_body": more})
        except TimeoutError as error:
            raise ClientDisconnect from error


def _announced(request: Request) -> int | None:
    """The bytes of the body, if its head tells."""
    length = request.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _status(error: ClientError | EngineError | Refused) -> tuple[int, dict[str, str]]:
    match error:
        case Refused():
            return 503, {"Retry-After": str(round(error.retry_after_s))}
        case TooLarge():
            return 413, {}
        case MediaError():
            return 422, {}
        case ClientError():
            return 400, {}
        case _:
            return 500, {}
