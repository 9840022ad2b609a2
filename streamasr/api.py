"""The Python API: recordings and live audio to words, in this process, by the code that the server runs.

``transcribe``, ``transcribe_batch`` and ``stream`` load a model, work and free it. Whoever has more to do holds on
to a ``Recognizer`` (in asyncio code to what ``recognizer`` gives), which loads the model once.
Errors are those of ``streamasr.errors``: ``ModelError`` if the model cannot be had, ``MediaError`` if a source is
not audio, ``InvalidSetting`` if an option is wrong or more than the model can do.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, Unpack, overload

from streamasr.embedded import AsyncRecognizer, FileSettings, Source, StreamSettings, load, settings_of
from streamasr.errors import StreamASRError
from streamasr.inference.hardware import Purpose
from streamasr.results import Transcript
from streamasr_client.events import Event

T = TypeVar("T")


class Recognizer:
    """A model that is loaded, for code without asyncio; may be used from several threads, and in notebooks.

    ``with Recognizer("small") as recognizer: recognizer.transcribe("talk.mp3").text``

    Raises:
        ConfigError: an argument is wrong.
        ModelError: the model cannot be had, or cannot be run.
    """

    def __init__(
        self,
        model: str = "auto",
        *,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        compute_type: str = "auto",
        threads: int | None = None,
    ) -> None:
        chosen = settings_of(model=model, device=device, compute_type=compute_type, threads=threads)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="recognizer", daemon=True)
        self._thread.start()
        self._context = load(chosen)
        try:
            self._inner = self._run(self._context.__aenter__())
        except BaseException:
            self._stop()
            raise

    @property
    def model(self) -> str:
        """The model's name."""
        return self._inner.model

    @property
    def reason(self) -> str:
        """Why this model; empty if it was asked for by name."""
        return self._inner.reason

    @property
    def notice(self) -> str:
        """What whoever uses it should know; empty if there is nothing."""
        return self._inner.notice

    def transcribe(self, source: Source, **options: Unpack[FileSettings]) -> Transcript:
        """As ``AsyncRecognizer.transcribe``."""
        return self._run(self._inner.transcribe(source, **options))

    @overload
    def transcribe_batch(
        self, sources: Iterable[Source], *, return_errors: Literal[False] = False, **options: Unpack[FileSettings]
    ) -> list[Transcript]: ...

    @overload
    def transcribe_batch(
        self, sources: Iterable[Source], *, return_errors: bool, **options: Unpack[FileSettings]
    ) -> list[Transcript | StreamASRError]: ...

    def transcribe_batch(
        self, sources: Iterable[Source], *, return_errors: bool = False, **options: Unpack[FileSettings]
    ) -> Any:
        """As ``AsyncRecognizer.transcribe_batch``."""
        return self._run(self._inner.transcribe_batch(sources, return_errors=return_errors, **options))

    def close(self) -> None:
        """Free the model."""
        if self._thread.is_alive():
            try:
                self._run(self._context.__aexit__(None, None, None))
            finally:
                self._stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:  # Ctrl-C too: nobody waits for it any more
            future.cancel()
            raise

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def transcribe(source: Source, *, model: str = "auto", **options: Unpack[FileSettings]) -> Transcript:
    """Transcribe one recording: load the model, transcribe, free it. Errors as those of ``Recognizer``."""
    with Recognizer(model) as loaded:
        return loaded.transcribe(source, **options)


@overload
def transcribe_batch(
    sources: Iterable[Source],
    *,
    model: str = "auto",
    return_errors: Literal[False] = False,
    **options: Unpack[FileSettings],
) -> list[Transcript]: ...


@overload
def transcribe_batch(
    sources: Iterable[Source], *, model: str = "auto", return_errors: bool, **options: Unpack[FileSettings]
) -> list[Transcript | StreamASRError]: ...


def transcribe_batch(
    sources: Iterable[Source], *, model: str = "auto", return_errors: bool = False, **options: Unpack[FileSettings]
) -> Any:
    """Transcribe recordings, several at a time, on one loaded model; see ``AsyncRecognizer.transcribe_batch``."""
    with Recognizer(model) as loaded:
        return loaded.transcribe_batch(sources, return_errors=return_errors, **options)


@asynccontextmanager
async def recognizer(
    model: str = "auto",
    *,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    compute_type: str = "auto",
    threads: int | None = None,
    purpose: Purpose = "files",
) -> AsyncIterator[AsyncRecognizer]:
    """A model that is loaded, for asyncio code; it is freed at the end of the block.

    ``async with recognizer("small") as loaded: print((await loaded.transcribe("talk.mp3")).text)``

    Args:
        model: as ``--model`` has it.
        device: where it runs.
        compute_type: CTranslate2's name of it.
        threads: of one batch on a CPU; None: chosen for the machine.
        purpose: what it is for: ``files`` takes all cores, ``live`` leaves some to what comes in.

    Raises:
        ConfigError: an argument is wrong.
        ModelError: the model cannot be had, or cannot be run.
    """
    chosen = settings_of(model=model, device=device, compute_type=compute_type, threads=threads)
    async with load(chosen, purpose=purpose) as loaded:
        yield loaded


async def stream(
    chunks: AsyncIterable[bytes] | Iterable[bytes], *, model: str = "auto", **settings: Unpack[StreamSettings]
) -> AsyncGenerator[Event]:
    """Transcribe audio while it comes, on a model loaded for it; see ``AsyncRecognizer.stream``."""
    async with recognizer(model, purpose="live") as loaded:
        events = loaded.stream(chunks, **settings)
        try:
            async for event in events:
                yield event
        finally:
            await events.aclose()
