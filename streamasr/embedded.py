"""A model in this process, for asyncio code: recordings and live audio to words, by the code that the server runs.

The Python API and the command line stand on it. Knows no server; what is said of a live session is put into
words by the native dialect and read by the client library, so that events are the same here and there.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypedDict, TypeVar, Unpack, overload

from streamasr.core.events import SAMPLE_RATE, Segment
from streamasr.core.options import FileOptions
from streamasr.errors import EngineError, StreamASRError
from streamasr.inference import media
from streamasr.inference.engine import Stages
from streamasr.inference.files import Lost, Progress, Transcriber
from streamasr.inference.hardware import Purpose
from streamasr.inference.loading import Loading, Watcher, model_source
from streamasr.inference.scorer import Scorer
from streamasr.inference.vad import VadModel
from streamasr.ops import config
from streamasr.ops.config import Settings
from streamasr.results import Stretch, Transcript
from streamasr.server.auth import Signer
from streamasr.server.outbox import Ended, Failed, Outbox, Said
from streamasr.server.registry import Services
from streamasr.server.sessions import LiveSession, check_options
from streamasr.wire import files
from streamasr.wire import settings as live
from streamasr.wire.commands import Model, Send, Start
from streamasr.wire.native import NativeDialect
from streamasr_client.events import Event, parse

Source = str | Path | BinaryIO
"""A recording: a path, a URL (``http(s)://``, ``s3://``, ``gs://``, ``az://``) or a binary file, in any container."""

T = TypeVar("T")
END: Any = object()
"""The end of what is not asynchronous."""
BATCH_JOBS = 4
"""Recordings of a batch transcribed at a time: their windows share the engine's batches."""


class FileSettings(TypedDict, total=False):
    """The fields of ``FileOptions``, as keyword arguments."""

    language: str
    languages: Sequence[str]
    task: Literal["transcribe", "translate"]
    prompt: str
    hotwords: str
    beam_size: int
    temperatures: Sequence[float]
    word_timestamps: bool
    compression_ratio_threshold: float | None
    logprob_threshold: float | None
    no_speech_threshold: float | None


class StreamSettings(TypedDict, total=False):
    """The settings of a live session (docs/reference/native.md), as keyword arguments."""

    encoding: Literal["pcm_s16le", "pcm_f32le", "mulaw", "alaw"]
    sample_rate: int
    channels: int
    language: str
    languages: Sequence[str]
    task: Literal["transcribe", "translate"]
    prompt: str
    hotwords: str
    endpointing_ms: int
    interim_results: bool
    word_timestamps: bool
    preflight: bool


class AsyncRecognizer:
    """A model that is loaded; made by ``streamasr.recognizer()``. Any number of recordings and streams share it."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._transcriber = Transcriber(services.backend, services.scorer, services.vad, services.policy)

    @property
    def model(self) -> str:
        """The model's name."""
        return self._services.model.name

    @property
    def reason(self) -> str:
        """Why this model; empty if it was asked for by name."""
        return self._services.reason

    @property
    def notice(self) -> str:
        """What whoever uses it should know; empty if there is nothing."""
        return self._services.notice

    async def transcribe(self, source: Source, **options: Unpack[FileSettings]) -> Transcript:
        """Transcribe a recording.

        Raises:
            MediaError: it is not audio that can be read.
            InvalidSetting: an option is wrong, or more than the model can do.
        """
        chosen = file_options(**options)
        segments: list[Segment] = []
        lost: list[Lost] = []
        read_s = 0.0
        async for item in self.transcribe_file(source, chosen):
            match item:
                case Segment():
                    segments.append(item)
                case Lost():
                    lost.append(item)
                case Progress():
                    read_s = item.seconds_read
        failed = [Stretch(start=x.start / SAMPLE_RATE, end=x.end / SAMPLE_RATE, reason=x.reason) for x in lost]
        return Transcript.of(segments, duration_s=read_s, model=self.model, failed=failed)

    @overload
    async def transcribe_batch(
        self, sources: Iterable[Source], *, return_errors: Literal[False] = False, **options: Unpack[FileSettings]
    ) -> list[Transcript]: ...

    @overload
    async def transcribe_batch(
        self, sources: Iterable[Source], *, return_errors: bool, **options: Unpack[FileSettings]
    ) -> list[Transcript | StreamASRError]: ...

    async def transcribe_batch(
        self, sources: Iterable[Source], *, return_errors: bool = False, **options: Unpack[FileSettings]
    ) -> Any:
        """Transcribe recordings, several at a time; the transcripts stand in the order of the sources.

        Args:
            sources: the recordings.
            return_errors: let the error of a recording stand in the place of its transcript, and do the others;
                else the first error ends the batch.
            options: how, for all of them.

        Raises:
            MediaError: one of them is not audio that can be read, unless errors are returned.
            InvalidSetting: an option is wrong, or more than the model can do.
        """
        check_options(file_options(**options), self._services.model)  # wrong for one, wrong for all
        free = asyncio.Semaphore(BATCH_JOBS)

        async def one(source: Source) -> Transcript | StreamASRError:
            async with free:
                try:
                    return await self.transcribe(source, **options)
                except StreamASRError as error:
                    if not return_errors:
                        raise
                    return error

        tasks = [asyncio.create_task(one(source)) for source in sources]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def transcribe_file(
        self, source: Source, options: FileOptions, *, offset_s: float = 0.0, duration_s: float | None = None
    ) -> AsyncGenerator[Segment | Progress | Lost]:
        """The same while it is being done: segments as they are known, how far it is, stretches that failed.

        Args:
            source: the recording.
            options: how.
            offset_s: seconds of it to leave out; all times are counted from there.
            duration_s: how many seconds of it to transcribe; None: all.

        Raises:
            MediaError: it is not audio that can be read.
            InvalidSetting: the model cannot do what the options ask for.
        """
        check_options(options, self._services.model)
        blocks = media.decode(source, offset_s=offset_s, duration_s=duration_s)
        items = self._transcriber.transcribe(blocks, options)
        try:
            async for item in items:
                yield item
        finally:
            await items.aclose()

    async def stream(
        self, chunks: AsyncIterable[bytes] | Iterable[bytes], **settings: Unpack[StreamSettings]
    ) -> AsyncGenerator[Event]:
        """Transcribe audio while it comes: the events that the server would send, as the client library has them.

        Args:
            chunks: audio in the encoding, rate and channels of the settings, cut anywhere, at any pace. What an
                iterable that is not asynchronous waits for, it waits for on a thread.
            settings: those of a live session.

        Raises:
            InvalidSetting: a setting is wrong, or more than the model can do.
        """
        loop = asyncio.get_running_loop()
        for name, value in settings.items():
            live.check(name, value)
        dialect = NativeDialect({"sample_rate": "16000"} | {name: _as_query(value) for name, value in settings.items()})
        outbox = Outbox(max_events=1 << 20, max_bytes=1 << 30)  # the reader is ours
        (start,) = (item for item in dialect.open(loop.time()) if isinstance(item, Start))
        session = LiveSession(start, self._services, outbox)
        feeding = loop.create_task(_feed(session, chunks))
        feeding.add_done_callback(lambda task: _tell(task, outbox))
        try:
            replies = dialect.started(session.id, Model(self.model, self.notice), session.audio_received, session.token)
            while True:
                for reply in replies:
                    if isinstance(reply, Send):
                        yield parse(reply.text)
                match await outbox.take():
                    case Said(event=event, channel=channel, resume=resume):
                        replies = dialect.handle(event, channel, loop.time(), resume)
                    case Ended():
                        for reply in dialect.done(session.audio_seconds, session.utterances):
                            if isinstance(reply, Send):
                                yield parse(reply.text)
                        return
                    case Failed(error=error):
                        raise error
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            await session.close()


@asynccontextmanager
async def load(
    settings: Settings,
    *,
    purpose: Purpose = "files",
    terminal: bool = False,
    watcher: Watcher | None = None,
    on_stages: Callable[[Stages], None] | None = None,
) -> AsyncIterator[AsyncRecognizer]:
    """Load a model; it is freed at the end of the block.

    Args:
        settings: its ``Model`` group says which model, and on what.
        purpose: what it is for: ``files`` takes all cores, ``live`` leaves some to what comes in.
        terminal: whether a person sees what is printed, who may prefer nano to nothing.
        watcher: told how the model comes, from any thread.
        on_stages: told where the time of each batch went, on the engine's threads.

    Raises:
        ModelError: the model cannot be had, or cannot be run.
    """
    loading = Loading(watcher)
    source = await asyncio.to_thread(model_source, settings, terminal=terminal, purpose=purpose, on_stages=on_stages)
    try:
        loaded = await source(loading)
    finally:
        loading.give_up()  # if nobody waits any more, the download ends
    scorer = Scorer()
    try:
        await loaded.backend.start()
        yield AsyncRecognizer(
            Services(
                backend=loaded.backend,
                vad=VadModel(),
                scorer=scorer,
                signer=Signer(settings.signing_key),
                model=loaded.model,
                policy=loaded.model.policy(encoder_window_s=settings.encoder_window),
                reason=loaded.reason,
                notice=loaded.notice,
            )
        )
    finally:
        scorer.close()
        await loaded.backend.close()


def file_options(**options: Unpack[FileSettings]) -> FileOptions:
    """Checked options.

    Raises:
        InvalidSetting: one is unknown, of the wrong type or out of range.
    """
    return FileOptions(**{name: files.check(name, value) for name, value in options.items()})


def settings_of(**values: Any) -> Settings:
    """Checked settings; what is None is the default.

    Raises:
        ConfigError: one is wrong.
    """
    return config.given({name: value for name, value in values.items() if value is not None})


async def _feed(session: LiveSession, chunks: AsyncIterable[bytes] | Iterable[bytes]) -> None:
    """Everything into the session, then its end."""
    if isinstance(chunks, AsyncIterable):
        async for chunk in chunks:
            await session.receive_audio(chunk)
    else:
        waiting = iter(chunks)

        while (chunk := await asyncio.to_thread(next, waiting, END)) is not END:
            await session.receive_audio(chunk)
    session.finish("stop")


def _tell(feeding: asyncio.Task[None], outbox: Outbox) -> None:
    """What went wrong with the source goes to whoever reads."""
    if not feeding.cancelled() and (error := feeding.exception()) is not None:
        failure = EngineError(f"the source of the audio failed: {error}")
        failure.__cause__ = error
        outbox.fail(failure)


def _as_query(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int) else ",".join(value)
