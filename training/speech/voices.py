"""Which synthetic voices speak the training corpus, and which must never: those are the ``unseen`` set's."""

from random import Random


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ACCENTS = (
    *["en-us"] * 6,
    *["en"] * 4,
    *["en-gb-x-rp"] * 2,
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-029",
    "en-us-nyc",
)
UNSEEN_ACCENT = "en-gb-scotland"
UNSEEN_VARIANTS = frozenset(_names("f4 m5 Alicia norbert linda travis anika john"))

VARIANTS = _names(
    "Alex Andrea Andy Annie AnxiousAndy Denis Diogo Gene Gene2 Henrique Hugo Jacky Lee Marco Mario Michael Mike "
    "Nguyen RicishayMax RicishayMax2 RicishayMax3 adam announcer antonio aunty belinda benjamin boris caleb "
    "david ed edward edward2 f1 f2 f3 f5 grandma grandpa gustave iven iven2 iven3 iven4 klatt klatt2 klatt4 m1 "
    "m2 m3 m4 m6 m7 m8 marcelo max michel miguel pablo paul pedro quincy rob robert sandro shelby steph steph2 "
    "steph3 victor zac"
)
PLAIN_SHARE = 0.12
"""Share of espeak-ng utterances in an accent's own voice, without a variant."""

FLITE = ("awb", "rms", "slt", "kal16", "kal")
FLITE_WEIGHTS = (0.28, 0.28, 0.28, 0.10, 0.06)

GROUPS = {"flite": 0.28, "american": 0.50, "british": 0.16, "other": 0.06}
"""How often a window's English voice is of each group: as the evaluation has them, more or less."""


def choose_espeak(rng: Random, language: str) -> str:
    """A voice for espeak-ng: ``accent`` or ``accent+variant``."""
    accents = {"en": ACCENTS, "de": ("de",), "es": ("es", "es", "es-419")}[language]
    accent = rng.choice(accents)
    return accent if rng.random() < PLAIN_SHARE else f"{accent}+{rng.choice(VARIANTS)}"


def choose_flite(rng: Random) -> str:
    """A voice for flite."""
    return rng.choices(FLITE, FLITE_WEIGHTS)[0]


def group(voice: str) -> str:
    """The group of an English voice, written ``engine:voice``."""
    engine, name = voice.split(":")
    accent = name.split("+")[0]
    if engine == "flite":
        return "flite"
    if accent in ("en-us", "en-us-nyc"):
        return "american"
    return "british" if accent in ("en", "en-gb-x-rp") else "other"
