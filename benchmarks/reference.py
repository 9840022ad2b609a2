"""What the same model hears without streaming: on each true utterance, and on whole files.

The first is the yardstick of the streamed text: greedy, one window per true utterance, as short an encoder
input as the model bears. The second is faster-whisper as people use it, beside it. Knows nothing of servers.
"""

from benchmarks.evalset import Pcm, Recording, Span, utterances
from streamasr.core.events import SAMPLE_RATE, Hypothesis, Window
from streamasr.inference.ct2 import Ct2Engine
from streamasr.inference.models import ModelEntry

STEP = SAMPLE_RATE // 2
"""The reference's encoder input is a whole number of half seconds."""
ENCODER_LIMIT = 30 * SAMPLE_RATE
MAX_NEW_TOKENS = 200


class Reference:
    """The model on true utterances, one window at a time."""

    def __init__(self, entry: ModelEntry, threads: int = 1) -> None:
        self._entry = entry
        self._engine = Ct2Engine(entry, threads=threads)

    def transcribe(self, pcm: Pcm, recording: Recording) -> str:
        """The text of a recording, its utterances joined; the language is the recording's.

        Raises:
            WindowFailed: the engine could not transcribe an utterance.
        """
        texts = []
        for number, span in enumerate(utterances(recording)):
            answer = self._engine.transcribe([self._window(pcm, span, number, recording.lang)])[0]
            if not isinstance(answer, Hypothesis):
                raise answer
            texts.append("".join(word.text for word in answer.words).strip())
        return " ".join(texts)

    def close(self) -> None:
        """Free the model."""
        self._engine.close()

    def _window(self, pcm: Pcm, span: Span, number: int, language: str) -> Window:
        samples = pcm[span.start : span.end]
        margin = round(self._entry.encoder_margin_s * SAMPLE_RATE)
        needed = max(round(self._entry.encoder_floor_s * SAMPLE_RATE), len(samples) + margin)
        return Window(
            lane="reference",
            number=number,
            kind="final",
            anchor=span.start,
            pcm=samples.tobytes(),
            encoder_samples=min(ENCODER_LIMIT, -(-needed // STEP) * STEP),
            language=language,
            max_new_tokens=MAX_NEW_TOKENS,
        )


class WholeFile:
    """faster-whisper on whole files: beam 1, no voice-activity filter, everything else as it comes."""

    def __init__(self, entry: ModelEntry, threads: int = 1) -> None:
        import faster_whisper
        from ctranslate2 import set_random_seed

        set_random_seed(0)  # its fallback samples
        self._model = faster_whisper.WhisperModel(str(entry.path), device="cpu", cpu_threads=threads)

    def transcribe(self, pcm: Pcm, recording: Recording, *, conditioned: bool) -> str:
        """The text of a recording in its language; ``conditioned``: each window on the text before it."""
        segments, _ = self._model.transcribe(
            pcm.astype("float32") / 32768.0,
            language=recording.lang,
            beam_size=1,
            vad_filter=False,
            condition_on_previous_text=conditioned,
        )
        return "".join(segment.text for segment in segments).strip()
