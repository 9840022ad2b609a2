"""Sentences made from templates with slots: names, numbers, dates, commands, dictation, and plain nonsense.

The templates and word lists are data (``data/``, CC0). German and Spanish figures are read by the synthesiser.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

from training.text import english
from training.text.sentence import Sentence, Word, plain

DATA = Path(__file__).parent / "data"
PIECE = re.compile(r"\{(\w+)\}([.,?!]?)|(\S+)")

Slot = Callable[[Random], list[Word]]


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are neither empty nor comments."""
    lines = (line.strip() for line in path.read_text("utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def figures(low: int, high: int) -> Slot:
    """A number in figures, read as the voice reads figures."""
    return lambda rng: plain(str(rng.randint(low, high)))


def single_digits(rng: Random) -> list[Word]:
    """Three to seven digits."""
    return plain(" ".join(str(rng.randint(0, 9)) for _ in range(rng.randint(3, 7))))


NUMBERS: Mapping[str, Mapping[str, Slot]] = {
    "en": {
        "n": english.small_number,
        "N": english.number,
        "B": english.big_number,
        "digits": english.digits,
        "time": english.clock,
        "date": english.date,
        "year": english.year,
        "price": english.price,
    },
    "de": {
        "zahl": figures(2, 99),
        "grad": figures(15, 25),
        "stunde": figures(1, 24),
        "minute": figures(10, 59),
        "jahr": figures(1800, 2029),
        "ziffern": single_digits,
    },
    "es": {
        "numero": figures(2, 99),
        "grados": figures(15, 25),
        "hora": figures(2, 12),
        "anio": figures(1800, 2029),
        "cifras": single_digits,
    },
}


class Templates:
    """One language's templates and what may stand in their slots."""

    def __init__(self, language: str, data: Path = DATA) -> None:
        self.language = language
        self.templates = read_lines(data / f"templates.{language}.txt")
        lists = tomllib.loads((data / f"lists.{language}.toml").read_text("utf-8"))
        self._lists = {name: [item.strip() for item in text.split(",")] for name, text in lists.items()}

    def render(self, template: str, rng: Random) -> Sentence:
        """A template with its slots filled."""
        words: list[Word] = []
        for slot, mark, literal in PIECE.findall(template):
            if not slot:
                words += plain(literal)
                continue
            *before, last = self._fill(slot, rng)
            words += [*before, Word(last.written + mark, last.spoken + mark)]
        first = words[0]
        words[0] = Word(first.written[0].upper() + first.written[1:], first.spoken)
        return Sentence(self.language, tuple(words))

    def make(self, rng: Random) -> Sentence:
        """Any template, filled."""
        return self.render(rng.choice(self.templates), rng)

    def _fill(self, slot: str, rng: Random) -> list[Word]:
        numbers = NUMBERS[self.language]
        if slot in numbers:
            return numbers[slot](rng)
        if slot == "name":  # a first name, with or without a last name
            last = [rng.choice(self._lists["last"])] if rng.random() < 0.45 else []
            return plain(" ".join([rng.choice(self._lists["first"]), *last]))
        return plain(rng.choice(self._lists[slot]))
