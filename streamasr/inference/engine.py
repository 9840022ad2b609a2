"""What stands below the backend: something that transcribes a batch of windows, on one thread."""

from collections.abc import Hashable, Sequence
from typing import Protocol

import msgspec

from streamasr.core.events import Hypothesis, Window
from streamasr.errors import WindowFailed


class Stages(msgspec.Struct, frozen=True, kw_only=True):
    """Where a batch's time went, in seconds."""

    features_s: float
    """Audio to log-mel."""
    encode_s: float
    decode_s: float
    """Telling the language, where asked, and generating."""
    align_s: float
    assembly_s: float
    """Tokens to words."""


class Engine(Protocol):
    """A model on its devices. All methods may be called from any thread."""

    @property
    def parallel(self) -> int:
        """How many batches may be transcribed at once, each on a thread of its own: one for each device."""

    @property
    def max_batch_size(self) -> int:
        """The most windows one call takes."""

    def batch_key(self, window: Window) -> Hashable:
        """Windows may share a batch only if their keys are equal (the hard key: options that are per call)."""

    def cost(self, windows: int, encoder_samples: int) -> float:
        """Predicted seconds for a batch of so many windows, each ``encoder_samples`` long (the soft size)."""

    def transcribe(self, batch: Sequence[Window]) -> list[Hypothesis | WindowFailed]:
        """Transcribe windows of one key; the answers stand in the order of the batch.

        A window that cannot be transcribed is answered with a ``WindowFailed`` in its place and does not
        harm its neighbours. Anything raised means the whole batch failed.
        """

    def close(self) -> None:
        """Free the device."""
