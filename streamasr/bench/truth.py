"""What was really said, from the forms people keep it in: plain text, SRT, VTT, JSON, a manifest.

Pure: takes a file's text, knows nothing of where it lies. Times are seconds from the recording's first sample.
"""

import html
import re
from collections.abc import Callable
from pathlib import PurePosixPath

import msgspec

from streamasr.bench.scoring import TimedWord


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """What was said in one recording."""

    text: str
    words: tuple[TimedWord, ...] = ()
    """The words with their times; empty where only the text is known."""
    language: str | None = None


class _Stretch(msgspec.Struct):
    words: tuple[TimedWord, ...] = ()


class _Json(msgspec.Struct):
    """What of a JSON transcript is used: ours, Whisper's, and manifests' are alike in this."""

    text: str
    words: tuple[TimedWord, ...] = ()
    segments: tuple[_Stretch, ...] = ()
    lang: str | None = None
    language: str | None = None

    def truth(self) -> Truth:
        words = self.words or tuple(word for stretch in self.segments for word in stretch.words)
        return Truth(text=self.text, words=words, language=self.lang or self.language)


class _Line(_Json, kw_only=True):
    """A line of a manifest."""

    path: str


_TIMING = re.compile(r"^\s*(?:\d+:)?\d{1,2}:\d{2}[.,]\d{1,3}\s*-->", re.MULTILINE)
_TAG = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")


def of_text(content: str) -> Truth:
    """Plain text."""
    return Truth(text=" ".join(content.split()))


def of_cues(content: str) -> Truth:
    """SRT or VTT: the cues' texts, without their times, which belong to no single word.

    Raises:
        ValueError: there is no cue in it.
    """
    blocks = re.split(r"\n\s*\n", content.replace("\r\n", "\n"))
    texts = [block[timing.end() :].partition("\n")[2] for block in blocks if (timing := _TIMING.search(block))]
    if not texts:
        raise ValueError("there is no cue in it (a line such as 00:01.000 --> 00:02.000)")
    return of_text(html.unescape(_TAG.sub("", " ".join(texts))))


def of_json(content: str) -> Truth:
    """A JSON object with ``text``, and perhaps ``words`` (``word``, ``start``, ``end``), at the top or in ``segments``.

    Raises:
        ValueError: it is something else.
    """
    return msgspec.json.decode(content, type=_Json).truth()


def of_manifest(content: str) -> dict[str, Truth]:
    """A JSON object a line, each as ``of_json`` has it and with the ``path`` of its audio; by that path's stem.

    Raises:
        ValueError: a line is something else.
    """
    lines = [msgspec.json.decode(line, type=_Line) for line in content.splitlines() if line.strip()]
    return {PurePosixPath(line.path.replace("\\", "/")).stem: line.truth() for line in lines}


READERS: dict[str, Callable[[str], Truth]] = {".json": of_json, ".srt": of_cues, ".vtt": of_cues, ".txt": of_text}
"""By the name's end; those that may tell more come first."""
MANIFEST = ".jsonl"
