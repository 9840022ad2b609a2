"""What is known of every model that people run by name: where it is, what it can, how to use it, how to tell it.

Pure data and look-ups. Knows no files, no hub and no machine; what a model costs is in costs.py.
"""

import difflib
import re

import msgspec

ENGLISH_VOCABULARY = 51_864
"""Tokens of an English-only vocabulary. It has language tokens too, but its prompts carry none."""


class Guards(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of a believable hypothesis, set so that at most 1 % of good windows trip them."""

    no_speech: float
    """A hypothesis is taken for none above this no-speech probability …"""
    logprob: float
    """… if its average log-probability is also below this."""
    compression_ratio: float
    """Text that compresses better than this repeats itself."""
    tokens_per_second: float
    """More tokens per second of audio than this are not speech."""


NANO_GUARDS = Guards(no_speech=0.6, logprob=-1.0, compression_ratio=1.7, tokens_per_second=16.0)
"""Measured on the evaluation sets (docs/topics/streaming-policy.md)."""
STOCK_GUARDS = Guards(no_speech=0.6, logprob=-1.0, compression_ratio=2.4, tokens_per_second=25.0)
"""OpenAI's thresholds; not verified here."""

REPORTED = "others' reports on Whisper models with short encoder inputs; OpenAI's thresholds; not measured here"
MEASURED = "measured by this project on its evaluation sets"

Heads = tuple[tuple[int, int], ...]
"""Alignment heads, each (decoder layer, head)."""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """The dimensions by which a model is told."""

    encoder_layers: int
    decoder_layers: int
    width: int
    n_mels: int
    vocabulary: int
    """Tokens, timestamps among them."""


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """One model that has a name."""

    name: str
    repo: str
    """Its conversion on the hub, OWNER/NAME; empty for what is in the package."""
    shape: Shape
    parameters: int
    heads: Heads = ()
    """As in its config.json; empty where conversions differ or none are known."""
    languages: tuple[str, ...]
    translates: bool
    shared_shape: bool = False
    """Others made models for other languages of the same shape: it is told by its name or its heads alone."""
    encoder_floor_s: float = 10.0
    encoder_margin_s: float = 2.0
    longest_window_s: float = 20.0
    guards: Guards = STOCK_GUARDS
    measured: bool = False
    source: str = REPORTED

    @property
    def megabytes(self) -> int:
        """What a download moves: float16 weights and about 3 MB of vocabulary (nano: int8 and 1.7 MB)."""
        return round((2 * self.parameters + 3e6 if self.repo else self.parameters + 1.7e6) / 1e6)


ENGLISH = ("en",)
# fmt: off
LANGUAGES = (
    "en", "zh", "de", "es", "ru", "ko", "fr", "ja", "pt", "tr", "pl", "ca", "nl", "ar", "sv", "it", "id", "hi", "fi",
    "vi", "he", "uk", "el", "ms", "cs", "ro", "da", "hu", "ta", "no", "th", "ur", "hr", "bg", "lt", "la", "mi", "ml",
    "cy", "sk", "te", "fa", "lv", "bn", "sr", "az", "sl", "kn", "et", "mk", "br", "eu", "is", "hy", "ne", "mn", "bs",
    "kk", "sq", "sw", "gl", "mr", "pa", "si", "km", "sn", "yo", "so", "af", "oc", "ka", "be", "tg", "sd", "gu", "am",
    "yi", "lo", "uz", "fo", "ht", "ps", "tk", "nn", "mt", "sa", "lb", "my", "bo", "tl", "mg", "as", "tt", "haw", "ln",
    "ha", "ba", "jw", "su",
)
# fmt: on
LANGUAGES_V3 = (*LANGUAGES, "yue")


def _shape(encoder_layers: int, decoder_layers: int, width: int, vocabulary: int, n_mels: int = 80) -> Shape:
    return Shape(
        encoder_layers=encoder_layers,
        decoder_layers=decoder_layers,
        width=width,
        n_mels=n_mels,
        vocabulary=vocabulary,
    )


def _whisper(name: str, shape: Shape, parameters: float, heads: str, repo: str = "") -> Size:
    """One of OpenAI's; ``heads`` as "layer.head …", ``parameters`` in millions."""
    english = shape.vocabulary == ENGLISH_VOCABULARY
    multilingual = LANGUAGES_V3 if shape.n_mels == 128 else LANGUAGES
    return Size(
        name=name,
        repo=repo or f"Systran/faster-whisper-{name}",
        shape=shape,
        parameters=round(parameters * 1e6),
        heads=tuple((int(layer), int(head)) for layer, head in (pair.split(".") for pair in heads.split())),
        languages=ENGLISH if english else multilingual,
        translates=not english and name != "large-v3-turbo",
    )


def _distilled(name: str, shape: Shape, parameters: float, repo: str = "") -> Size:
    """One of Distil-Whisper's: English only, whatever its vocabulary."""
    return Size(
        name=name,
        repo=repo or f"Systran/faster-distil-whisper-{name.removeprefix('distil-')}",
        shape=shape,
        parameters=round(parameters * 1e6),
        languages=ENGLISH,
        translates=False,
        shared_shape=True,
    )


NANO = Size(
    name="nano",
    repo="",
    shape=_shape(6, 3, 192, 2_516),
    parameters=5_464_523,
    heads=((1, 5), (2, 0), (2, 1), (2, 3), (2, 5)),
    languages=("en", "es", "de"),
    translates=False,
    shared_shape=True,
    encoder_floor_s=0.0,
    encoder_margin_s=0.0,
    longest_window_s=10.0,
    guards=NANO_GUARDS,
    measured=True,
    source=MEASURED,
)

SIZES = (
    NANO,
    _whisper("tiny", _shape(4, 4, 384, 51_865), 37.8, "2.2 3.0 3.2 3.3 3.4 3.5"),
    _whisper("tiny.en", _shape(4, 4, 384, 51_864), 37.8, "1.0 2.0 2.5 3.0 3.1 3.2 3.3 3.4"),
    _whisper("base", _shape(6, 6, 512, 51_865), 72.6, "3.1 4.2 4.3 4.7 5.1 5.2 5.4 5.6"),
    _whisper("base.en", _shape(6, 6, 512, 51_864), 72.6, "3.3 4.7 5.1 5.5 5.7"),
    _whisper("small", _shape(12, 12, 768, 51_865), 241.7, "5.3 5.9 8.0 8.4 8.7 8.8 9.0 9.7 9.9 10.5"),
    _whisper(
        "small.en",
        _shape(12, 12, 768, 51_864),
        241.7,
        "6.6 7.0 7.3 7.8 8.2 8.5 8.7 9.0 9.4 9.8 9.10 10.0 10.1 10.2 10.3 10.6 10.11 11.2 11.4",
    ),
    _whisper("medium", _shape(24, 24, 1024, 51_865), 763.9, "13.15 15.4 15.15 16.1 20.0 23.4"),
    _whisper(
        "medium.en",
        _shape(24, 24, 1024, 51_864),
        763.9,
        "11.4 14.1 14.12 14.14 15.4 16.0 16.4 16.9 17.12 17.14 18.7 18.10 18.15 20.0 20.3 20.9 20.14 21.12",
    ),
    _whisper("large-v1", _shape(32, 32, 1280, 51_865), 1543.3, "9.19 11.2 11.4 11.17 22.7 22.11 22.17 23.2 23.15"),
    _whisper(
        "large-v2",
        _shape(32, 32, 1280, 51_865),
        1543.3,
        "10.12 13.17 16.11 16.12 16.13 17.15 17.16 18.4 18.11 18.19 19.11 21.2 21.3 22.3 22.9 22.12 23.5 23.7"
        " 23.13 25.5 26.1 26.12 27.15",
    ),
    _whisper(
        "large-v3",
        _shape(32, 32, 1280, 51_866, 128),
        1543.5,
        "7.0 10.17 12.18 13.12 16.1 17.14 19.11 21.4 24.1 25.6",
    ),
    _whisper(
        "large-v3-turbo",
        _shape(32, 4, 1280, 51_866, 128),
        808.9,
        "2.4 2.11 3.3 3.6 3.11 3.14",
        repo="mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    ),
    _distilled("distil-small.en", _shape(12, 4, 768, 51_864), 166.1),
    _distilled("distil-medium.en", _shape(24, 2, 1024, 51_864), 394.4),
    _distilled("distil-large-v2", _shape(32, 2, 1280, 51_865), 756.2),
    _distilled("distil-large-v3", _shape(32, 2, 1280, 51_866, 128), 756.4),
    _distilled(
        "distil-large-v3.5", _shape(32, 2, 1280, 51_866, 128), 756.4, repo="distil-whisper/distil-large-v3.5-ct2"
    ),
)
"""Every size, from the smallest of its family to the largest."""

ALIASES = {"large": "large-v3", "turbo": "large-v3-turbo"}

BY_NAME = {size.name: size for size in SIZES}
_BY_REPO = {size.repo.lower(): size for size in SIZES if size.repo}
_DECORATION = re.compile(r"^(faster-)?(distil-)?(whisper-)?(.*?)(-ct2)?$")


def by_name(name: str) -> Size | None:
    """The size of this name or alias."""
    return BY_NAME.get(ALIASES.get(name, name))


def by_repo(repo: str) -> Size | None:
    """The size that this hub id (OWNER/NAME) is a conversion of, if its name says so."""
    return _BY_REPO.get(repo.lower()) or by_title(repo.rpartition("/")[2])


def by_title(title: str) -> Size | None:
    """The size that a repository or directory named like this holds: ``faster-whisper-small.en`` and the like.

    Any word more than that, ``-german`` say, makes it another model.
    """
    found = _DECORATION.match(title.lower())
    if found is None:
        return None
    plain = found[4].removeprefix("distil-")
    return by_name(f"distil-{plain}" if "distil-" in title.lower() else plain)


def by_fingerprint(shape: Shape, heads: Heads) -> Size | None:
    """The size of a model by what its files say.

    Vocabulary, mel bins and decoder layers must agree, and then either the alignment heads or the rest of the
    shape, unless others share that (``Size.shared_shape``).
    """
    alike = [
        size
        for size in SIZES
        if (size.shape.decoder_layers, size.shape.n_mels, size.shape.vocabulary)
        == (shape.decoder_layers, shape.n_mels, shape.vocabulary)
    ]
    by_heads = [size for size in alike if size.heads and sorted(size.heads) == sorted(heads)]
    by_shape = [size for size in alike if size.shape == shape and not size.shared_shape]
    return next(iter(by_heads or by_shape), None)


def names() -> tuple[str, ...]:
    """Every size and alias."""
    return (*BY_NAME, *ALIASES)


def similar(name: str) -> str | None:
    """The size that was probably meant."""
    near = difflib.get_close_matches(name.lower(), [*names(), "auto"], n=1, cutoff=0.5)
    return near[0] if near else None


def memory(parameters: int, width: int) -> dict[str, int]:
    """Bytes that a model takes on a GPU, by compute type: an estimate.

    Its weights, 0.4 GB of the driver's, and working memory for a batch of eight 30 s windows, which
    faster-whisper's published figures put at 2.6 GB for large-v2 in float16.
    """
    driver, work = 400_000_000, 2_000_000 * width
    half, single = driver + work, driver + 2 * work
    return {
        "float16": 2 * parameters + half,
        "bfloat16": 2 * parameters + half,
        "int8_float16": parameters + half,
        "int8_bfloat16": parameters + half,
        "int16": 2 * parameters + single,
        "int8": parameters + single,
        "int8_float32": parameters + single,
        "float32": 4 * parameters + single,
    }
