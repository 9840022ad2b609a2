"""espeak-ng through ctypes: audio, and where each word starts.

The library keeps its state in globals, so a process has one ``Espeak`` and calls it from one thread.
``ESPEAK_DATA_PATH`` and ``LD_LIBRARY_PATH`` say where it is, if it is not installed.
"""

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, c_int, c_short, c_size_t, c_uint, c_void_p
from random import Random
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from training.speech.timing import Span, word_spans
from training.speech.voices import choose_espeak

LIBRARY = "libespeak-ng.so.1"
SYNCHRONOUS = 2
UTF8 = 1
WORD_EVENT = 1
RATE, PITCH, PITCH_RANGE = 1, 3, 4


class _Event(ctypes.Structure):
    """espeak_EVENT; its union of ids is 8 bytes."""

    _fields_: ClassVar = [
        ("type", c_int),
        ("unique_identifier", c_uint),
        ("text_position", c_int),
        ("length", c_int),
        ("audio_position", c_int),
        ("sample", c_int),
        ("user_data", c_void_p),
        ("id", ctypes.c_uint64),
    ]


_CALLBACK = ctypes.CFUNCTYPE(c_int, POINTER(c_short), c_int, POINTER(_Event))


def available() -> bool:
    """Is the library there?"""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return False
    return True


class Espeak:
    """The synthesiser."""

    name = "espeak"

    def __init__(self) -> None:
        """Load the library and its voices.

        Raises:
            OSError: the library or its data are missing; the message says which package has them.
        """
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise OSError(f"{error}; install the Debian package libespeak-ng1") from error
        self._rate = self._library.espeak_Initialize(SYNCHRONOUS, 500, None, 0)
        if self._rate <= 0:
            raise OSError("espeak-ng has no data; install the Debian package espeak-ng-data")
        self._audio: list[NDArray[np.int16]] = []
        self._marks: list[tuple[int, float]] = []
        self._callback = _CALLBACK(self._receive)  # kept: C holds only a pointer to it
        self._library.espeak_SetSynthCallback(self._callback)

    def choose_voice(self, rng: Random, language: str) -> str:
        """A voice of the training corpus."""
        return choose_espeak(rng, language)

    def speak(self, voice: str, words: Sequence[str], rng: Random) -> tuple[NDArray[np.int16], int, list[Span]] | None:
        """One utterance at a random pace and pitch.

        Returns:
            Mono audio of shape (n,), its rate in Hz, each word's time in seconds; None if the voice does not
            exist or the words' times cannot be told.
        """
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            return None
        self._library.espeak_SetParameter(RATE, int(rng.triangular(110, 230, 165)), 0)
        self._library.espeak_SetParameter(PITCH, int(rng.triangular(15, 85, 50)), 0)
        self._library.espeak_SetParameter(PITCH_RANGE, rng.randint(25, 75), 0)
        text = " ".join(words).encode() + b"\0"
        self._audio, self._marks = [], []
        failed = self._library.espeak_Synth(text, c_size_t(len(text)), 0, 1, 0, UTF8, None, None)
        if failed or not self._audio:
            return None
        self._library.espeak_Synchronize()
        audio = np.concatenate(self._audio)
        spans = word_spans(audio, self._rate, self._starts(words), [len(word) for word in words])
        return None if spans is None else (audio, self._rate, spans)

    def _receive(self, samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            self._audio.append(np.ctypeslib.as_array(samples, (count,)).copy())
        i = 0
        while events[i].type != 0:
            if events[i].type == WORD_EVENT:
                self._marks.append((events[i].text_position - 1, events[i].audio_position / 1000))
            i += 1
        return 0

    def _starts(self, words: Sequence[str]) -> list[float | None]:
        """The first mark inside each word; positions count characters."""
        starts: list[float | None] = []
        position = 0
        for word in words:
            inside = [at for place, at in self._marks if position <= place < position + len(word)]
            starts.append(inside[0] if inside else None)
            position += len(word) + 1
        return starts
