"""The services that can be measured: what a connection to one looks like, and which there are.

Knows nothing of audio files, pacing or scores.
"""

import importlib
from collections.abc import AsyncIterator, Callable
from typing import Literal, Protocol

import msgspec

from streamasr.bench.scoring import TimedWord


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a service said. The tool itself notes when it arrived."""

    kind: Literal["partial", "final", "preflight", "speech_resumed", "speech_ended"]
    utterance: int
    """Counts up; a wire without utterances counts its finals."""
    stable: str = ""
    """Text that the service promises never to change: all of a final. Empty where the wire has no such notion."""
    unstable: str = ""
    """Text that may still change."""
    words: tuple[TimedWord, ...] = ()
    """A final's words, if the wire has them: seconds since the connection's first sample."""


class TargetOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a connection is to ask for; what a wire cannot ask for, it leaves out."""

    url: str
    key: str = ""
    """The user's own API key; empty: none."""
    language: str = "en"
    model: str = ""
    """Empty: the service's own choice."""
    endpointing_ms: int | None = None
    """The silence that ends an utterance; None: the service's own choice."""
    preflight: bool = False
    flushes: bool = True
    """Whether the caller will say where speech ends (``Target.flush``); otherwise the service is to find out."""


class TargetError(Exception):
    """The service refused a connection, ended it early, or reported an error: says which.

    ``code`` is the service's own word or number for it; ``refused``: it never let the session begin;
    ``retry_after_s``: when it says that there may be room again.
    """

    def __init__(
        self, message: str, *, code: str = "", refused: bool = False, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.refused = refused
        self.retry_after_s = retry_after_s


class Target(Protocol):
    """One connection to a service; made for each lane, used by two tasks (one sends, one iterates)."""

    async def open(self) -> None:
        """Connect, and wait until audio may be sent.

        Raises:
            TargetError: refused (``refused=True``).
        """

    async def send(self, pcm: bytes) -> None:
        """Send 16 kHz s16le mono audio. A connection that was lost is not an error here but in ``events``."""

    async def flush(self) -> None:
        """The client's voice-activity detection says: speech has ended. Nothing, if the wire has no such message."""

    async def finish(self) -> None:
        """All audio has been sent; returns when the service has said everything, or the connection is gone."""

    def events(self) -> AsyncIterator[Heard]:
        """What the service says, as it arrives; ends when the connection does.

        Cheap: it runs beside the pacing of all other lanes.

        Raises:
            TargetError: the service reported an error, or ended the connection before ``finish``.
        """

    async def close(self) -> None:
        """Give up at once; after ``finish`` too. Never raises."""


Factory = Callable[[TargetOptions], Target]


def _later(module: str, name: str) -> Factory:
    """A class of a sibling module, imported when it is first used."""

    def make(options: TargetOptions) -> Target:
        target: Target = getattr(importlib.import_module(f"{__name__}.{module}"), name)(options)
        return target

    return make


TARGETS: dict[str, Factory] = {
    "native": _later("native", "Native"),
    "deepgram": _later("deepgram", "Deepgram"),
    "openai": _later("openai", "OpenAI"),
    "whisperlive": _later("whisperlive", "WhisperLive"),
    "whisperlivekit": _later("whisperlivekit", "WhisperLiveKit"),
}
"""By the name that ``--target`` takes."""
