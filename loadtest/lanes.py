"""Lanes: what each simulated speaker says, made of recordings whose words and times are known.

Pure but for reading audio files: knows nothing of sockets, clocks or scores. Times in seconds from a lane's first
sample.
"""

import random
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np

from benchmarks import evalset
from benchmarks.evalset import SAMPLE_RATE, UTTERANCE_GAP_S, Pcm, Recording
from streamasr.bench.scoring import TimedWord

SHORTEST_S = 60.0
"""Less speech a lane says little about a server."""
PAUSE_S = (0.8, 2.0)
"""How long people pause between two things that they say."""
PIECE_S = 8.0
"""Long recordings are said in pieces of at least this length, so that every speaker has some of each set."""
CUT_PAUSE_S = 0.6
SETS = ("seen", "unseen", "long")
"""What accuracy is judged by; sets of noise are for their own measurements."""
HUSH_DBFS = -70.0
"""Pauses hold the noise of a quiet room: digital silence is what no microphone gives."""


class Utterance(msgspec.Struct, frozen=True):
    """One true span of speech: from its first word's start to its last word's end."""

    start: float
    end: float
    words: int


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """One speaker."""

    pcm: Pcm
    """int16, mono, 16 kHz, shape (n,)."""
    truth: tuple[TimedWord, ...]
    utterances: tuple[Utterance, ...]
    language: str
    pieces: tuple[str, ...]
    """The ids of what it is made of, in order."""

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.pcm) / SAMPLE_RATE


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """A recording, or a stretch of a long one between two pauses."""

    id: str
    path: str
    start: int
    """Sample [start, end) of the audio file."""
    end: int
    words: tuple[TimedWord, ...]
    """Seconds from the piece's first sample."""

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.end - self.start) / SAMPLE_RATE


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """What lanes are made of, all of one language, and noises in which nobody speaks."""

    place: Path
    speech: tuple[Piece, ...]
    noises: tuple[Piece, ...]
    language: str

    def read(self, piece: Piece) -> Pcm:
        """A piece's samples, shape (n,)."""
        return _samples(self.place / piece.path)[piece.start : piece.end]


def source(audio: Path | None, sets: Sequence[str] = (), language: str = "en") -> Source:
    """The recordings of a manifest (or of the directory that holds one); None: the fullest collection there is.

    ``sets`` empty: those of ``SETS`` that there are, or all.

    Raises:
        ValueError: there are none, or none with words in this language.
    """
    place, recordings = _read(audio)
    known = list(dict.fromkeys(r.set for r in recordings))
    if unknown := set(sets) - set(known):
        raise ValueError(f"no set {', '.join(sorted(unknown))} in {place}; there are {', '.join(known)}")
    wanted = sets or [name for name in SETS if name in known] or known
    speech = [r for r in recordings if r.words and r.lang == language and r.set in wanted]
    if not speech:
        raise ValueError(f"{place}: expected recordings with words and times in language {language!r}")
    return Source(
        place=place,
        speech=tuple(piece for r in speech for piece in pieces(r)),
        noises=tuple(piece for r in recordings if not r.words for piece in pieces(r)),
        language=language,
    )


def pieces(recording: Recording) -> list[Piece]:
    """The recording in pieces of ``PIECE_S`` or a little more, cut in the middle of pauses of ``CUT_PAUSE_S``."""
    cuts = [0.0]
    for before, after in pairwise(recording.words):
        if after.start - before.end >= CUT_PAUSE_S and before.end - cuts[-1] >= PIECE_S:
            cuts.append((before.end + after.start) / 2)
    cuts.append(recording.duration)
    found = []
    for start, end in pairwise(cuts):
        words = tuple(
            TimedWord(w.text, w.start - start, w.end - start) for w in recording.words if start <= w.start < end
        )
        first, last = round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)
        name = f"{recording.id}@{start:.2f}" if len(cuts) > 2 else recording.id
        found.append(Piece(id=name, path=recording.path, start=first, end=last, words=words))
    return found


def lane(source: Source, number: int, seconds: float, gap_s: float = UTTERANCE_GAP_S) -> Lane:
    """The ``number``-th speaker, at least ``seconds`` long; the same on every call.

    Every speaker says other pieces in another order. A pause of ``gap_s`` ends an utterance.
    """
    draw = random.Random(f"lane {number}")
    parts: list[Pcm] = [hush(draw.uniform(*PAUSE_S) / 2, draw)]
    chosen: list[tuple[Piece, int]] = []
    rest: list[Piece] = []
    while (at := sum(map(len, parts))) < seconds * SAMPLE_RATE:
        rest = rest or draw.sample(source.speech, len(source.speech))
        piece = rest.pop()
        chosen.append((piece, at))
        parts += [source.read(piece), hush(draw.uniform(*PAUSE_S), draw)]
    truth = tuple(
        TimedWord(w.text, w.start + at / SAMPLE_RATE, w.end + at / SAMPLE_RATE) for p, at in chosen for w in p.words
    )
    return Lane(
        pcm=np.concatenate(parts),
        truth=truth,
        utterances=utterances(truth, gap_s),
        language=source.language,
        pieces=tuple(piece.id for piece, _ in chosen),
    )


def idle_audio(source: Source, number: int, seconds: float = 10.0) -> Pcm:
    """What a socket hears on which nobody speaks, to be repeated: a noise-only recording, or a quiet room."""
    if source.noises:
        return source.read(source.noises[number % len(source.noises)])
    return hush(seconds, random.Random(f"idle {number}"))


def utterances(truth: Sequence[TimedWord], gap_s: float) -> tuple[Utterance, ...]:
    """Words without a pause of ``gap_s`` between them are one utterance."""
    found: list[Utterance] = []
    for word in truth:
        if found and word.start - found[-1].end < gap_s:
            found[-1] = Utterance(found[-1].start, max(found[-1].end, word.end), found[-1].words + 1)
        else:
            found.append(Utterance(word.start, word.end, 1))
    return tuple(found)


def hush(seconds: float, draw: random.Random) -> Pcm:
    """The noise of a quiet room."""
    noise = np.random.default_rng(draw.getrandbits(32)).standard_normal(round(seconds * SAMPLE_RATE))
    return np.round(noise * 32768 * 10 ** (HUSH_DBFS / 20)).astype(np.int16)


@cache
def _samples(path: Path) -> Pcm:
    """A whole file, read once: every lane is made of the same few."""
    import soundfile

    samples, rate = soundfile.read(str(path), dtype="int16")
    if rate != SAMPLE_RATE or samples.ndim != 1:
        raise ValueError(f"{path}: expected mono {SAMPLE_RATE} Hz, got {rate} Hz {samples.shape}")
    return np.asarray(samples, dtype=np.int16)


def _read(audio: Path | None) -> tuple[Path, list[Recording]]:
    """Where the audio files lie, and all recordings."""
    if audio is None or audio.is_dir():
        place = audio or evalset.default_place()
        return place, evalset.load(place)
    lines = audio.read_text("utf-8").splitlines()
    return audio.parent, [msgspec.json.decode(line, type=Recording) for line in lines if line.strip()]
