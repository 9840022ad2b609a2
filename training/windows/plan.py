"""What a training window holds: which utterances stand where, where it begins and where it is cut off.

Windows imitate what a streaming server sends: one or several utterances with pauses, cut off at the right in
mid-word, begun in mid-utterance after an anchor moved, or without speech at all. Time is in samples.
"""

from random import Random
from typing import NamedTuple

import msgspec

from training.settings import SAMPLE_RATE, Recipe
from training.speech.voices import GROUPS, group
from training.windows.corpus import Corpus, Entry

LONGEST = 30 * SAMPLE_RATE
SHORTEST_CUT = int(0.4 * SAMPLE_RATE)
SILENT = 0.05
"""Share of windows without speech."""
BEGUN_LATE = 0.12
"""Share of windows that begin in mid-utterance."""
FOREIGN = 0.12
"""Share of windows that are not English, if the corpus has others."""
SAME_VOICE = 0.6


class Placed(NamedTuple):
    """A word and where it is spoken in the window, in samples."""

    word: str
    start: int
    end: int


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One utterance in a window."""

    entry: Entry
    at: int
    """Where its audio begins in the window."""
    skipped: int
    """Samples left out at its beginning."""
    words: tuple[Placed, ...]

    @property
    def end(self) -> int:
        """Where its audio ends."""
        return self.at + self.entry.utterance.samples - self.skipped


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A window before it is heard."""

    parts: tuple[Part, ...]
    end: int
    """Its length; words that end later are not to be transcribed."""
    language: str
    previous: tuple[str, ...] = ()
    """The words before a window that begins in mid-utterance."""

    @property
    def silent(self) -> bool:
        """Is there no speech in it?"""
        return not self.parts

    def heard(self) -> list[tuple[list[Placed], bool]]:
        """For each utterance that begins in the window: its whole words, and whether that is all of them."""
        begun = [part for part in self.parts if part.words[0].start < self.end - SAMPLE_RATE // 20]
        whole = [[word for word in part.words if word.end <= self.end] for part in begun]
        return [(words, len(words) == len(part.words)) for words, part in zip(whole, begun, strict=True)]


class Planner:
    """Draws plans; what it draws changes with the progress of the run (0 to 1)."""

    def __init__(self, corpus: Corpus, recipe: Recipe, rng: Random) -> None:
        self._corpus, self._recipe, self._rng = corpus, recipe, rng
        self._indexed = 0
        self._voices: dict[tuple[str, str], list[Entry]] = {}
        self._groups: dict[str, list[Entry]] = {}
        self.index()

    def index(self) -> None:
        """Take in what the corpus has gained."""
        for entry in self._corpus.entries[self._indexed :]:
            voice, language = entry.utterance.voice, entry.utterance.language
            self._voices.setdefault((voice, language), []).append(entry)
            key = group(voice) if language == "en" else language
            self._groups.setdefault(key, []).append(entry)
        self._indexed = len(self._corpus.entries)

    def pick(self) -> Entry:
        """Any utterance, the groups of voices in their shares."""
        foreign = [name for name in self._groups if name not in GROUPS]
        english = [name for name in self._groups if name in GROUPS]
        if not english or (foreign and self._rng.random() < FOREIGN):
            return self._rng.choice(self._groups[self._rng.choice(foreign)])
        chosen = self._rng.choices(english, [GROUPS[name] for name in english])[0]
        return self._rng.choice(self._groups[chosen])

    def plan(self, progress: float) -> Plan:
        """The next window."""
        rng = self._rng
        limit, utterances = self._size(progress)
        if rng.random() < SILENT:
            end = int(rng.uniform(0.6, 6) * SAMPLE_RATE)
            return Plan(parts=(), end=end, language=rng.choice(["en", "en", "es", "de"]))
        cut = rng.random() < (0.2 if progress < self._recipe.easy_until else 0.4)
        parts, previous = self._place(limit, utterances, cut=cut)
        end = self._cut(parts, limit) if cut else self._tail(parts)
        language = parts[0].entry.utterance.language
        return Plan(parts=tuple(parts), end=min(end, LONGEST), language=language, previous=previous)

    def _size(self, progress: float) -> tuple[int, int]:
        """How long the window may become, and how many utterances it may hold."""
        rng, kind = self._rng, self._rng.random()
        long_yet = progress >= self._recipe.long_from
        if progress < self._recipe.easy_until:
            seconds, utterances = (rng.uniform(2, 6), 1) if kind < 0.85 else (rng.uniform(4, 9), 2)
        elif kind < 0.36:
            seconds, utterances = rng.uniform(2, 8), 1
        elif kind < 0.62:
            seconds, utterances = rng.uniform(4, 11), rng.choice([2, 2, 3])
        elif kind < 0.88 or not long_yet:
            seconds, utterances = rng.uniform(6, 15 if long_yet else 13), 8
        else:
            seconds, utterances = rng.uniform(15, 30), 30
        return int(seconds * SAMPLE_RATE), utterances

    def _place(self, limit: int, utterances: int, *, cut: bool) -> tuple[list[Part], tuple[str, ...]]:
        """Utterances one after the other with pauses between them; of a cut window, one beyond the limit."""
        rng = self._rng
        entry = self.pick()
        first, previous = self._begin(entry)
        parts = [first]
        while len(parts) < utterances:
            pause = rng.uniform(0.2, 0.7) if rng.random() < 0.6 else rng.uniform(0.7, 2.0)
            at = parts[-1].end + int(pause * SAMPLE_RATE)
            if cut and at > limit:
                break
            entry = self._after(entry)
            if not cut and at + entry.utterance.samples > limit:
                break
            parts.append(_part(entry, at, 0))
        return parts, previous

    def _begin(self, entry: Entry) -> tuple[Part, tuple[str, ...]]:
        """The window's first utterance, sometimes without its first words, which then came before."""
        rng, said = self._rng, entry.utterance
        lead = rng.uniform(0, 0.3) if rng.random() < 0.8 else rng.uniform(0.3, 1.6)
        if rng.random() >= BEGUN_LATE or len(said.words) <= 3:
            return _part(entry, int(lead * SAMPLE_RATE), 0), ()
        first = rng.randrange(1, len(said.words) - 1)
        skipped = max(0, said.starts[first] - int(rng.uniform(0, 0.03) * SAMPLE_RATE))
        lead = min(lead, rng.uniform(0, 0.1)) if lead > 0.3 else lead
        return _part(entry, int(lead * SAMPLE_RATE), first, skipped), said.words[:first]

    def _after(self, entry: Entry) -> Entry:
        """Who speaks next: often the same voice, always the same language."""
        key = (entry.utterance.voice, entry.utterance.language)
        while self._rng.random() >= SAME_VOICE:
            other = self.pick()
            if other.utterance.language == entry.utterance.language:
                return other
        return self._rng.choice(self._voices[key])

    def _cut(self, parts: list[Part], limit: int) -> int:
        """Where the window is cut off: nearly always inside its last utterance."""
        last = parts[-1].words
        if len(parts) > 1 and self._rng.random() >= 0.8:
            return max(SHORTEST_CUT, limit)
        return max(SHORTEST_CUT, self._rng.randint(last[0].start + 800, last[-1].end + 1600))

    def _tail(self, parts: list[Part]) -> int:
        """Where a window that is not cut off ends: some time after the last word."""
        rng = self._rng
        quiet = rng.uniform(0, 0.5) if rng.random() < 0.75 else rng.uniform(0.5, 2.0)
        return parts[-1].end + int(quiet * SAMPLE_RATE)


def _part(entry: Entry, at: int, first: int, skipped: int = 0) -> Part:
    """An utterance from its word number ``first`` on, placed at a sample of the window."""
    said, shift = entry.utterance, at - skipped
    words = zip(said.words[first:], said.starts[first:], said.ends[first:], strict=True)
    placed = tuple(Placed(word, start + shift, end + shift) for word, start, end in words)
    return Part(entry=entry, at=at, skipped=skipped, words=placed)
