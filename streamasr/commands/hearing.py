"""What hears a recording for the command line: a model in this process, or a running server.

Both give the same messages. Owns the opening of what is to be heard; knows nothing of results.
"""

import asyncio
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, aclosing, asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import BinaryIO, cast

from streamasr.commands.filerun import Hear
from streamasr.commands.inputs import STDIN, Recording
from streamasr.commands.show import at_terminal, loading_shown
from streamasr.commands.stages import StageTimes
from streamasr.commands.upload import ServerAddress, upload
from streamasr.embedded import Source, load
from streamasr.errors import MediaError, Refused
from streamasr.inference import media
from streamasr.inference.blocking import BlockingThread
from streamasr.ops.config import Settings
from streamasr.server.files import messages
from streamasr.wire.files import FileRequest, Message

TRIES = 60
"""So often a server is asked that has no room: for ten minutes, if it says to come back in ten seconds."""


@asynccontextmanager
async def embedded(
    settings: Settings, request: FileRequest, *, quiet: bool = False, times: StageTimes | None = None
) -> AsyncIterator[Hear]:
    """Hear with a model of this process, which is loaded for the block.

    Raises:
        ModelError: the model cannot be had, or cannot be run.
    """
    async with AsyncExitStack() as stack:
        with loading_shown(quiet=quiet) as watcher:
            loaded = await stack.enter_async_context(
                load(
                    settings,
                    terminal=at_terminal(),
                    watcher=watcher,
                    on_stages=times.add_batch if times else None,
                )
            )
        if not quiet:
            why = f": {loaded.reason}" if loaded.reason else ""
            print(f"streamasr: transcribing with the model {loaded.model}{why}", file=sys.stderr)
        if loaded.notice:
            print(f"streamasr: {loaded.notice}", file=sys.stderr)

        async def hear(recording: Recording) -> AsyncGenerator[Message]:
            with ExitStack() as opened:
                source: Source = recording.path or recording.source
                if recording.source == STDIN:
                    source = opened.enter_context(_standard_input())
                items = loaded.transcribe_file(
                    source, request.options, offset_s=request.offset_s, duration_s=request.duration_s
                )
                async with aclosing(items):
                    watched = times.watched(recording.source, items) if times else items
                    async for message in messages(watched, request.offset_s, loaded.model):
                        yield message

        yield hear


@asynccontextmanager
async def by_server(address: ServerAddress, request: FileRequest, *, quiet: bool = False) -> AsyncIterator[Hear]:
    """Let a running server hear; one that has no room, or still loads, is asked again when it says."""

    async def hear(recording: Recording) -> AsyncGenerator[Message]:
        tries = 1 if recording.source == STDIN else TRIES
        for left in reversed(range(tries)):
            said, refused = False, None
            try:
                async with aclosing(_sent(address, recording, request)) as answers:
                    async for message in answers:
                        said = True
                        yield message
            except Refused as error:
                if said or not left:
                    raise
                refused = error
            if refused is None:
                return
            if not quiet:
                again = str(refused).replace("; try again in", "; trying again in")
                print(f"streamasr: {recording.source}: {again}", file=sys.stderr)
            with suppress(TimeoutError):
                async with asyncio.timeout(refused.retry_after_s):
                    await asyncio.get_running_loop().create_future()

    yield hear


async def _sent(address: ServerAddress, recording: Recording, request: FileRequest) -> AsyncGenerator[Message]:
    """What the server says of a recording."""
    with ExitStack() as opened:
        if recording.source == STDIN:
            file = opened.enter_context(_standard_input())
        else:
            with BlockingThread("opening") as thread:
                file = opened.enter_context(await thread.call(partial(_opened, recording)))
        async with aclosing(upload(address, file, request)) as answers:
            async for message in answers:
                yield message


@contextmanager
def _standard_input() -> Iterator[BinaryIO]:
    """What comes on it, kept on disk: most containers need seeking, and whoever reads can be interrupted."""
    growing = media.GrowingFile("the standard input")
    source = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)  # a buffer's lock would be held at exit
    threading.Thread(target=_pour, args=(source, growing), name="stdin", daemon=True).start()
    try:
        yield cast("BinaryIO", growing)
    finally:
        growing.close()


def _pour(source: BinaryIO, growing: media.GrowingFile) -> None:
    try:
        while data := source.read(1 << 16):
            growing.write(data)
    except (OSError, MediaError) as error:  # the latter: nobody wants more of it
        growing.fail(error)
    else:
        growing.finish()


def _opened(recording: Recording) -> BinaryIO:
    """The recording's bytes.

    Raises:
        MediaError: they cannot be had.
    """
    if recording.path is None:
        return media.open_source(recording.source)
    try:
        return recording.path.open("rb")
    except OSError as error:
        raise MediaError(f"{recording.source} cannot be read: {error.strerror}") from error
