"""streamasr: a real-time WebSocket streaming speech-to-text server, and the same for recordings and in Python.

``transcribe("talk.mp3").text``, ``transcribe_batch(paths)``, ``async for event in stream(chunks)``; a ``Recognizer``
keeps its model loaded. What is named here is loaded when it is first used: importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamasr.api import Recognizer, recognizer, stream, transcribe, transcribe_batch
    from streamasr.embedded import AsyncRecognizer
    from streamasr.results import Segment, Transcript, Word

__version__ = "0.1.0"

__all__ = [
    "AsyncRecognizer",
    "Recognizer",
    "Segment",
    "Transcript",
    "Word",
    "recognizer",
    "stream",
    "transcribe",
    "transcribe_batch",
]

_HOMES = {
    "AsyncRecognizer": "embedded",
    "Recognizer": "api",
    "Segment": "results",
    "Transcript": "results",
    "Word": "results",
    "recognizer": "api",
    "stream": "api",
    "transcribe": "api",
    "transcribe_batch": "api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"streamasr.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
