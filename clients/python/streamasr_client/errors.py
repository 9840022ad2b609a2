"""Every exception of the client; this docstring is the tree.

StreamError
├── ConnectError     the server cannot be reached, or no longer
├── ServerError      the server refused the session, a message, or ended the session (``code`` says why)
├── ProtocolError    the server sent what its protocol does not allow
├── NoReplyError     no answer in time
├── ClosedError      used after its end
└── AudioFileError   not a recording that can be streamed as it is

Imports nothing.
"""


class StreamError(Exception):
    """The root: whatever this package raises on purpose is one of these."""


class ConnectError(StreamError):
    """The server cannot be reached, or could not be reached again within the attempts allowed."""


class ServerError(StreamError):
    """The server refused or failed: ``code`` is the protocol's machine-readable name, ``message`` its text.

    ``field`` names the setting at fault, if one is. ``retry_after_s`` is set when the server is full.
    """

    def __init__(
        self, code: str, message: str, *, field: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message
        self.field = field
        self.retry_after_s = retry_after_s


class ProtocolError(StreamError):
    """The server sent something that its protocol does not allow: a bug of the server (or of this client)."""


class NoReplyError(StreamError):
    """The server did not answer in time."""


class ClosedError(StreamError):
    """The stream was stopped or closed, so this cannot be sent any more."""


class AudioFileError(StreamError):
    """The file is not a recording that can be streamed as it is."""
