"""One socket: attaches a dialect to a live session, with a reading and a writing side.

Owns the deadlines of the socket and the order in which things end. Decides nothing about speech or about the
form of messages. A frame is dealt with the moment it is there, without a task; nothing waits for inference, and
only a lane that has too much undecoded audio makes the socket wait.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from streamasr.errors import ClientError, EngineError, ProtocolViolation, Refused, SlowClient
from streamasr.server.outbox import Ended, Failed, Item, Outbox, Said
from streamasr.server.protocol import DELIVER, GIVE_UP, GO_ON
from streamasr.server.registry import Registry
from streamasr.server.sessions import LiveSession
from streamasr.wire import Dialect, error_body
from streamasr.wire.commands import Audio, Close, Command, Flush, Model, Reply, Send, Start, Stop, Update

logger = logging.getLogger(__name__)


async def serve_socket(
    websocket: WebSocket, dialect_of: Callable[[Mapping[str, str]], Dialect], registry: Registry
) -> None:
    """Serve one WebSocket request from before its upgrade to its end."""
    await websocket.receive()  # websocket.connect
    if refused := registry.refusal():
        await deny(websocket, refused)
        return
    try:
        dialect = dialect_of(dict(websocket.query_params))
    except ClientError as error:
        await deny(websocket, error)
        return
    connection = Connection(websocket, dialect, registry)
    with registry.registered(connection):
        await connection.run()


async def deny(websocket: WebSocket, error: ClientError | Refused) -> None:
    """Answer an upgrade with HTTP: 503 if there is no room, 400 if the request is wrong."""
    status, headers = 400, {}
    if isinstance(error, Refused):
        status, headers = 503, {"Retry-After": str(round(error.retry_after_s))}
    response = Response(error_body(error), status, headers, media_type="application/json")
    await websocket.send_denial_response(response)


class Connection:
    """The two sides of one socket and the session between them."""

    def __init__(self, websocket: WebSocket, dialect: Dialect, registry: Registry) -> None:
        self._websocket = websocket
        self._dialect = dialect
        self._registry = registry
        self._outbox = Outbox()
        self._ours_to_fail = _OursToFail(self._outbox)
        self._session: LiveSession | None = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at: float | None = None
        self._start_timer: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Open, converse, end; frees everything on every way out."""
        try:
            try:
                for item in self._dialect.open(self._loop.time()):
                    if isinstance(item, Start):
                        self._begin(item)
                    else:
                        self._obey(item)
            except ClientError as error:  # the query was a start that cannot be had
                await deny(self._websocket, error)
                return
            self._extension(DELIVER)(self._frame)
            await self._websocket.accept()
            await self._converse()
        finally:
            self._extension(DELIVER)(None)
            for timer in (self._timer, self._start_timer):
                if timer:
                    timer.cancel()
            if self._session:
                await self._session.close()

    def drain(self) -> None:
        """The server shuts down: finalise, say it, end."""
        with self._ours_to_fail:
            if self._session:
                self._session.finish("drain")
            else:
                self._outbox.end("drained")

    async def _converse(self) -> None:
        if self._session is None:
            wait = self._registry.settings.start_timeout_s
            self._start_timer = self._loop.call_later(wait, self._start_is_late, wait)
        self._arm()
        reader = self._loop.create_task(self._read())
        writer = self._loop.create_task(self._write())
        try:
            await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
            if reader.done():
                with self._ours_to_fail:
                    reader.result()
                    writer.cancel()  # the client has gone
                await asyncio.wait((writer,))
        finally:
            reader.cancel()
            writer.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)
        if not writer.cancelled() and (error := writer.exception()):
            raise error

    async def _read(self) -> None:
        """The reading side, while frames go to ``_frame``; returns when the client has gone."""
        while (await self._websocket.receive())["type"] != "websocket.disconnect":
            pass

    def _frame(self, frame: str | bytes) -> bool:
        """One frame of the client, as soon as it is there; whether there is room for another."""
        room = True
        with self._ours_to_fail:
            for item in self._dialect.receive(frame, self._loop.time()):
                if isinstance(item, Audio) and self._session:
                    room = self._session.offer(item.data)
                else:
                    self._obey(item)
            self._arm()
        return room

    async def _write(self) -> None:
        """The writing side; returns when the socket is closed, or the client has gone or does not read."""
        wait = self._registry.settings.send_timeout_s
        try:
            while True:
                for reply in self._in_words(await self._outbox.take()):
                    async with asyncio.timeout(wait):
                        await self._send(reply)
                    if isinstance(reply, Close):
                        return
                self._arm()
        except WebSocketDisconnect:
            return
        except TimeoutError:
            self._give_up(SlowClient(f"the client has read nothing for {wait:g} s"))

    def _in_words(self, item: Item) -> Sequence[Reply]:
        match item:
            case Said(event=event, channel=channel, resume=resume):
                return self._dialect.handle(event, channel, self._loop.time(), resume)
            case Ended(how="done") if self._session:
                return self._dialect.done(self._session.audio_seconds, self._session.utterances)
            case Ended():
                return self._dialect.drained()
            case Failed(error=error):
                return self._dialect.fail(error)
            case Send() | Close():
                return [item]

    async def _send(self, reply: Reply) -> None:
        match reply:
            case Send(text=text):
                await self._websocket.send({"type": "websocket.send", "text": text})
            case Close(code=code, reason=reason):
                await self._websocket.send({"type": "websocket.close", "code": code, "reason": reason})

    def _give_up(self, error: ClientError) -> None:
        """Say why and close, behind what the client has not read; the socket is cut off if it never does."""
        texts, close = [], Close(1008)
        for reply in self._dialect.fail(error):
            match reply:
                case Send(text=text):
                    texts.append(text)
                case Close():
                    close = reply
        self._extension(GIVE_UP)(texts, close.code, close.reason)

    def _extension(self, name: str) -> Callable[..., None]:
        """What our WebSocket protocol offers beside ASGI."""
        call: Callable[..., None] = self._websocket.scope["extensions"][name]["call"]
        return call

    def _begin(self, start: Start) -> None:
        """Open the session.

        Raises:
            ClientError: it cannot be had.
        """
        if self._start_timer:
            self._start_timer.cancel()
        services = self._registry.services
        self._session = session = LiveSession(start, services, self._outbox, self._extension(GO_ON))
        model = Model(services.model.name, services.notice)
        self._outbox.reply(self._dialect.started(session.id, model, session.audio_received, session.token))

    def _obey(self, item: Command | Reply) -> None:
        """Do what the dialect asks for; a client's fault is answered."""
        session = self._session
        try:
            match item:
                case Send() | Close():
                    self._outbox.reply([item])
                case Start():
                    self._begin(item)
                case _ if session is None:
                    raise RuntimeError(f"{type(item).__name__} before Start")
                case Flush(id=name):
                    session.flush(name)
                case Stop():
                    session.finish("stop")
                case Update(options=options):
                    session.update(options)
                    self._outbox.reply(self._dialect.updated())
                case Audio():
                    raise RuntimeError("audio without the reader")
        except ClientError as error:
            self._outbox.reply(self._dialect.fail(error))

    def _start_is_late(self, waited: float) -> None:
        error = ProtocolViolation(f"no start came within {waited:g} s")
        self._outbox.reply(self._dialect.fail(error))

    def _arm(self) -> None:
        """See to it that the dialect is called when it wants to be."""
        if self._dialect.wake_at == self._wakes_at:
            return
        if self._timer:
            self._timer.cancel()
        self._wakes_at = self._dialect.wake_at
        self._timer = self._loop.call_at(self._wakes_at, self._wake) if self._wakes_at is not None else None

    def _wake(self) -> None:
        self._wakes_at = None
        with self._ours_to_fail:
            for item in self._dialect.handle_timer(self._loop.time()):
                self._obey(item)
        self._arm()


class _OursToFail:
    """What goes wrong in the block ends this connection and no other."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
        if not isinstance(error, Exception):
            return False
        logger.error("a connection failed", exc_info=error)
        self._outbox.fail(EngineError(str(error)))
        return True
