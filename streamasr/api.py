"""The Python API: recordings and live audio to words, in this process, by the code that the server runs.

``transcribe``, ``transcribe_batch`` and ``stream`` load a model, work and free it. Whoever has more to do holds on
to a ``Recognizer`` (or, in asyncio code, an ``AsyncRecognizer``), which loads the model once.
Errors are those of ``streamasr.errors``: ``ModelError`` if the model cannot be had, ``MediaError`` if a source is
not audio, ``InvalidSetting`` if an option is wrong or more than the model can do.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Coroutine, Iterable
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, Unpack

from streamasr.embedded import FileSettings, Source, StreamSettings, recognizer, settings_of
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
        self._context = recognizer(chosen)
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

    def transcribe(self, source: Source, **options: Unpack[FileSettings]) -> Transcript:
        """As ``AsyncRecognizer.transcribe``."""
        return self._run(self._inner.transcribe(source, **options))

    def transcribe_batch(self, sources: Iterable[Source], **options: Unpack[FileSettings]) -> list[Transcript]:
        """As ``AsyncRecognizer.transcribe_batch``."""
        return self._run(self._inner.transcribe_batch(sources, **options))

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


def transcribe_batch(
    sources: Iterable[Source], *, model: str = "auto", **options: Unpack[FileSettings]
) -> list[Transcript]:
    """Transcribe recordings, several at a time, on one loaded model. Errors as those of ``Recognizer``."""
    with Recognizer(model) as loaded:
        return loaded.transcribe_batch(sources, **options)


async def stream(
    chunks: AsyncIterable[bytes] | Iterable[bytes], *, model: str = "auto", **settings: Unpack[StreamSettings]
) -> AsyncGenerator[Event]:
    """Transcribe audio while it comes, on a model loaded for it; see ``AsyncRecognizer.stream``."""
    async with recognizer(settings_of(model=model), purpose="live") as loaded:
        events = loaded.stream(chunks, **settings)
        try:
            async for event in events:
                yield event
        finally:
            await events.aclose()
