"""What depends on the language: which one an utterance is in, and whether it writes spaces."""

from collections.abc import Mapping, Sequence

UNSPACED = frozenset({"zh", "ja", "th", "lo", "my", "yue", "km", "bo"})
"""Languages written without spaces: a word is whatever decodes to whole characters."""

SWITCH_PROBABILITY = 0.6
"""Another language than the last utterance's is believed from this probability on."""


def choose_language(
    probabilities: Mapping[str, float], candidates: Sequence[str], previous: str | None
) -> tuple[str, float]:
    """The language among ``candidates`` (all, if empty) and its probability among them.

    Leans to ``previous``: a single short utterance in doubt does not switch a conversation's language.

    Raises:
        ValueError: there are no probabilities: the model tells no language from another.
    """
    if not probabilities:
        raise ValueError("the model gave no language a probability")
    among = {code: p for code, p in probabilities.items() if not candidates or code in candidates} or probabilities
    total = sum(among.values()) or 1.0
    best = max(among, key=lambda code: among[code])
    if previous is not None and previous in among and among[best] / total < SWITCH_PROBABILITY:
        best = previous
    return best, among[best] / total
