"""How well an exported model hears, offline and greedy: everything an edition is judged by.

Measured with the runtime's own engine on the evaluation recordings, one window at a time. Knows no goals.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from benchmarks.evalset import Pcm, Recording, Span, load, read_audio, utterances
from streamasr.bench.scoring import Errors, align, count_errors, normalise
from streamasr.core.events import SAMPLE_RATE, Hypothesis, Window
from streamasr.inference.ct2 import Ct2Engine
from streamasr.inference.models import resolve

HALF_SECOND = SAMPLE_RATE // 2
FULL = 30 * SAMPLE_RATE
PADDING_FILES = 60
"""Of each set, decoded with 30 s of padding, too: that is slow."""
LANGUAGE_SETS = ("seen", "lang_de", "lang_es")
WORD_TIME_SETS = ("seen", "unseen", "long")

Report = dict[str, float]
"""Measurements by name: ``wer_SET`` in per cent, the rest as ``evaluation.table`` titles them."""


class Ear:
    """The model, asked one window at a time."""

    def __init__(self, model: Path, threads: int) -> None:
        """Load it.

        Raises:
            ModelError: it is no model that CTranslate2 runs.
        """
        self._engine = Ct2Engine(resolve(str(model)), threads=threads)

    def hear(self, pcm: Pcm, language: str | None, encoder_samples: int | None = None) -> Hypothesis:
        """Transcribe up to 30 s; without a language it is told from the audio.

        The encoder sees the next half second, unless it is told otherwise.
        """
        least = max(HALF_SECOND, -(-len(pcm) // HALF_SECOND) * HALF_SECOND)
        window = Window(
            lane="evaluation",
            number=0,
            kind="file",
            anchor=0,
            pcm=pcm[:FULL].tobytes(),
            encoder_samples=min(FULL, encoder_samples or least),
            language=language,
            max_new_tokens=200,
        )
        answer = self._engine.transcribe([window])[0]
        if not isinstance(answer, Hypothesis):
            raise answer
        return answer

    def close(self) -> None:
        """Free the model."""
        self._engine.close()


class Evaluation:
    """One model on one collection of recordings; ``tick`` is called for every window."""

    def __init__(self, ear: Ear, place: Path, tick: Callable[[], None]) -> None:
        self._ear, self._place, self._tick = ear, place, tick
        recordings = load(place)
        self.sets = {r.set: [s for s in recordings if s.set == r.set] for r in recordings}

    def measure(self) -> Report:
        """Everything that the collection has recordings for."""
        report: Report = {}
        for name in self.sets.keys() - {"silence"}:
            report[f"wer_{name}"] = self._word_errors(self.sets[name], None).wer
        report |= self._padding() | self._silence() | self._word_times() | self._languages() | self._cuts()
        return report

    def count(self) -> int:
        """About how many windows ``measure`` will ask for."""
        spans = {name: sum(len(utterances(r)) or 1 for r in rs) for name, rs in self.sets.items()}
        padded = sum(2 * min(PADDING_FILES, spans.get(name, 0)) for name in ("seen", "unseen"))
        timed = sum(spans.get(name, 0) for name in WORD_TIME_SETS)
        languages = sum(spans.get(name, 0) for name in LANGUAGE_SETS)
        return sum(spans.values()) + padded + timed + languages + spans.get("seen", 0)

    def _hear(self, pcm: Pcm, language: str | None, encoder_samples: int | None = None) -> Hypothesis:
        self._tick()
        return self._ear.hear(pcm, language, encoder_samples)

    def _word_errors(self, recordings: Iterable[Recording], encoder_samples: int | None) -> Errors:
        """Over the true utterances of the recordings."""
        total = Errors()
        for recording in recordings:
            pcm = read_audio(self._place, recording)
            said = "".join(
                spoken_text(self._hear(pcm[span.start : span.end], recording.lang, encoder_samples)) + " "
                for span in self._spans(recording)
            )
            total += count_errors(normalise(recording.text, recording.lang), normalise(said, recording.lang))
        return total

    def _spans(self, recording: Recording) -> Sequence[Span]:
        """Its true utterances; a short recording is one, with the silence around it."""
        whole = Span(0, round(recording.duration * SAMPLE_RATE))
        return utterances(recording) if recording.duration > 30 else [whole]

    def _padding(self) -> Report:
        """What short encoder windows cost against 30 s of padding, in points of WER."""
        recordings = [r for name in ("seen", "unseen") for r in self.sets.get(name, [])[:PADDING_FILES]]
        if not recordings:
            return {}
        short, full = (self._word_errors(recordings, length) for length in (None, FULL))
        return {"short_window_points": short.wer - full.wer}

    def _silence(self) -> Report:
        """In how many recordings without speech words are heard."""
        if "silence" not in self.sets:
            return {}
        heard = [normalise(spoken_text(self._hear(read_audio(self._place, r), "en"))) for r in self.sets["silence"]]
        return {"silence_with_words": sum(bool(words) for words in heard), "silence_files": len(heard)}

    def _word_times(self) -> Report:
        """The mean distance of right words' starts and ends from the truth, in milliseconds."""
        errors: list[float] = []
        for recording in (r for name in WORD_TIME_SETS for r in self.sets.get(name, [])):
            pcm = read_audio(self._place, recording)
            for span in self._spans(recording):
                hypothesis = self._hear(pcm[span.start : span.end], recording.lang)
                errors += time_errors(recording, span, hypothesis)
        return {"word_time_ms": 1000 * float(np.mean(errors))} if errors else {}

    def _languages(self) -> Report:
        """How often the language is told rightly, in per cent; as many recordings of each as there are."""
        sets = [self.sets[name] for name in LANGUAGE_SETS if name in self.sets]
        if len(sets) < 2:
            return {}
        size = min(len(recordings) for recordings in sets)
        right = [
            self._hear(read_audio(self._place, r), None).language == r.lang
            for recordings in sets
            for r in recordings[:size]
        ]
        return {"language_percent": 100 * float(np.mean(right))}

    def _cuts(self) -> Report:
        """Windows cut off in mid-word: how often nothing is invented after the cut, in per cent."""
        rng = Random(3)
        clean = []
        for recording in self.sets.get("seen", []):
            if len(recording.words) < 4:
                continue
            word = rng.choice(recording.words[2:])
            cut = round((word.start + rng.uniform(0.25, 0.75) * (word.end - word.start)) * SAMPLE_RATE)
            heard = spoken_text(self._hear(read_audio(self._place, recording)[:cut], recording.lang))
            begun = " ".join(w.text for w in recording.words if w.start * SAMPLE_RATE < cut)
            clean.append(not invented(normalise(begun), normalise(heard)))
        return {"cut_clean_percent": 100 * float(np.mean(clean))} if clean else {}


def spoken_text(hypothesis: Hypothesis) -> str:
    """The text as it reads."""
    return "".join(word.text for word in hypothesis.words).strip()


def invented(begun: Sequence[str], heard: Sequence[str]) -> bool:
    """Does the hypothesis go on after all words that had begun before the cut, the cut one included?"""
    ops = align(begun, heard)
    return bool(ops) and ops[-1].kind == "ins"


def time_errors(recording: Recording, span: Span, hypothesis: Hypothesis) -> list[float]:
    """How far the starts and ends of rightly heard words of one true utterance are off, in seconds."""
    spoken: list[Any] = [w for w in recording.words if span.start <= round(w.start * SAMPLE_RATE) < span.end]
    heard = [w for w in hypothesis.words if normalise(w.text)]
    truth = ["".join(normalise(w.text)) for w in spoken]
    found = ["".join(normalise(w.text)) for w in heard]
    errors = []
    for op in align(truth, found):
        if op.kind == "equal" and op.ref is not None and op.hyp is not None:
            word, other = spoken[op.ref], heard[op.hyp]
            errors.append(abs((span.start + other.start) / SAMPLE_RATE - word.start))
            errors.append(abs((span.start + other.end) / SAMPLE_RATE - word.end))
    return errors
