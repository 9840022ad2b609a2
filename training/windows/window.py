"""One training window: plan it, hear it, spoil it, and say what the model is to make of it."""

from random import Random

import msgspec
import numpy as np

from training.mel import HOP, Floats, log_power, normalise, silence
from training.settings import Recipe
from training.tokenizer import Tokens
from training.windows.augment import Augmenter
from training.windows.corpus import Corpus
from training.windows.noise import NoiseBank
from training.windows.plan import Plan, Planner
from training.windows.targets import TargetMaker, Targets

MOST_FRAMES = 3_000
HALF_SECOND = 50
"""Mel frames."""
LOUDER_ELSEWHERE = 0.15
"""Share of windows whose features are scaled as though a louder sound stood beside them."""


class TrainingWindow(msgspec.Struct, frozen=True, kw_only=True):
    """What a model is shown and what it is to answer."""

    mel: Floats
    """Shape (mels, frames), an even number of frames."""
    targets: Targets


class WindowMaker:
    """An endless source of windows."""

    def __init__(self, corpus: Corpus, tokens: Tokens, recipe: Recipe, seed: int) -> None:
        self._rng, self._generator = Random(seed), np.random.default_rng(seed)
        self._corpus, self._recipe = corpus, recipe
        self._planner = Planner(corpus, recipe, self._rng)
        self._bank = NoiseBank(corpus, self._rng, self._generator)
        self._augment = Augmenter(recipe, self._bank, self._rng, self._generator)
        self._targets = TargetMaker(tokens, self._rng, lambda: self._planner.pick().utterance.words)

    def refresh(self) -> None:
        """Take in the speech that was made since."""
        self._corpus.refresh()
        self._planner.index()
        self._bank.renew_babble()

    def make(self, progress: float) -> TrainingWindow:
        """The next window of a run that has come so far (0 to 1)."""
        while True:
            plan = self._planner.plan(progress)
            mel = self._features(plan, progress)
            stamps_allowed = progress >= self._recipe.shifted_until
            targets = self._targets.make(plan, mel.shape[1] // 2, stamps_allowed=stamps_allowed)
            if targets is not None:
                return TrainingWindow(mel=mel, targets=targets)

    def _features(self, plan: Plan, progress: float) -> Floats:
        """The window's features, shape (mels, frames)."""
        rng = self._rng
        if plan.silent:
            signal = self._bank.silence(plan.end)
        else:
            signal = self._augment.signal(render(self._corpus, plan), len(plan.parts), progress)
        power = self._augment.power(log_power(signal, self._recipe.shape.mels), progress)
        louder = rng.uniform(0, 1.2) if rng.random() < LOUDER_ELSEWHERE else 0.0
        top = float(power.max()) + louder
        features = self._augment.features(normalise(power, top), progress)
        return self._pad(features, top, progress)

    def _pad(self, features: Floats, top: float, progress: float) -> Floats:
        """Features with what an encoder's bucket adds after them: zeros of audio, or of features."""
        rng, frames, kind = self._rng, features.shape[1], self._rng.random()
        if progress >= self._recipe.long_from and kind < 0.06:
            wanted = MOST_FRAMES
        elif kind < 0.6:
            wanted = -(-frames // HALF_SECOND) * HALF_SECOND
        else:
            wanted = frames + (rng.randrange(100) if kind < 0.85 else 0)
        wanted = min(MOST_FRAMES, wanted + wanted % 2)
        fill = silence(top) if rng.random() < 0.7 else 0.0  # the runtime's padding; faster-whisper's
        padding = ((0, 0), (0, max(0, wanted - frames)))
        return np.pad(features[:, :wanted], padding, constant_values=fill)


def render(corpus: Corpus, plan: Plan) -> Floats:
    """The plan's audio, shape (plan.end,), in whole frames of 10 ms at least one."""
    signal = np.zeros(max(plan.end, 2 * HOP), np.float32)
    for part in plan.parts:
        audio = corpus.audio(part.entry)[part.skipped :]
        place = signal[part.at : part.at + len(audio)]
        place += audio[: len(place)]
    return signal
