"""Silero's voice-activity model: frames in, speech probabilities out. Decides nothing; ``core/gate.py`` does.

The weights (Silero VAD v6, MIT) come with faster-whisper. The packaged ONNX graph takes one stream's frames
as time, so lanes cannot share a call: each lane carries its own state and is scored alone, a few frames at a time.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamasr.core.events import FRAME
from streamasr.errors import ModelError

CONTEXT = 64
"""Samples of the frame before that the model wants in front of each frame."""
STATE = (1, 1, 128)


def weights() -> Path:
    """Where the ONNX file is.

    Raises:
        ModelError: faster-whisper no longer ships it under the name we know.
    """
    spec = find_spec("faster_whisper")
    if spec is None or spec.origin is None:
        raise ModelError("faster-whisper, which carries the voice-activity model, is not installed")
    path = Path(spec.origin).parent / "assets" / "silero_vad_v6.onnx"
    if not path.exists():
        raise ModelError(f"the voice-activity model is missing: {path} (reinstall faster-whisper)")
    return path


class VadModel:
    """One shared session of the model; it holds no stream's state."""

    def __init__(self) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.inter_op_num_threads = 1
        options.intra_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 3
        self._session: Any = onnxruntime.InferenceSession(
            str(weights()), sess_options=options, providers=["CPUExecutionProvider"]
        )

    def lane(self) -> "VadLane":
        """A fresh stream."""
        return VadLane(self._session)


class VadLane:
    """One stream's place in the model: its recurrent state and the last samples of the frame before."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._h = np.zeros(STATE, np.float32)
        self._c = np.zeros(STATE, np.float32)
        self._context = np.zeros(CONTEXT, np.float32)

    def score(self, frames: NDArray[np.float32]) -> list[float]:
        """Speech probabilities of consecutive frames.

        Args:
            frames: shape (n, 512), mono 16 kHz, -1 … 1. Not to be called from two threads at once.
        """
        if not len(frames):
            return []
        inputs = np.empty((len(frames), CONTEXT + FRAME), np.float32)
        inputs[:, CONTEXT:] = frames
        inputs[0, :CONTEXT] = self._context
        inputs[1:, :CONTEXT] = frames[:-1, -CONTEXT:]
        self._context = frames[-1, -CONTEXT:].copy()
        scores, self._h, self._c = self._session.run(None, {"input": inputs, "h": self._h, "c": self._c})
        return [float(score) for score in scores.reshape(-1)]
