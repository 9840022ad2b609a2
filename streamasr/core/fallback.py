"""Which hypothesis of a recording's window is kept: the first that can be believed, or the best of several.

The rule is faster-whisper's: what repeats itself or is too improbable is tried again at the next temperature, and
if none will do, the likeliest of those that do not repeat themselves is kept.
"""

from typing import Literal

import msgspec

from streamasr.core.events import SAMPLE_RATE, Hypothesis, Window
from streamasr.core.options import FileOptions
from streamasr.core.policy import Policy
from streamasr.core.utterance import believable

RETRY_ENCODER = 30 * SAMPLE_RATE
"""A window that a guard stopped is decoded again with the input length Whisper was made for, if the model was."""

Verdict = Literal["believed", "silence", "again"]


class Thresholds:
    """The guards of one recording: the model's own, as far as its options do not say otherwise."""

    def __init__(self, options: FileOptions, policy: Policy) -> None:
        logprob = options.logprob_threshold
        self._logprob = policy.no_speech_logprob if logprob is None else logprob
        self._policy = msgspec.structs.replace(
            policy,
            no_speech=_or(options.no_speech_threshold, policy.no_speech),
            no_speech_logprob=self._logprob,
            compression_ratio=_or(options.compression_ratio_threshold, policy.compression_ratio),
        )

    def judge(self, hypothesis: Hypothesis, window: Window) -> Verdict:
        """Whether to take a hypothesis, to take it for silence, or to try again."""
        improbable = hypothesis.average_logprob < self._logprob
        if improbable and hypothesis.no_speech_probability > self._policy.no_speech:
            return "silence"
        return "again" if improbable or self._repeats(hypothesis, window) else "believed"

    def best(self, tries: list[tuple[Hypothesis, Window]]) -> tuple[Hypothesis, Window]:
        """The one to keep where none was believed."""
        sober = [one for one in tries if not self._repeats(*one)]
        return max(sober or tries, key=lambda one: one[0].average_logprob)

    def _repeats(self, hypothesis: Hypothesis, window: Window) -> bool:
        return not believable(hypothesis, window, self._policy)


def _or(chosen: float | None, otherwise: float) -> float:
    return otherwise if chosen is None else chosen


class Tries:
    """The hypotheses of one window, until one is kept."""

    def __init__(self, window: Window, options: FileOptions, policy: Policy) -> None:
        # A model without a floor was made for short input: a longer one costs it ten times as much for nothing.
        self._retry_encoder = RETRY_ENCODER if policy.encoder_floor else 0
        self._temperatures = list(options.temperatures[1:])
        self._made: list[tuple[Hypothesis, Window]] = []
        self.window = window
        """The one to be sent, or on its way."""

    def receive(self, hypothesis: Hypothesis, thresholds: Thresholds) -> tuple[Hypothesis, Window] | None:
        """Take the answer to ``window``.

        Returns:
            What is kept, and the window it was heard in; None if ``window``, now another, is to be sent. What was
            taken for silence has no words.
        """
        verdict = thresholds.judge(hypothesis, self.window)
        if verdict == "silence":
            words = tuple(w for w in hypothesis.words[: _forced(hypothesis, self.window)])
            return msgspec.structs.replace(hypothesis, words=words), self.window
        if verdict == "believed":
            return hypothesis, self.window
        self._made.append((hypothesis, self.window))
        return None if self.again() else thresholds.best(self._made)

    def again(self) -> bool:
        """Go on to the next temperature; False if there is none."""
        if not self._temperatures:
            return False
        temperature = self._temperatures.pop(0)
        self.window = msgspec.structs.replace(
            self.window, temperature=temperature, encoder_samples=max(self._retry_encoder, self.window.encoder_samples)
        )
        return True


def _forced(hypothesis: Hypothesis, window: Window) -> int:
    """How many words the forced prefix reaches into."""
    tokens = count = 0
    for word in hypothesis.words:
        if tokens >= len(window.prefix):
            break
        tokens += len(word.tokens)
        count += 1
    return count
