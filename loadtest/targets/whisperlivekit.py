"""WhisperLiveKit's own wire, ``/asr`` in full mode, of a server that was started with ``--pcm-input``.

Each update carries all committed lines and a buffer that may change. A line grows until another line, or a silence,
follows it: that ends the utterance. The wire has no message that says that speech has ended.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from loadtest.targets import Heard, TargetError, TargetOptions
from loadtest.targets.dialect import Message, Reaction, complete, decoded
from loadtest.targets.socket import SocketTarget

SILENCE = -2
"""The speaker of a line that is a silence."""


class WhisperLiveKit(SocketTarget):
    """A connection to a WhisperLiveKit server."""

    def __init__(self, options: TargetOptions) -> None:
        super().__init__(WhisperLiveKitDialect(options))


class WhisperLiveKitDialect:
    """One connection's messages (``loadtest.targets.dialect.Dialect``)."""

    def __init__(self, options: TargetOptions) -> None:
        self._options = options
        self._lines: dict[tuple[str, int], int] = {}
        """The utterance of each line, by its start and which of the lines with this start it is."""
        self._texts: dict[int, str] = {}
        self._ended: set[int] = set()
        self._shown: tuple[str, str] = ("", "")
        self.ready = False
        self.done = False

    @property
    def url(self) -> str:
        """With the language as the query."""
        return complete(self._options.url, "/asr", {"language": self._options.language, "mode": "full"})

    @property
    def headers(self) -> Mapping[str, str]:
        """The token, if there is one."""
        return {"Authorization": f"Bearer {self._options.key}"} if self._options.key else {}

    def opened(self) -> tuple[Message, ...]:
        """Nothing: the service speaks first."""
        return ()

    def audio(self, pcm: bytes) -> tuple[Message, ...]:
        """As it is; an empty message would be the end."""
        return (pcm,) if pcm else ()

    def flush(self) -> tuple[Message, ...]:
        """Nothing: the wire has no such message."""
        return ()

    def finish(self) -> tuple[Message, ...]:
        """An empty message."""
        return (b"",)

    def receive(self, message: Message) -> Reaction:
        """Read the greeting, an update or the end.

        Raises:
            TargetError: the service failed, or wants encoded audio.
        """
        event: dict[str, Any] = decoded(message)
        if event.get("error"):
            raise TargetError(f"WhisperLiveKit: {event['error']}", code="error")
        match event:
            case {"type": "config", "useAudioWorklet": False}:
                raise TargetError("WhisperLiveKit must be started with --pcm-input to hear PCM", code="config")
            case {"type": "config"}:
                self.ready = True
            case {"type": "ready_to_stop"}:
                self.done = True
            case {"lines": [*lines]}:
                return Reaction(self._update(lines, event.get("buffer_transcription") or ""))
        return Reaction()

    def closed(self) -> tuple[Heard, ...]:
        """The last line: nothing followed it.

        Raises:
            TargetError: the service closed without having said that it was ready to.
        """
        if not self.done:
            raise TargetError("WhisperLiveKit closed the connection before it was ready to stop", code="closed")
        return tuple(self._end(utterance) for utterance in sorted(self._texts.keys() - self._ended))

    def _update(self, lines: list[dict[str, Any]], buffer: str) -> tuple[Heard, ...]:
        times: Counter[str] = Counter()
        spoken: list[int] = []
        for line in lines:
            if line["speaker"] == SILENCE or not (line["text"] or "").strip():
                continue
            utterance = self._lines.setdefault((line["start"], times[line["start"]]), len(self._lines))
            times[line["start"]] += 1
            spoken.append(utterance)
            if utterance not in self._ended:
                self._texts[utterance] = line["text"].strip()
        growing = spoken[-1] if spoken and lines[-1]["speaker"] != SILENCE else None
        heard = [self._end(u) for u in sorted(self._texts.keys() - self._ended) if u != growing]
        current = len(self._lines) if growing is None else growing
        stable, unstable = self._texts.get(current, ""), buffer.strip()
        if (stable or unstable) and (stable, unstable) != self._shown:
            self._shown = stable, unstable
            unstable = f" {unstable}" if stable and unstable else unstable
            heard.append(Heard(kind="partial", utterance=current, stable=stable, unstable=unstable))
        return tuple(heard)

    def _end(self, utterance: int) -> Heard:
        self._ended.add(utterance)
        return Heard(kind="final", utterance=utterance, stable=self._texts[utterance])
