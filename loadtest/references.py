"""What the same model hears of the lanes' recordings without streaming: each true utterance by itself.

The yardstick of the streamed text, computed before the streams begin so that it takes nothing from them.
"""

from collections.abc import Callable, Collection

from benchmarks.evalset import Recording
from benchmarks.reference import Reference
from loadtest.lanes import Piece, Source
from streamasr.inference.models import resolve


def texts(
    model: str, source: Source, wanted: Collection[str], progress: Callable[[int], None] = lambda _: None
) -> dict[str, str]:
    """The text of each of the ``wanted`` pieces, by its id; ``progress`` is told how many are done.

    Raises:
        ConfigError: there is no such model on this machine.
    """
    reference = Reference(resolve(model))
    found = {}
    try:
        for piece in source.speech:
            if piece.id in wanted:
                found[piece.id] = reference.transcribe(source.read(piece), _recording(piece, source.language))
                progress(len(found))
    finally:
        reference.close()
    return found


def _recording(piece: Piece, language: str) -> Recording:
    """A piece as though it were a recording of its own."""
    return Recording(
        id=piece.id,
        set="",
        path=piece.path,
        text=" ".join(word.text for word in piece.words),
        duration=piece.seconds,
        voice="",
        lang=language,
        words=piece.words,
    )
