"""What it takes to go on after a lost connection: the last token, the stable text shown, the audio not yet final.

A state machine fed with what was sent and what was received; decides what to say to the next server. Knows
neither sockets nor clocks. Positions are bytes of audio since the session's first sample; controls (flush,
update, stop) stand at the position at which they were sent.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from .events import Event, Final, Partial, Ready, Reconnected, SpeechStarted

SILENCE = {"mulaw": 0xFF, "alaw": 0xD5}
"""The byte that is silence, where it is not 0."""
WIDTH = {"pcm_f32le": 4, "mulaw": 1, "alaw": 1}
"""Bytes of a sample, where they are not 2."""
MARGIN_S = 1.1
"""Kept before the last final: the server restarts at a whole step of its resampler, which is at most 1 s."""
CHUNK = 32_000
"""Bytes of one replayed message."""


class Resumption:
    """One session's memory. ``settings`` are those of its ``start``; at most ``limit`` bytes of audio are kept."""

    def __init__(self, settings: Mapping[str, Any], limit: int) -> None:
        self.token: str | None = None
        self.restarted = False
        """Whether the next connection begins a new session."""
        self._rate = int(settings.get("sample_rate", 16_000))
        self._channels = int(settings.get("channels", 1))
        encoding = settings.get("encoding", "pcm_s16le")
        self._width = WIDTH.get(encoding, 2)
        self._frame = self._width * self._channels
        self._silence = bytes([SILENCE.get(encoding, 0)])
        self._limit = limit
        self._first = 0
        self._kept = bytearray()
        self._controls: dict[Any, tuple[int, str]] = {}
        self._ends = [0.0] * self._channels
        self._shown: list[Partial | None] = [None] * self._channels
        self._offset_s = 0.0
        self._lost_s = 0.0

    @property
    def end(self) -> int:
        """The position just after the last byte sent."""
        return self._first + len(self._kept)

    def began(self, ready: Ready) -> None:
        """The session is open for the first time."""
        self.token = ready.resume
        self._first = ready.audio_received * self._frame
        self._ends = [ready.audio_received / self._rate] * self._channels

    def sent(self, audio: bytes | bytearray | memoryview) -> None:
        """Keep audio that is about to be sent."""
        self._kept += audio
        self._forget(self.end - self._limit)

    def asked(self, key: Any, text: str) -> None:
        """Keep a control that is about to be sent, until it is ``answered``."""
        self._controls[key] = (self.end, text)

    def answered(self, key: Any) -> None:
        """Drop a control."""
        self._controls.pop(key, None)

    def observe(self, event: Event) -> None:
        """Learn from an event of the server."""
        match event:
            case SpeechStarted():
                self._shown[event.channel] = None
            case Partial():
                self._shown[event.channel] = event
            case Final():
                self._shown[event.channel] = None
                self._ends[event.channel] = event.end
                if event.resume is not None:
                    self.token = event.resume
                    self._forget(self._position(min(self._ends) - MARGIN_S))

    def start_fields(self) -> dict[str, Any]:
        """Return what to add to ``start``; nothing before the first token."""
        if self.token is None:
            return {}
        stable = [shown.stable if shown else "" for shown in self._shown]
        ends = [shown.words[-1].end if shown and shown.words else None for shown in self._shown]
        one = self._channels == 1
        return {
            "resume": self.token,
            "stable": stable[0] if one else stable,
            "stable_end": ends[0] if one else ends,
        }

    def replay(self, sample: int) -> Iterator[bytes | str]:
        """Yield everything from this input sample on, in order: audio, and the controls not yet answered.

        What is no longer kept is silence, so that the clock holds. Events may be observed meanwhile.
        """
        position = sample * self._frame
        for at, text in (*self._controls.values(), (self.end, "")):
            while position < at:
                audio = self._read(position, min(CHUNK, at - position))
                position += len(audio)
                yield audio
            if text:
                yield text

    def restart(self) -> None:
        """Begin a new session with the audio that is not final yet, for its token was refused.

        Channels whose last final ended later than another's are silenced up to there: nothing is heard twice.
        """
        start_s = max(min(self._ends), self._first / self._frame / self._rate)
        begin = self._position(start_s)
        self._lost_s += start_s - min(self._ends)
        self._offset_s += start_s
        self._forget(begin)
        for channel, end_s in enumerate(self._ends):
            self._mute(channel, (self._position(end_s) - begin) // self._frame)
        self._controls = {key: (max(0, at - begin), text) for key, (at, text) in self._controls.items()}
        self._first = 0
        self._ends = [0.0] * self._channels
        self._shown = [None] * self._channels
        self.token = None
        self.restarted = True

    def reconnected(self, ready: Ready, reason: str, attempts: int) -> Reconnected:
        """Go on over a new connection; returns the event that says so."""
        lost_s = max(0, self._first - ready.audio_received * self._frame) / self._frame / self._rate
        event = Reconnected(
            reason=reason,
            attempts=attempts,
            resumed=not self.restarted,
            offset=self._offset_s,
            missing=self._lost_s + lost_s,
        )
        self.restarted, self._lost_s = False, 0.0
        return event

    def _position(self, seconds: float) -> int:
        return max(0, round(seconds * self._rate)) * self._frame

    def _forget(self, before: int) -> None:
        """Drop whole samples before this position."""
        count = min(max(0, before - self._first), len(self._kept))
        count -= count % self._frame
        del self._kept[:count]
        self._first += count

    def _read(self, position: int, size: int) -> bytes:
        if position < self._first:
            return self._silence * min(size, self._first - position)
        at = position - self._first
        return bytes(self._kept[at : at + size])

    def _mute(self, channel: int, samples: int) -> None:
        """Silence the first samples of a channel."""
        samples = min(samples, len(self._kept) // self._frame)
        for byte in range(channel * self._width, (channel + 1) * self._width):
            self._kept[byte : samples * self._frame : self._frame] = self._silence * samples
