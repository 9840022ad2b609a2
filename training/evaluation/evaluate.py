"""The evaluation step: a model directory to its report."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from streamasr.core.events import SAMPLE_RATE
from training.evaluation.measure import FULL, Ear, Evaluation, Report, spoken_text
from training.progress import progress_bar


def evaluate(model: Path, place: Path, threads: int) -> Report:
    """Everything that the recordings in ``place`` can tell about a model.

    Raises:
        ModelError: it is no model that CTranslate2 runs.
        OSError: there is no manifest, or a recording is missing.
    """
    ear = Ear(model, threads)
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        bar(done)

    evaluation = Evaluation(ear, place, tick)
    with progress_bar("evaluate", evaluation.count()) as bar:
        report = evaluation.measure()
    ear.close()
    size = sum(path.stat().st_size for path in model.iterdir())
    return {**report, "megabytes": size / 1e6}


def listen(model: Path, recordings: Sequence[Path], threads: int) -> Iterator[tuple[Path, str]]:
    """What the model hears in audio files of any kind, in pieces of 30 s: real voices, say."""
    if not recordings:
        return
    from faster_whisper.audio import decode_audio

    ear = Ear(model, threads)
    for path in recordings:
        signal = np.asarray(decode_audio(str(path), sampling_rate=SAMPLE_RATE))
        pcm = np.clip(np.round(signal * 32767), -32768, 32767).astype(np.int16)
        pieces = [ear.hear(pcm[i : i + FULL], None) for i in range(0, len(pcm), FULL)]
        yield path, " ".join(spoken_text(piece) for piece in pieces)
    ear.close()
