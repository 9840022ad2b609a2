"""Tones to measure with: every word that is heard wrong, late or not at all is known beforehand."""

from collections.abc import Sequence

import numpy as np

from streamasr.bench.recordings import Recording
from streamasr.bench.truth import Truth
from streamasr.core.events import SAMPLE_RATE
from streamasr.core.policy import Policy, ms
from streamasr.inference.engine import Stages
from streamasr.inference.fake import ToneCodeEngine, tone_words

POLICY = Policy()


class TimedTones(ToneCodeEngine):
    """Tones heard in a time of our choosing, the last one of a window not at all with too short an input."""

    def __init__(self, seconds: float = 0.02, deaf_below_s: float = 0.0) -> None:
        super().__init__()
        self.now = 0.0
        self.stages: list[Stages] = []
        self.encoder_s: list[float] = []
        self._seconds = seconds
        self._deaf_below = ms(1000 * deaf_below_s)

    def clock(self) -> float:
        return self.now

    def transcribe(self, batch):
        spent = self._seconds * len(batch) * max(window.encoder_samples for window in batch) / SAMPLE_RATE
        self.now += spent
        self.encoder_s += [window.encoder_samples / SAMPLE_RATE for window in batch]
        self.stages.append(Stages(features_s=0, encode_s=spent, decode_s=0, align_s=0, assembly_s=0))
        return super().transcribe(batch)

    def _hear(self, samples, anchor):
        words = super()._hear(samples, anchor)
        return words[: max(0, len(words) - self._missing)]

    def _answer(self, window):
        self._missing = int(window.encoder_samples < self._deaf_below)
        return super()._answer(window)


def recording(
    utterances: Sequence[Sequence[int]], name: str = "talk.wav", *, said: str | None = None, pause_s: float = 1.2
) -> Recording:
    """Utterances with pauses around them; ``said``: what the truth says."""
    silence = np.zeros(round(pause_s * SAMPLE_RATE), np.float32)
    audio = np.concatenate([silence, *(part for ids in utterances for part in (tone_words(ids), silence))])
    truth = None if said is None else Truth(text=said, language="en")
    return Recording(name, (audio * 32767).astype(np.int16), truth)


def text(utterances: Sequence[Sequence[int]]) -> str:
    """What is said in them."""
    return " ".join(f"w{number:02d}" for ids in utterances for number in ids)


def utterances_of(count: int, words: int = 8) -> list[list[int]]:
    """So many utterances, all of other words."""
    return [[(7 * i + 5 * j) % 64 for j in range(words)] for i in range(count)]
