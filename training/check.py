"""Two minutes that prove every step works: speech, training in two pieces, export, and a model that answers.

What it trains has heard half an hour of speech and can do nothing; only that its loss fell is looked at.
"""

import json
import tempfile
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamasr.core.events import SAMPLE_RATE
from training import checkpoint
from training.evaluation.evaluate import evaluate
from training.evaluation.measure import Ear, spoken_text
from training.evaluation.table import markdown
from training.export import export
from training.heads import choose_heads
from training.settings import RECIPES, Folder, Synthesis
from training.speech.synthesise import synthesise
from training.tokenizer import Tokens
from training.train import Options, read_log, train
from training.windows.corpus import Corpus, Entry

RECIPE = RECIPES["check"]
SPEECH = Synthesis(hours=0.25, shard_utterances=40, flite_share=0.25)
FIRST_PIECE_MINUTES = 0.15
FALLEN = 0.85
"""The loss's last tenth is below this share of its first: an untrained model's is 7.8, and what only knows how
often each token comes is at about 5.5."""
EVALUATED = 6


def check(work: Path | None = None) -> str:
    """Run every step in ``work`` (a temporary folder, if None); returns what happened in a few lines.

    Raises:
        ValueError: a step did not do what it should; the message says which and how.
        OSError: espeak-ng is missing.
    """
    if work is None:
        with tempfile.TemporaryDirectory() as temporary:
            return check(Path(temporary))
    folder = Folder(work)
    lines = [_speech(folder), _training(folder)]
    model = work / "model"
    lines.append(_export(folder, model))
    corpus = Corpus(folder.corpus)
    lines.append(_answers(model, corpus))
    recordings = work / "recordings"
    write_recordings(corpus, recordings, EVALUATED)
    lines.append(markdown([("check", evaluate(model, recordings, threads=1))]))
    return "\n".join(lines)


def falls(values: Sequence[float]) -> tuple[float, float]:
    """The means of the first and the last tenth of a loss.

    Raises:
        ValueError: the last is not clearly below the first.
    """
    tenth = max(1, len(values) // 10)
    first, last = float(np.mean(values[:tenth])), float(np.mean(values[-tenth:]))
    if not last < FALLEN * first:
        raise ValueError(f"the loss does not fall: {first:.2f} at first, {last:.2f} at last")
    return first, last


def _speech(folder: Folder) -> str:
    """Synthesise, and once more: nothing may be made twice."""
    seconds = synthesise(folder, SPEECH)
    before = {path: path.stat().st_mtime_ns for path in folder.corpus.iterdir()}
    again = synthesise(folder, SPEECH)
    after = {path: path.stat().st_mtime_ns for path in folder.corpus.iterdir()}
    if before != after or seconds != again:
        raise ValueError("synthesise: the second run made speech that was there already")
    engines = sorted({path.name.split("-")[0] for path in before})
    return f"synthesise: {seconds:.0f} s of speech by {' and '.join(engines)}"


def _training(folder: Folder) -> str:
    """Train in two pieces; the second goes on where the first stopped, and the loss falls."""
    stopped = train(folder, RECIPE, Options(minutes=FIRST_PIECE_MINUTES, workers=0)).step
    done = train(folder, RECIPE, Options(workers=0))
    log = read_log(folder.log)
    steps = [int(row["step"]) for row in log]
    if done.hours < RECIPE.hours or steps != sorted(set(steps)) or steps[-1] != done.step:
        raise ValueError(f"train: {done.hours:.2f} of {RECIPE.hours} hours heard, steps {steps}")
    first, last = falls([row["text"] for row in log])
    return f"train: {stopped} steps, then {done.step - stopped} more; loss {first:.2f} to {last:.2f}"


def _export(folder: Folder, out: Path) -> str:
    model = checkpoint.read(folder.checkpoint).model()
    heads = choose_heads(model, Tokens(folder.tokenizer), Corpus(folder.corpus), utterances=4)
    size = export(model, folder.tokenizer, out, "int8", heads)
    return f"export: {size / 1e6:.1f} MB, word times from heads {heads}"


def _answers(model: Path, corpus: Corpus) -> str:
    """The runtime's engine and faster-whisper both load the model and answer one utterance."""
    from faster_whisper import WhisperModel

    signal = corpus.audio(corpus.entries[0])
    ear = Ear(model, threads=1)
    hypothesis = ear.hear(_int16(signal), None)
    ear.close()
    other = WhisperModel(str(model), device="cpu", compute_type="int8", cpu_threads=1)
    segments, info = other.transcribe(signal, language="en", beam_size=1, temperature=0.0)
    text = "".join(segment.text for segment in segments)
    if hypothesis.language not in Tokens(model / "tokenizer.json").languages:
        raise ValueError(f"export: the model answers in the language {hypothesis.language!r}")
    return f"streamasr hears {spoken_text(hypothesis)!r}, faster-whisper {text!r} in {info.duration:.1f} s"


def write_recordings(corpus: Corpus, out: Path, count: int) -> None:
    """A tiny evaluation set made of the corpus itself: some English utterances, and silence."""
    out.mkdir(parents=True, exist_ok=True)
    english = [entry for entry in corpus.entries if entry.utterance.language == "en"][:count]
    rows = [_row(f"seen_{i}", "seen", corpus.audio(entry), entry, out) for i, entry in enumerate(english)]
    rows.append(_row("silence_0", "silence", np.zeros(2 * SAMPLE_RATE, np.float32), None, out))
    (out / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def _row(name: str, group: str, signal: NDArray[np.float32], entry: Entry | None, out: Path) -> dict[str, object]:
    """Write one recording; returns its line of the manifest."""
    with wave.open(str(out / f"{name}.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(_int16(signal).tobytes())
    said = entry.utterance if entry else None
    times = zip(said.words, said.starts, said.ends, strict=True) if said else ()
    words = [{"word": w, "start": a / SAMPLE_RATE, "end": b / SAMPLE_RATE} for w, a, b in times]
    return {
        "id": name,
        "set": group,
        "path": f"{name}.wav",
        "text": " ".join(said.words) if said else "",
        "duration": len(signal) / SAMPLE_RATE,
        "voice": said.voice if said else "",
        "lang": "en",
        "words": words,
    }


def _int16(signal: NDArray[np.float32]) -> NDArray[np.int16]:
    return np.clip(np.round(signal * 32767), -32768, 32767).astype(np.int16)
