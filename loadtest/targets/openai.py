"""OpenAI's realtime wire in transcription mode (general availability): base64 PCM at 24 kHz up, deltas down.

A delta is never taken back, but only ``completed`` is promised to be right: what was shown before is unstable.
If the caller decides where speech ends, ``flush`` commits the buffer; otherwise the service's own detection does.
"""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import soxr

from loadtest.targets import Heard, TargetError, TargetOptions
from loadtest.targets.dialect import Message, Reaction, complete, decoded, encoded
from loadtest.targets.socket import SocketTarget

RATE = 24_000
ITEM = "conversation.item.input_audio_transcription."


class OpenAI(SocketTarget):
    """A connection to OpenAI, or what speaks like it."""

    def __init__(self, options: TargetOptions) -> None:
        super().__init__(OpenAIDialect(options))


class OpenAIDialect:
    """One connection's messages (``loadtest.targets.dialect.Dialect``)."""

    def __init__(self, options: TargetOptions) -> None:
        self._options = options
        self._resampler = soxr.ResampleStream(16_000, RATE, 1, dtype="int16")
        self._utterances: dict[str, int] = {}
        self._texts: dict[str, str] = {}
        self._speaking = False
        self._open: set[str] = set()
        """Items whose ``completed`` is to come."""
        self._commits = 0
        """Commits that were not answered yet."""
        self._finishing = False
        self.ready = False

    @property
    def done(self) -> bool:
        """Whether every commit was answered and every item is complete."""
        return self._finishing and not self._commits and not self._open

    @property
    def url(self) -> str:
        """The transcription mode of the realtime socket."""
        return complete(self._options.url, "/v1/realtime", {"intent": "transcription"})

    @property
    def headers(self) -> Mapping[str, str]:
        """The key, if there is one."""
        return {"Authorization": f"Bearer {self._options.key}"} if self._options.key else {}

    def opened(self) -> tuple[Message, ...]:
        """Nothing: the service speaks first."""
        return ()

    def audio(self, pcm: bytes) -> tuple[Message, ...]:
        """At 24 kHz, in base64."""
        resampled = self._resampler.resample_chunk(np.frombuffer(pcm, "<i2"))
        if not len(resampled):
            return ()
        audio = base64.b64encode(resampled.astype("<i2").tobytes()).decode()
        return (encoded(type="input_audio_buffer.append", audio=audio),)

    def flush(self) -> tuple[Message, ...]:
        """A commit, if the caller decides where speech ends."""
        return self._commit() if self._options.flushes else ()

    def finish(self) -> tuple[Message, ...]:
        """A commit, if the service has heard speech begin and not end; there is no message for an end."""
        self._finishing = True
        return self._commit() if self._speaking else ()

    def receive(self, message: Message) -> Reaction:
        """Read one event; types without text or order have nothing to show.

        Raises:
            TargetError: it is an ``error`` other than that of a commit of nothing, or an item failed.
        """
        event: dict[str, Any] = decoded(message)
        match event.get("type"):
            case "session.created":
                return Reaction(answers=(self._settings(),))
            case "session.updated":
                self.ready = True
            case "input_audio_buffer.speech_started":
                self._speaking = True
                self._number(event["item_id"])
            case "input_audio_buffer.speech_stopped":
                self._speaking = False
                return Reaction((Heard(kind="speech_ended", utterance=self._number(event["item_id"])),))
            case "input_audio_buffer.committed":
                self._commits, self._speaking = max(0, self._commits - 1), False
                self._number(event["item_id"])
            case "error" if event["error"].get("code") == "input_audio_buffer_commit_empty":
                self._commits = max(0, self._commits - 1)
            case "error":
                raise _error(event["error"])
            case str(kind) if kind.startswith(ITEM):
                return Reaction(self._item(kind.removeprefix(ITEM), event))
        return Reaction()

    def closed(self) -> tuple[Heard, ...]:
        """Nothing remains.

        Raises:
            TargetError: the service closed before every item was complete.
        """
        if not self.done:
            raise TargetError(f"OpenAI closed the connection with {len(self._open)} transcripts to come", code="closed")
        return ()

    def _item(self, kind: str, event: dict[str, Any]) -> tuple[Heard, ...]:
        item = event["item_id"]
        match kind:
            case "delta":
                utterance = self._number(item)
                self._texts[item] = self._texts.get(item, "") + event["delta"]
                return (Heard(kind="partial", utterance=utterance, unstable=self._texts[item]),)
            case "completed":
                utterance = self._number(item)
                self._open.discard(item)
                return (Heard(kind="final", utterance=utterance, stable=event["transcript"]),)
            case "failed":
                raise _error(event["error"])
        return ()

    def _number(self, item: str) -> int:
        """The utterance of an item, in the order in which they were first heard of."""
        if item not in self._utterances:
            self._utterances[item] = len(self._utterances)
            self._open.add(item)
        return self._utterances[item]

    def _commit(self) -> tuple[Message, ...]:
        self._commits += 1
        return (encoded(type="input_audio_buffer.commit"),)

    def _settings(self) -> str:
        options = self._options
        transcription = {"model": options.model or "gpt-4o-transcribe"}
        if options.language != "auto":
            transcription["language"] = options.language
        silence = {} if options.endpointing_ms is None else {"silence_duration_ms": options.endpointing_ms}
        audio = {
            "format": {"type": "audio/pcm", "rate": RATE},
            "transcription": transcription,
            "turn_detection": None if options.flushes else {"type": "server_vad", **silence},
        }
        return encoded(type="session.update", session={"type": "transcription", "audio": {"input": audio}})


def _error(error: dict[str, Any]) -> TargetError:
    return TargetError(f"OpenAI: {error['message']}", code=str(error.get("code") or error.get("type") or "error"))
