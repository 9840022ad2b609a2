"""One utterance on its way from its first sample to its final: what a session keeps of it."""

from collections.abc import Sequence
from typing import Literal

from streamasr.core.events import (
    SAMPLE_RATE,
    Event,
    Final,
    FinalReason,
    Hypothesis,
    Partial,
    Preflight,
    SpeechEnded,
    SpeechResumed,
    SpeechStarted,
    Window,
    Word,
)
from streamasr.core.policy import Policy, ms
from streamasr.core.stabilizer import LocalAgreement
from streamasr.core.transcript import displayed, is_mark, text_of
from streamasr.core.windows import pause_before

Role = Literal["partial", "eager", "step", "final", "retry"]
"""What a window is to its utterance: ``step`` walks a closed utterance too long for one window towards its end."""


class Sent:
    """A window that was sent, until it is answered."""

    def __init__(self, window: Window, utterance: "Utterance", role: Role, last_speech: int) -> None:
        self.window = window
        self.utterance = utterance
        self.role = role
        self.last_speech = last_speech


class Utterance:
    """Decoding state and unsent events of one utterance."""

    def __init__(self, number: int, start: int, onset: int, stabilizer: LocalAgreement) -> None:
        self.number = number
        self.start = start
        self.onset = onset
        """Where its first speech frame begins."""
        self.stabilizer = stabilizer
        self.language: str | None = None
        """None until decided."""
        self.heard_language: str | None = None
        """What the last hypothesis said; decides for an utterance too short to decide before its final."""
        self.events: list[Event] = [SpeechStarted(number, start)]
        self.asked_to = start
        """The right edge of the last window sent."""
        self.promised_to = start
        """Where the stable text from before a reconnect ends: no window is of use that ends earlier."""
        self.decoded_to = start
        """The right edge of the last hypothesis taken."""
        self.heard_to = start
        """Where the last word heard so far ended, stable or not."""
        self.pending: int | None = None
        """The number of the partial or eager window whose answer is awaited."""
        self.step: int | None = None
        """The number of the step window whose answer is awaited."""
        self.ignore_below = 0
        """Answers with smaller numbers come too late to be taken."""
        self.eager: int | None = None
        """The end of speech that the last eager window heard."""
        self.eager_answered = False
        self.preflight_sent = False
        self.doubtful = False
        """Whether the eager hypothesis ends in doubt, so that the endpoint waits."""
        self.reason: FinalReason | None = None
        """Why it was closed; None while open."""
        self.end = start
        self.last_speech = start
        """The end of its last speech; known once it is closed."""
        self.final_number: int | None = None
        self.final_attempts = 0
        self.tripped: Hypothesis | None = None
        """A final hypothesis that a guard stopped, while its retry is out."""
        self.done = False
        self._pauses: list[tuple[int, int]] = []
        """Silences inside it."""
        self._shown = ("", "")

    @property
    def closed(self) -> bool:
        """Whether no more audio will be its own."""
        return self.reason is not None

    def heard(self, words: Sequence[Word]) -> None:
        """These words, since the anchor, were in a hypothesis."""
        self.heard_to = max([self.heard_to, *(word.end for word in words if not is_mark(word))])

    @property
    def wordless(self) -> int:
        """How much speech has been decoded since its last word; silence inside it does not count."""
        since = self.heard_to
        silence = sum(max(0, min(end, self.decoded_to) - max(start, since)) for start, end in self._pauses)
        return self.decoded_to - since - silence

    def show(self, *, interim: bool) -> None:
        """Queue a partial if there is something new to show while it is open; an unsent older one is replaced."""
        stable = self.stabilizer.stable_text
        unstable = self.stabilizer.present()[len(stable) :]
        if self.closed or not interim or (stable, unstable) == self._shown:
            return
        self._shown = (stable, unstable)
        words = displayed(self.stabilizer.stable_words, self.language)
        partial = Partial(self.number, self.start, stable, unstable, words)
        if self.events and isinstance(self.events[-1], Partial):
            self.events.pop()
        self.events.append(partial)

    def announce(self) -> None:
        """Queue a preflight with what the final would say."""
        words = self.stabilizer.stable_words + self.stabilizer.unstable
        self.events.append(Preflight(self.number, text_of(words), displayed(words, self.language)))
        self.preflight_sent = True

    def resume(self, silent_from: int, time: int) -> None:
        """Speech goes on: what was eager is a partial like any other, a preflight is taken back."""
        self._pauses.append((silent_from, time))
        self.eager, self.eager_answered, self.doubtful = None, False, False
        if self.preflight_sent:
            self.preflight_sent = False
            self.events.append(SpeechResumed(self.number, time))

    def decide_language(self, hypothesis: Hypothesis, asked: Window, policy: Policy) -> None:
        """Hold the language once there is enough speech to tell it: less if the model is sure."""
        sure = hypothesis.language_probability >= policy.language_sure
        needed = policy.language_early if sure else policy.language_late
        enough = asked.language is not None or asked.end - self.onset >= needed
        self.heard_language = hypothesis.language
        if enough:
            self.language = self.language or hypothesis.language

    def take_eager(self, policy: Policy) -> None:
        """The stabilizer has what the final would say: see whether it ends in doubt."""
        self.eager_answered = True
        spoken = [w for w in self.stabilizer.stable + self.stabilizer.unstable if not is_mark(w)]
        if spoken and self.eager is not None:
            last = spoken[-1]
            self.doubtful = last.end >= self.eager - ms(80) and last.confidence < policy.doubtful_confidence

    def asked(self, number: int, role: Role, end: int) -> None:
        """A window to ``end`` was sent."""
        self.asked_to = end
        if role in ("final", "retry"):
            self.final_number = number
            self.final_attempts += 1
        elif role == "step":
            self.step = self.ignore_below = number
        else:
            self.pending = number
            if role == "eager":
                self.ignore_below = number

    def answered(self, number: int) -> None:
        """Window ``number`` has its answer, or will have none; those before it come too late."""
        self.ignore_below = max(self.ignore_below, number)
        if self.pending is not None and number >= self.pending:
            self.pending = None
        if number == self.step:
            self.step = None

    def close(self, reason: FinalReason, end: int, last_speech: int) -> None:
        """No audio after ``end`` is its own."""
        self.reason, self.end, self.last_speech = reason, end, last_speech
        self.events.append(SpeechEnded(self.number, end))

    def finish(self, fallback_language: str) -> None:
        """Queue the final: all its words, stable and unstable."""
        self.language = self.language or self.heard_language
        self.stabilizer.settle_promise(self.end)
        words = self.stabilizer.stable_words + self.stabilizer.unstable
        text = self.stabilizer.text
        language = self.language or fallback_language
        shown = tuple(_before(self.end, word) for word in displayed(words, language))
        reason = self.reason or "endpoint"
        self.events.append(Final(self.number, text, shown, language, self.start, self.end, reason))
        self.done = True


def _before(end: int, word: Word) -> Word:
    """The word inside its utterance: the times of text from before a reconnect may be guesses."""
    return word if word.end <= end else Word(word.text, min(word.start, end), end, word.confidence)


def obeys(hypothesis: Hypothesis, window: Window) -> bool:
    """Whether a hypothesis begins with what its window forced, as every engine must see to."""
    if window.prefix_text and not window.prefix:
        return text_of(hypothesis.words).startswith(window.prefix_text)
    tokens = tuple(token for word in hypothesis.words for token in word.tokens)
    return tokens[: len(window.prefix)] == window.prefix


def said(words: Sequence[Word], sent: Sent, policy: Policy) -> list[Word]:
    """A hypothesis's words without those after the speech, none of them earlier than the speech."""
    return within_speech(words, sent.window, (sent.utterance.onset, sent.last_speech), policy)


def within_speech(words: Sequence[Word], window: Window, speech: tuple[int, int], policy: Policy) -> list[Word]:
    """Words without those that begin too late after the speech, none of them earlier than the speech.

    Args:
        words: what was heard in the window; the forced prefix is kept whatever its times are.
        window: the window.
        speech: where the first speech begins, and where the last ends.
        policy: how late is too late.
    """
    onset, last_speech = speech
    latest = last_speech + policy.late_word
    prefix, taken, kept = len(window.prefix), 0, []
    for word in words:
        if taken >= prefix and word.start > latest and not is_mark(word):
            break
        taken += len(word.tokens)
        kept.append(word)
    if window.anchor >= onset:
        return kept
    return [w if w.start >= onset else Word(w.text, onset, max(onset, w.end), w.confidence, w.tokens) for w in kept]


def believable(hypothesis: Hypothesis, window: Window, policy: Policy) -> bool:
    """Whether no guard stops a hypothesis: silence taken for speech, loops, more tokens than can be said."""
    if hypothesis.no_speech_probability > policy.no_speech and hypothesis.average_logprob < policy.no_speech_logprob:
        return False
    tokens = [token for word in hypothesis.words for token in word.tokens]
    if len(tokens) > max(12, policy.tokens_per_second * window.samples / SAMPLE_RATE):
        return False
    return hypothesis.compression_ratio <= policy.compression_ratio and not looping(tokens)


def looping(tokens: Sequence[int]) -> bool:
    """Whether the text ends in one phrase said four times in a row (at least eight tokens in all)."""
    for length in range(2, min(12, len(tokens) // 4) + 1):
        phrase = tuple(tokens[-length:])
        if all(tuple(tokens[-length * (k + 1) : len(tokens) - length * k]) == phrase for k in range(1, 4)):
            return True
    return False


def cut_index(utterance: Utterance, fresh: int, policy: Policy) -> int | None:
    """Before which of the ``fresh`` newest stable words an utterance that grows long is to be cut.

    Only words that nobody has been shown as stable yet can still go to the next utterance. The older the
    utterance, the shorter a pause will do.
    """
    stable = utterance.stabilizer.stable
    for index in range(max(1, len(stable) - fresh), len(stable)):
        age = stable[index].start - utterance.start
        if is_mark(stable[index]) or age < policy.cut_from:
            continue
        begin, end = pause_before(stable, index)
        left = max(0.0, 1 - (age - policy.cut_from) / (policy.longest_utterance - policy.cut_from))
        if end - begin >= policy.cut_pause * left:
            return index
    return None
