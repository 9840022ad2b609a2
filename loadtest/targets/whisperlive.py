"""WhisperLive's wire: float32 PCM up, the last segments down, again and again.

The wire has no utterances and no message that says that speech has ended: each segment counts as an utterance. A
completed segment is final; the open one, always the last, is unstable. What is still open when the service closes is
taken as said, as its own client does.
"""

import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np

from loadtest.targets import Heard, TargetError, TargetOptions
from loadtest.targets.dialect import Message, Reaction, complete, decoded, encoded
from loadtest.targets.socket import SocketTarget


class WhisperLive(SocketTarget):
    """A connection to a WhisperLive server."""

    def __init__(self, options: TargetOptions) -> None:
        super().__init__(WhisperLiveDialect(options))


class WhisperLiveDialect:
    """One connection's messages (``loadtest.targets.dialect.Dialect``)."""

    done = False
    """Never by a message: the service closes when it has said everything."""

    def __init__(self, options: TargetOptions) -> None:
        self._options = options
        self._uid = str(uuid.uuid4())
        self._completed = 0
        self._until_s = 0.0
        """Where the last completed segment ends."""
        self._unfinished = ""
        self.ready = False

    @property
    def url(self) -> str:
        """As given; any path will do."""
        return complete(self._options.url, "", {})

    @property
    def headers(self) -> Mapping[str, str]:
        """The key, if there is one."""
        return {"Authorization": f"Bearer {self._options.key}"} if self._options.key else {}

    def opened(self) -> tuple[Message, ...]:
        """What its own client sends first, with the same defaults."""
        options = self._options
        return (
            encoded(
                uid=self._uid,
                language=None if options.language == "auto" else options.language,
                task="transcribe",
                model=options.model or "small",
                use_vad=True,
                send_last_n_segments=10,
                no_speech_thresh=0.45,
                clip_audio=False,
                same_output_threshold=10,
                enable_translation=False,
            ),
        )

    def audio(self, pcm: bytes) -> tuple[Message, ...]:
        """As float32 between −1 and 1."""
        return ((np.frombuffer(pcm, "<i2").astype("<f4") / 32_768).tobytes(),)

    def flush(self) -> tuple[Message, ...]:
        """Nothing: the wire has no such message."""
        return ()

    def finish(self) -> tuple[Message, ...]:
        """The end of the audio, as a binary message."""
        return (b"END_OF_AUDIO",)

    def receive(self, message: Message) -> Reaction:
        """Read a status, a greeting or segments; what bears another's uid is not ours.

        Raises:
            TargetError: the service is full, failed, or has cut the connection's time.
        """
        event: dict[str, Any] = decoded(message)
        if event.get("uid") != self._uid:
            return Reaction()
        match event:
            case {"status": "WAIT", "message": minutes}:
                raise TargetError(f"WhisperLive is full for about {minutes} minutes", code="WAIT")
            case {"status": "ERROR", "message": text}:
                raise TargetError(f"WhisperLive: {text}", code="ERROR")
            case {"message": "DISCONNECT"}:
                raise TargetError("WhisperLive ended the session: its time was over", code="DISCONNECT")
            case {"message": "SERVER_READY"}:
                self.ready = True
            case {"segments": [*segments]}:
                return Reaction(self._segments(segments))
        return Reaction()

    def closed(self) -> tuple[Heard, ...]:
        """The open segment, as it was last shown."""
        return (self._final(self._unfinished),) if self._unfinished else ()

    def _segments(self, segments: list[dict[str, Any]]) -> tuple[Heard, ...]:
        heard: list[Heard] = []
        for segment in segments:
            if not segment["completed"]:
                continue
            if float(segment["start"]) >= self._until_s:  # older ones are repeated
                self._until_s = float(segment["end"])
                heard.append(self._final(segment["text"]))
        last = segments[-1] if segments else None
        if last is not None and not last["completed"] and last["text"].strip() != self._unfinished:
            self._unfinished = last["text"].strip()
            heard.append(Heard(kind="partial", utterance=self._completed, unstable=self._unfinished))
        return tuple(heard)

    def _final(self, text: str) -> Heard:
        final = Heard(kind="final", utterance=self._completed, stable=text.strip())
        self._completed, self._unfinished = self._completed + 1, ""
        return final
