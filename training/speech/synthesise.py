"""The synthesis step: shards of speech, made by as many processes as there are cores.

What is said in a shard, and by which voice, follows from the seed and the shard's name alone, so a run that was
stopped goes on where it stopped. (The sound does not quite: espeak-ng's noise goes on from call to call.)
"""

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import cache
from pathlib import Path
from random import Random

import msgspec
import numpy as np
from numpy.typing import NDArray

from training.progress import progress_bar
from training.settings import Folder, Synthesis
from training.speech.espeak import Espeak
from training.speech.flite import Flite, build
from training.speech.speak import Synthesiser, speak
from training.text.pool import Pool, read_held_out, read_texts
from training.windows.corpus import Utterance, shard_seconds, write_shard

MEAN_UTTERANCE_S = 3.0
"""Only to know how many shards to begin with."""
ATTEMPTS = 20
"""A synthesiser that fails so often in a row is broken."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """All that a process must know to make a shard, whichever it is."""

    corpus: Path
    settings: Synthesis
    own_texts: tuple[tuple[str, Path], ...] = ()
    """A user's texts: language and file."""
    held_out: tuple[Path, ...] = ()
    flite: Path | None = None
    """The compiled program; None: espeak-ng alone."""


def synthesise(
    folder: Folder,
    settings: Synthesis,
    own_texts: Sequence[tuple[str, Path]] = (),
    held_out: Sequence[Path] = (),
    processes: int = 1,
) -> float:
    """Make the shards that are missing from a corpus of ``settings.hours``; returns its seconds.

    Raises:
        OSError: espeak-ng is missing, or a file cannot be read.
    """
    folder.corpus.mkdir(parents=True, exist_ok=True)
    program = build(folder.programs) if settings.flite_share else None
    job = Job(
        corpus=folder.corpus,
        settings=settings,
        own_texts=tuple(own_texts),
        held_out=tuple(held_out),
        flite=program,
    )
    wanted = settings.hours * 3600
    note = "" if program or not settings.flite_share else "(no flite: gcc and flite1-dev are needed)"
    made = 0.0
    with progress_bar("synthesise", wanted) as bar:
        for seconds in _make(job, wanted, processes):
            made += seconds
            bar(made, f"{made / 3600:.2f} h {note}")
    return made


def shard_names(settings: Synthesis, *, flite: bool) -> Iterator[str]:
    """The shards' names in order, without end: every n-th is flite's."""
    owed = 0.0
    index = 0
    while True:
        owed += settings.flite_share if flite else 0.0
        engine = "flite" if owed >= 1 else "espeak"
        owed -= engine == "flite"
        yield f"{engine}-{settings.seed}-{index:05}"
        index += 1


def _make(job: Job, wanted: float, processes: int) -> Iterator[float]:
    """The seconds of each shard, found or made, until there are enough."""
    names = shard_names(job.settings, flite=job.flite is not None)
    total = 0.0
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as workers:
        running: set[Future[float]] = set()
        while total < wanted:
            expected = total + len(running) * job.settings.shard_utterances * MEAN_UTTERANCE_S
            if len(running) < processes and (expected < wanted or not running):
                name = next(names)
                found = shard_seconds(job.corpus, name)
                if found is None:
                    running.add(workers.submit(make_shard, job, name))
                else:
                    total += found
                    yield found
                continue
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                total += future.result()
                yield future.result()


def make_shard(job: Job, name: str) -> float:
    """Speak one shard and write it; returns its seconds.

    Raises:
        OSError: the synthesiser is missing or broken.
    """
    rng = Random(name)
    synthesiser, pools = _synthesiser(name.partition("-")[0], job.flite), _pools(job)
    settings = job.settings
    foreign = 0.0 if synthesiser.name == "flite" else 1.0
    weights = {"de": settings.german * foreign, "es": settings.spanish * foreign}
    weights["en"] = 1 - sum(weights.values())
    audio: list[NDArray[np.int16]] = []
    utterances: list[Utterance] = []
    offset, failed = 0, 0
    while len(utterances) < settings.shard_utterances:
        language = rng.choices([*weights], [*weights.values()])[0]
        sentence = pools[language].draw(rng)
        spoken = speak(synthesiser, sentence, rng)
        if spoken is None:
            failed += 1
            if failed > ATTEMPTS + len(utterances):
                raise OSError(f"{synthesiser.name} cannot speak: {failed} sentences failed")
            continue
        utterances.append(
            Utterance(
                offset=offset,
                samples=len(spoken.audio),
                words=tuple(word.written for word in sentence.words),
                starts=spoken.starts,
                ends=spoken.ends,
                voice=spoken.voice,
                language=language,
            )
        )
        audio.append(spoken.audio)
        offset += len(spoken.audio)
    write_shard(job.corpus, name, audio, utterances)
    return offset / 16_000


@cache
def _synthesiser(engine: str, flite: Path | None) -> Synthesiser:
    """This process's one instance."""
    if engine == "flite" and flite is not None:
        return Flite(flite)
    return Espeak()


@cache
def _pools(job: Job) -> dict[str, Pool]:
    """This process's sentences."""
    held_out = read_held_out(job.held_out)
    own: dict[str, list[str]] = {"en": [], "de": [], "es": []}
    for language, path in job.own_texts:
        own[language] += read_texts(path)
    return {language: Pool(language, lines, held_out) for language, lines in own.items()}
