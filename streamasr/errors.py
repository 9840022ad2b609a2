"""Every exception of streamasr; this docstring is the tree.

StreamASRError
├── ClientError              the client's fault: its text may be sent to the client
│   ├── InvalidSetting       a setting of the session is wrong (``field`` names it)
│   ├── InvalidMessage       a message is not of the protocol's form
│   ├── ProtocolViolation    a well-formed message at the wrong time
│   ├── ResumeLost           a resume token is not ours, or not from this process
│   ├── MediaError           a file is not audio that we can read
│   ├── TooLarge             a file is larger or longer than is allowed
│   └── SlowClient           the client does not read what it is sent
├── Refused                  no room now; ``retry_after_s`` says when to try again
├── ConfigError              the server was started wrongly: one sentence, exit code 2
│   └── ModelError           the model is missing or not in a format we can run
│       └── HubUnreachable   the model is not here, and the hub that has it does not answer
└── EngineError              our fault: its text is logged, never sent
    ├── WindowFailed         this one window could not be transcribed
    ├── WindowSuperseded     a newer partial of its lane took its place in the queue
    ├── WindowDiscarded      its session is gone
    └── Unavailable          the engine is stopped or does not answer

Imports nothing, so that everything may import it.
"""


class StreamASRError(Exception):
    """The root: whatever streamasr raises on purpose is one of these."""


class ClientError(StreamASRError):
    """The client's fault.

    ``code`` is the machine-readable name sent on the wire, ``field`` the setting or message field at fault
    (or None), ``fatal`` whether the connection ends.
    """

    code = "client_error"
    fatal = True

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class InvalidSetting(ClientError):
    """A setting of the session is unknown, of the wrong type or out of range."""

    code = "invalid_setting"


class InvalidMessage(ClientError):
    """A message is not of the protocol's form."""

    code = "invalid_message"
    fatal = False


class ProtocolViolation(ClientError):
    """A well-formed message at the wrong time."""

    code = "protocol_violation"


class ResumeLost(ClientError):
    """A resume token that this server cannot honour."""

    code = "resume_lost"


class MediaError(ClientError):
    """A file is not audio that we can read: not there, no container we know, no audio in it, or broken."""

    code = "invalid_media"


class TooLarge(ClientError):
    """A file is larger or longer than is allowed."""

    code = "too_large"


class SlowClient(ClientError):
    """The client does not read what it is sent."""

    code = "slow_client"


class Refused(StreamASRError):
    """There is no room for this session now."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s


class ConfigError(StreamASRError):
    """The server was started wrongly; the text is one sentence for the person who started it."""


class ModelError(ConfigError):
    """The model is missing or not in a format we can run."""


class HubUnreachable(ModelError):
    """The model is not on this machine, and the hub that has it does not answer."""


class EngineError(StreamASRError):
    """Our fault: logged, never sent."""


class WindowFailed(EngineError):
    """This one window could not be transcribed; its neighbours were."""


class WindowSuperseded(EngineError):
    """A newer partial of the same lane took this one's place in the queue."""


class WindowDiscarded(EngineError):
    """The session of this window is gone."""


class Unavailable(EngineError):
    """The engine is stopped or does not answer."""
