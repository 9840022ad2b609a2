"""Whole files at equal work: how fast each system is on random weights in a size's real shape, openai-whisper's too.

    python -m benchmarks.equal_work --size tiny --every 5 --openai

openai-whisper cannot run nano, whose vocabulary is its own. Here every system has a model of the same shape with
random weights, and says the same number of tokens for a second of audio, whatever it hears: `TOKENS_PER_SECOND`, at
temperature 0, without timestamps, the end of the text suppressed. So there are speeds and no words. What is timed
is as in `benchmarks.files`.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.console import Console

from benchmarks import evalset
from benchmarks.files import BATCH, BATCHED, OPENAI, OURS, PLAIN, Figures, Ours, System, measure, speed_ratio
from benchmarks.report import Grid, rich_table
from streamasr.core.events import SAMPLE_RATE, Hypothesis, Window
from streamasr.core.options import FileOptions
from streamasr.errors import WindowFailed
from streamasr.inference.costs import TOKENS_PER_SECOND
from streamasr.inference.ct2 import Ct2Engine
from streamasr.inference.models import resolve
from streamasr.inference.tokens import Vocabulary
from tests import whispers

CHUNK_TOKENS = round(30 * TOKENS_PER_SECOND)
"""What others say of a chunk of 30 s."""


class Measured(Ct2Engine):
    """An engine whose windows have so many tokens as speech would have."""

    def transcribe(self, batch: Sequence[Window]) -> list[Hypothesis | WindowFailed]:
        """As the engine's."""
        allowed = [max(1, round(TOKENS_PER_SECOND * window.samples / SAMPLE_RATE)) for window in batch]
        return super().transcribe(
            [msgspec.structs.replace(w, max_new_tokens=count) for w, count in zip(batch, allowed, strict=True)]
        )


class FasterWhisper:
    """faster-whisper, plain or by its batched pipeline."""

    def __init__(self, path: Path, threads: int, beam: int, *, batched: bool) -> None:
        import faster_whisper

        vocabulary = Vocabulary(path / "tokenizer.json")
        self._end = vocabulary.end
        self._prompt = vocabulary.task_tokens("en", "transcribe")
        model = faster_whisper.WhisperModel(str(path), device="cpu", compute_type="int8", cpu_threads=threads)
        self._transcribe = (faster_whisper.BatchedInferencePipeline(model) if batched else model).transcribe
        self._options: dict[str, Any] = {"batch_size": BATCH} if batched else {"condition_on_previous_text": False}
        self._beam = beam

    def transcribe(self, path: Path, language: str) -> str:
        """What it says of a file."""
        segments, _ = self._transcribe(
            str(path),
            language=language,
            beam_size=self._beam,
            temperature=0.0,
            without_timestamps=True,
            max_new_tokens=2 * CHUNK_TOKENS - len(self._prompt),  # CTranslate2 gives half of it and of the prompt
            suppress_tokens=[-1, self._end],
            compression_ratio_threshold=None,
            log_prob_threshold=None,
            no_speech_threshold=None,
            **self._options,
        )
        return " ".join(segment.text for segment in segments)


class OpenAIWhisper:
    """openai-whisper, in float32: it has no int8."""

    def __init__(self, size: whispers.Size, threads: int, beam: int) -> None:
        import torch
        from whisper.model import ModelDimensions, Whisper

        torch.set_num_threads(threads)
        torch.manual_seed(0)
        shape = ModelDimensions(
            n_mels=size.n_mels,
            n_audio_ctx=1500,
            n_audio_state=size.width,
            n_audio_head=size.heads,
            n_audio_layer=size.encoder_layers,
            n_vocab=51_864 if size.english_only else 51_766 + size.languages,
            n_text_ctx=448,
            n_text_state=size.width,
            n_text_head=size.heads,
            n_text_layer=size.decoder_layers,
        )
        self._model = Whisper(shape)
        for weights in self._model.parameters():  # some are not initialised
            torch.nn.init.normal_(weights, std=0.02)
        self._model.eval()
        self._end = 50_256 if size.english_only else 50_257
        self._beam = beam

    def transcribe(self, path: Path, language: str) -> str:
        """What it says of a file."""
        from streamasr.inference.media import decode

        said = self._model.transcribe(
            np.concatenate(list(decode(path))),
            language=language,
            beam_size=self._beam,
            temperature=0.0,
            without_timestamps=True,
            sample_len=CHUNK_TOKENS,
            suppress_tokens=f"-1,{self._end}",
            condition_on_previous_text=False,
            compression_ratio_threshold=None,
            logprob_threshold=None,
            no_speech_threshold=None,
            fp16=False,
        )
        return str(said["text"])


def endless(size: whispers.Size, place: Path) -> Path:
    """A model of that shape which never ends its text by itself."""
    model = whispers.build(size, place / size.name)
    config = json.loads((model / "config.json").read_text("utf-8"))
    config["suppress_ids"] = [*config["suppress_ids"], Vocabulary(model / "tokenizer.json").end]
    (model / "config.json").write_text(json.dumps(config), "utf-8")
    return model


def table(figures: Sequence[Figures]) -> Grid:
    """Speeds, and how many times as fast the first is."""
    ours = figures[0]
    lines = tuple(
        (one.name, f"{one.speed:.1f}", "–" if one is ours else f"{speed_ratio(ours, one):.2f}") for one in figures
    )
    return Grid("Whole files at equal work, random weights.", ("", "× real time", "we are × as fast"), lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    arguments = _arguments(argv)
    place = arguments.place or evalset.default_place()
    recordings = evalset.load(place, tuple(arguments.sets.split(",")), arguments.every)
    size, threads, beam = whispers.SIZES[arguments.size], arguments.threads, arguments.beam
    with tempfile.TemporaryDirectory() as directory:
        model = endless(size, Path(directory))
        ours = Ours(resolve(str(model)), threads, FileOptions(beam_size=beam, temperatures=(0.0,)), engine=Measured)
        systems: dict[str, System] = {
            OURS: ours,
            BATCHED: FasterWhisper(model, threads, beam, batched=True),
            PLAIN: FasterWhisper(model, threads, beam, batched=False),
        }
        if arguments.openai:
            systems[OPENAI] = OpenAIWhisper(size, threads, beam)
        figures = measure(systems, place, recordings, arguments.rounds)
        ours.close()
    Console().print(rich_table(table(figures)))
    for one in figures:
        print(f"{one.name}: rounds {', '.join(f'{speed:.1f}' for speed in one.speeds)}")
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks.equal_work", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--size", default="tiny", choices=whispers.SIZES, help="whose shape (default: tiny)")
    parser.add_argument("--place", type=Path, help="directory with manifest.jsonl (default: the fullest there is)")
    parser.add_argument("--sets", default="long", help="comma-separated (default: long)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th recording of a set")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds (default: 3)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, metavar="N", help="of every system")
    parser.add_argument("--beam", type=int, default=5, metavar="N", help="of every system (default: 5)")
    parser.add_argument("--openai", action="store_true", help="also openai-whisper, to be installed by hand")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
