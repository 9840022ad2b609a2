"""What passes between a dialect and the shell that owns its socket.

Commands are what the client wants of its session, replies what goes back on the socket. Every dialect
speaks of sessions in these values and no others; nothing here knows a wire format.
"""

import msgspec

from streamasr.core.options import AudioFormat, SessionOptions


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """Begin the session. A dialect says this once, before every other command."""

    format: AudioFormat
    options: SessionOptions
    resume: str | None = None
    """The resume token as the client sent it; None: a new session."""
    stable: tuple[str, ...]
    """For each channel, the stable text the client has shown of the utterance left open; "" if none."""
    stable_end: tuple[float | None, ...]
    """For each channel, the second at which the last stable word ended, if the client knows."""


class Audio(msgspec.Struct, frozen=True):
    """Bytes of audio, in the format of the start, cut anywhere."""

    data: bytes


class Flush(msgspec.Struct, frozen=True):
    """Finalise what was received so far; each channel's ``Flushed`` carries the id back."""

    id: str | int | None = None


class Stop(msgspec.Struct, frozen=True):
    """Finalise everything, then say ``done``; no audio comes after it."""


class Update(msgspec.Struct, frozen=True):
    """Go on with these options: all of them, the unchanged included."""

    options: SessionOptions


class Model(msgspec.Struct, frozen=True):
    """The model a session runs on, as clients are told."""

    name: str
    notice: str = ""
    """What everybody should know who uses it; empty if there is nothing."""


class Send(msgspec.Struct, frozen=True):
    """Send one text frame."""

    text: str


class Close(msgspec.Struct, frozen=True):
    """Close the socket, after what was sent before; ``reason`` fits a close frame (at most 123 bytes)."""

    code: int
    reason: str = ""


Command = Start | Audio | Flush | Stop | Update
"""What the client wants of its session."""

Reply = Send | Close
"""What goes back on the socket."""
