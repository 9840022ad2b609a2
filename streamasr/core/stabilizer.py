"""Successive hypotheses of one utterance to a stable prefix and an unstable tail.

What is stable never changes and only grows: its tokens are forced at the head of every later window, so the
final begins with it by construction. The policy is local agreement (Liu et al. 2020, "Low-latency
sequence-to-sequence speech recognition and translation by partial hypothesis selection") with two additions:
a word must be heard some time before the window's right edge, and an old, confident word needs no agreement.
"""

import re
from collections.abc import Sequence

from streamasr.core.events import Word
from streamasr.core.policy import Policy, ms
from streamasr.core.transcript import in_order, is_mark, normalised, spaced, text_of
from streamasr.core.windows import BEFORE_WORD, joint, next_anchor

PROMISED_WORD = ms(300)
"""How long a word is taken to last where only its text is known."""


class LocalAgreement:
    """One utterance's stable and unstable words, and the anchor of its windows."""

    def __init__(self, policy: Policy, anchor: int) -> None:
        self._policy = policy
        self.anchor = anchor
        """Where the next window begins."""
        self._from = anchor
        self.settled: list[Word] = []
        """Stable words before the anchor."""
        self.stable: list[Word] = []
        """Stable words since the anchor: the forced prefix."""
        self.unstable: list[Word] = []
        self.promised = ""
        """Stable text from before a reconnect, until a hypothesis has given it words."""
        self._previous: list[str] = []
        self._previous_end = anchor
        self._presented: list[str] = []
        """What was shown last, word by word."""
        self._stuck = 0

    @property
    def prefix(self) -> tuple[int, ...]:
        """The tokens every hypothesis must begin with."""
        return tuple(token for word in self.stable for token in word.tokens)

    @property
    def stable_words(self) -> list[Word]:
        """All stable words of the utterance."""
        return self.settled + self.stable

    @property
    def stable_end(self) -> int:
        """Where the stable text ends in the audio."""
        words = self.stable_words
        return max(self.anchor, words[-1].end) if words else self.anchor

    @property
    def stable_text(self) -> str:
        """All stable text of the utterance."""
        return self.promised or text_of(self.stable_words)

    @property
    def text(self) -> str:
        """Stable and unstable text."""
        if self.promised:
            return self.promised
        return text_of(self.stable_words + self.unstable)

    def present(self) -> str:
        """The text to show now: without words at the window's edge that the model is unsure of.

        They are cut off more often than not, and would be changed a moment later. A word that stood at its place
        before is shown again: taking it away would be no less restless.
        """
        if self.promised:
            return self.promised
        stable, count = self.stable_words, len(self.unstable)
        while count and not self._worth_showing(self.unstable[count - 1], len(stable) + count - 1):
            count -= 1
        while count < len(self.unstable) and is_mark(self.unstable[count]):
            count += 1
        words = stable + self.unstable[:count]
        self._presented = [normalised(word) for word in words]
        return text_of(words)

    def _worth_showing(self, word: Word, place: int) -> bool:
        if is_mark(word):
            return False
        sure = word.confidence >= self._policy.shown_confidence
        whole = word.end <= self._previous_end - self._policy.shown_lag
        return sure or whole or self._presented[place : place + 1] == [normalised(word)]

    def promise(self, text: str, end: int | None) -> int:
        """Stand by stable text that was shown before a reconnect.

        Text that one window can hold is forced in the next one, which gives its words their times. More than
        that is settled as it is, with times spread evenly over the audio before ``end``.

        Returns:
            The sample up to which audio is needed before a window makes sense.
        """
        until = end if end is not None and end > self.anchor else self.anchor + len(text.split()) * PROMISED_WORD
        self.promised = text
        if until - self.anchor > self._policy.longest_window - self._policy.anchor_margin:
            self.settle_promise(until)
        return until

    def settle_promise(self, until: int) -> None:
        """Take promised text that still has no words as it is, its times spread evenly before ``until``."""
        if not self.promised:
            return
        spoken = re.findall(r"\s*\S+", self.promised)  # with their spaces: together they are the text, byte for byte
        step = max(0, until - self.anchor) / len(spoken)
        self.settled = [
            Word(word, self.anchor + round(i * step), self.anchor + round((i + 1) * step), 0.0)
            for i, word in enumerate(spoken)
        ]
        self.promised = ""
        self.restart(until)

    def explains(self, words: Sequence[Word], anchor: int) -> bool:
        """Whether a hypothesis for a window from ``anchor`` begins with what is stable now."""
        if anchor != self.anchor:
            return False
        if self.promised:
            return text_of(words).startswith(self.promised)
        tokens = [token for word in words for token in word.tokens]
        prefix = self.prefix
        return tuple(tokens[: len(prefix)]) == prefix

    def take(self, words: Sequence[Word], end: int, *, commit: bool) -> list[Word]:
        """Take a hypothesis that ``explains`` what is stable, for a window that ended at sample ``end``.

        Args:
            words: words and marks since the anchor, the prefix included.
            end: the window's right edge.
            commit: whether words may become stable; not before the utterance's language is known.

        Returns:
            The words that became stable with this hypothesis.
        """
        if self.promised:
            self._keep_promise(words)
        rest = self._rest(words)
        if rest and self.settled and not self.stable and self.settled[-1].text[:1].isspace():
            rest[0] = spaced(rest[0])
        earliest = self.settled[-1].start if self.settled else self._from
        timed = in_order([*self._heard_again(words), *rest], earliest)
        self.stable, rest = timed[: len(self.stable)], timed[len(self.stable) :]
        count = self._committed(rest, end) if commit else 0
        fresh = rest[:count]
        self.stable += fresh
        self.unstable = rest[count:]
        spoken = [word for word in self.stable + self.unstable if not is_mark(word)]
        self._previous = [normalised(word) for word in spoken]
        self._previous_end = end
        return fresh

    def _keep_promise(self, words: Sequence[Word]) -> None:
        """Turn promised text to words: those at the head of ``words`` that spell it, the last of them whole."""
        count = 0
        while count < len(words) and len(text_of(words[:count])) < len(self.promised):
            count += 1
        self.stable = list(words[:count])
        self.promised = ""

    def _rest(self, words: Sequence[Word]) -> list[Word]:
        """What a hypothesis says after the prefix; a word that goes on from it is split there."""
        skip = len(self.prefix)
        rest: list[Word] = []
        for word in words:
            if skip >= len(word.tokens):
                skip -= len(word.tokens)
            elif skip:
                known = text_of_tokens(self.stable, skip)
                rest.append(Word(word.text[len(known) :], word.start, word.end, word.confidence, word.tokens[skip:]))
                skip = 0
            else:
                rest.append(word)
        return [word for word in rest if word.text]

    def _heard_again(self, words: Sequence[Word]) -> list[Word]:
        """The stable words with the times of the newest hypothesis, which has heard more of what follows them."""
        places: dict[tuple[int, int], Word] = {}
        place = 0
        for word in words:
            places[place, place + len(word.tokens)] = word
            place += len(word.tokens)
        again, place = [], 0
        for word in self.stable:
            after = place + len(word.tokens)
            newest = places.get((place, after), word)
            again.append(Word(word.text, newest.start, newest.end, newest.confidence, word.tokens))
            place = after
        return again

    def _committed(self, rest: Sequence[Word], end: int) -> int:
        """How many entries of ``rest`` become stable: whole words, never the last, nor the marks after it."""
        policy = self._policy
        spoken = [i for i, word in enumerate(rest) if not is_mark(word)]
        place = sum(not is_mark(word) for word in self.stable)
        fresh_enough = end - self._previous_end >= policy.agreed_age
        count = 0
        for order, index in enumerate(spoken[:-1]):
            word = rest[index]
            at = place + order
            agreed = (
                fresh_enough
                and at < len(self._previous)
                and self._previous[at] == normalised(word)
                and word.end <= end - policy.agreed_lag
            )
            alone = word.end <= end - policy.lone_lag and word.confidence >= policy.lone_confidence
            if not agreed and not alone:
                break
            count = index + 1
        return count

    def move_anchor(self, end: int, *, least: int = 0) -> list[Word]:
        """Bring the anchor closer, for a window that has grown to its longest; returns words it had to commit.

        Args:
            end: the window's right edge.
            least: by how much to move it, if there are stable words that late.
        """
        policy = self._policy
        index = next_anchor(self.stable, self.anchor + least, end, policy)
        if index is None:
            index = next_anchor(self.stable, self.anchor, end, policy)
        forced: list[Word] = []
        if index is None and self.unstable:
            forced = self._commit_before(end - policy.anchor_margin, policy.doubtful_confidence)
            forced = forced or self._commit_before(end - policy.anchor_margin, 0.0)
            index = next_anchor(self.stable, self.anchor, end, policy)
        if index is not None:
            self._reanchor(index, joint(self.stable, index))
        else:
            late = end - policy.anchor_margin
            if self.unstable:  # not inside a word, if that still leaves most of the window behind
                late = max(self.anchor + policy.anchor_margin, min(late, self.unstable[0].start - BEFORE_WORD))
            self.restart(max(self.stable_end if self.stable else self.anchor, late))
        return forced

    def _commit_before(self, limit: int, confidence: float) -> list[Word]:
        count = 0
        for index, word in enumerate(self.unstable):
            if word.end > limit or (not is_mark(word) and word.confidence < confidence):
                break
            if not is_mark(word):
                count = index + 1
        fresh, self.unstable = self.unstable[:count], self.unstable[count:]
        self.stable += fresh
        return fresh

    def _reanchor(self, index: int, anchor: int) -> None:
        dropped = sum(not is_mark(word) for word in self.stable[:index])
        self.settled += self.stable[:index]
        self.stable = self.stable[index:]
        self._previous = self._previous[dropped:]
        self.anchor = max(self.anchor, anchor)

    def restart(self, anchor: int) -> None:
        """Begin afresh at ``anchor`` with an empty prefix; what is stable stays, the unstable is dropped."""
        self.settled += self.stable
        self.stable, self.unstable, self._previous = [], [], []
        self.anchor = max(self.anchor, anchor // 160 * 160)
        self._stuck = 0

    def notice_stuck(self, last_speech: int) -> bool:
        """Count a hypothesis without new words while speech goes on; at the second, restart after the stable text."""
        silent = not self.unstable and bool(self.stable)
        if not silent or last_speech - self.stable_end < self._policy.stuck:
            self._stuck = 0
            return False
        self._stuck += 1
        if self._stuck < 2:
            return False
        self.restart(self.stable_end)
        return True

    def split(self, index: int) -> "LocalAgreement":
        """Cut before stable word ``index`` (counted since the anchor): what follows is another utterance's."""
        after = LocalAgreement(self._policy, max(self.anchor, joint(self.stable, index)))
        after.stable, after.unstable = self.stable[index:], self.unstable
        dropped = sum(not is_mark(word) for word in self.stable[:index])
        after._previous, after._previous_end = self._previous[dropped:], self._previous_end
        self.stable, self.unstable = self.stable[:index], []
        return after


def text_of_tokens(words: Sequence[Word], tokens: int) -> str:
    """The text of the last ``tokens`` tokens of ``words`` (whole words)."""
    text = ""
    for word in reversed(words):
        if tokens <= 0:
            break
        text = word.text + text
        tokens -= len(word.tokens)
    return text
