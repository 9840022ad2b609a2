"""A client of streamasr: send audio, receive words, and never lose one to a dropped connection.

``async with connect(url, sample_rate=16000) as stream``: ``await stream.send(pcm)`` or ``stream.feed(chunks)``,
``async for event in stream``, ``await stream.flush()``, ``await stream.stop()``.
"""

from .dial import Timeouts
from .errors import (
    AudioFileError,
    ClosedError,
    ConnectError,
    NoReplyError,
    ProtocolError,
    ServerError,
    StreamError,
)
from .events import (
    Done,
    Event,
    Failed,
    Final,
    Flushed,
    Partial,
    Preflight,
    Ready,
    Reconnected,
    SpeechEnded,
    SpeechResumed,
    SpeechStarted,
    Updated,
    Warned,
    Word,
)
from .stream import Retry, Stream, connect, stream_wav
from .wav import Recording, paced, read_wav

__version__ = "0.1.0"

__all__ = [
    "AudioFileError",
    "ClosedError",
    "ConnectError",
    "Done",
    "Event",
    "Failed",
    "Final",
    "Flushed",
    "NoReplyError",
    "Partial",
    "Preflight",
    "ProtocolError",
    "Ready",
    "Reconnected",
    "Recording",
    "Retry",
    "ServerError",
    "SpeechEnded",
    "SpeechResumed",
    "SpeechStarted",
    "Stream",
    "StreamError",
    "Timeouts",
    "Updated",
    "Warned",
    "Word",
    "connect",
    "paced",
    "read_wav",
    "stream_wav",
]
