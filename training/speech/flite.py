"""flite through a small C program of ours (``flitewords.c``): audio, and each word's start and end."""

import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import IO

import numpy as np
from numpy.typing import NDArray

from training.speech.timing import Span
from training.speech.voices import choose_flite

SOURCE = Path(__file__).with_name("flitewords.c")
VOICES = ("kal", "kal16", "awb", "rms", "slt")


def build(folder: Path) -> Path | None:
    """The program, compiled into ``folder`` unless it is there; None if this machine cannot compile it.

    Needs gcc and the Debian package flite1-dev; the program itself needs only libflite1.
    """
    program = folder / "flitewords"
    if program.exists():
        return program
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    libraries = [f"-lflite_cmu_us_{voice}" for voice in VOICES]
    libraries += ["-lflite_usenglish", "-lflite_cmulex", "-lflite", "-lm"]
    command = [compiler, "-O2", "-o", str(program), str(SOURCE), *libraries]
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - our own source
    return program if done.returncode == 0 else None


class Flite:
    """The synthesiser: one running program, a line in, an utterance out."""

    name = "flite"

    def __init__(self, program: Path) -> None:
        """Start it; it ends with this process."""
        self._process = subprocess.Popen(  # noqa: S603 - the program that build() compiled
            [str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def choose_voice(self, rng: Random, language: str) -> str:  # noqa: ARG002 - flite's are all English
        """A voice of the training corpus."""
        return choose_flite(rng)

    def speak(self, voice: str, words: Sequence[str], rng: Random) -> tuple[NDArray[np.int16], int, list[Span]] | None:
        """One utterance at a random pace and pitch.

        Returns:
            Mono audio of shape (n,), its rate in Hz, each word's time in seconds; None if the words' times
            cannot be told.
        """
        line = f"{voice}\t{rng.uniform(0.78, 1.22):.3f}\t{rng.uniform(0.85, 1.2):.3f}\t{' '.join(words)}\n"
        to, out = self._pipes()
        to.write(line.encode())
        to.flush()
        samples, rate, count = struct.unpack("3i", self._read(out, 12))
        times = np.frombuffer(self._read(out, 8 * count), np.float32).reshape(count, 2)
        audio = np.frombuffer(self._read(out, 2 * samples), np.int16)
        if not samples or count != len(words) or (times < 0).any():
            return None
        return audio, rate, [(float(start), float(end)) for start, end in times]

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        if self._process.stdin is None or self._process.stdout is None:
            raise OSError("flitewords has no pipes")
        return self._process.stdin, self._process.stdout

    def _read(self, out: IO[bytes], size: int) -> bytes:
        data = out.read(size)
        if len(data) != size:
            raise OSError(f"flitewords ended with code {self._process.wait()}")
        return data
