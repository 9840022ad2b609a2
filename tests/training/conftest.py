"""A small corpus that needs no synthesiser: utterances whose words are tones."""

from pathlib import Path

import numpy as np
import pytest

from training.settings import SHIPPED
from training.tokenizer import Tokens
from training.windows.corpus import Corpus, Utterance, write_shard

WORDS = ("turn", "on", "the", "kitchen", "light,", "please.")
STARTS = (800, 5_600, 8_000, 11_200, 17_600, 24_000)
ENDS = (5_600, 8_000, 11_200, 17_600, 22_400, 30_400)


def tone(frequency: float) -> np.ndarray:
    """Two seconds with a tone while there are words."""
    time = np.arange(32_000) / 16_000
    signal = 9_000 * np.sin(2 * np.pi * frequency * time)
    signal[: STARTS[0]] = 0
    signal[ENDS[-1] :] = 0
    return signal.astype(np.int16)


def write(folder: Path, name: str, language: str, voices: tuple[str, ...]) -> None:
    """A shard of one utterance a voice, all saying the same."""
    utterances = [
        Utterance(
            offset=32_000 * i, samples=32_000, words=WORDS, starts=STARTS, ends=ENDS, voice=voice, language=language
        )
        for i, voice in enumerate(voices)
    ]
    write_shard(folder, name, [tone(200.0 * (i + 1)) for i in range(len(voices))], utterances)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """English of every group of voices, and German; nothing changes it."""
    folder = tmp_path_factory.mktemp("corpus")
    write(folder, "one", "en", ("espeak:en-us+f1", "espeak:en", "flite:slt", "espeak:en-029"))
    write(folder, "two", "de", ("espeak:de", "espeak:de+f2"))
    return Corpus(folder)


@pytest.fixture(scope="session")
def tokens() -> Tokens:
    """The shipped vocabulary."""
    return Tokens(SHIPPED / "tokenizer.json")
