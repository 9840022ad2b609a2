"""What the server needs from this machine, whatever its model: each thing tried, and what was found.

Owns those checks and the words for what to do. Prints nothing; what is not possible is a finding, not an exception.
"""

import errno
import http.client
import io
import os
import platform
import shutil
import socket
import time
import wave
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import msgspec

from streamasr.core.events import FRAME, SAMPLE_RATE
from streamasr.errors import MediaError, ModelError
from streamasr.inference import hardware, media
from streamasr.inference.hardware import gigabytes
from streamasr.inference.machine import Memory
from streamasr.inference.vad import VadModel

Status = Literal["ok", "warning", "failed"]

LOW_DISK = 5_000_000_000
"""Bytes: a large model and a long recording do not fit in less."""
DECODERS = ("aac", "flac", "mp3", "opus", "vorbis")
"""What most recordings are made of."""
ANSWER_S = 2.0
"""How long whoever has our port may take to say who it is."""
RUNTIMES = {"libgomp": "GNU's", "libiomp": "Intel's", "libomp": "LLVM's"}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check found."""

    check: str
    status: Status = "ok"
    """``failed``: what was asked for cannot run. ``warning``: it can, but not as well as it might."""
    found: str
    advice: str = ""
    """What to do, if anything."""


def python() -> Finding:
    """The interpreter, the platform, and the packages that compute."""
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in ("ctranslate2", "onnxruntime", "numpy"))
    return Finding(
        check="Python",
        found=f"{platform.python_version()} on {platform.system()} {platform.machine()}; {packages}",
    )


def main_memory(memory: Memory) -> Finding:
    """What models and sessions have to live in."""
    if memory.total is None:
        return Finding(check="memory", found="the system does not say")
    free = "" if memory.available is None else f", {gigabytes(memory.available)} available"
    return Finding(check="memory", found=f"{gigabytes(memory.total)}{free}")


def openmp() -> Finding:
    """Which OpenMP CTranslate2 brings, and how its idle threads wait."""
    spec = find_spec("ctranslate2")
    package = Path(spec.origin).parent if spec and spec.origin else Path()
    folders = (package, package / ".dylibs", package.parent / "ctranslate2.libs")
    names = [path.name for folder in folders if folder.is_dir() for path in folder.iterdir()]
    runtime = next((whose for start, whose in RUNTIMES.items() if any(n.startswith(start) for n in names)), None)
    if runtime is None:
        return Finding(check="OpenMP", found="none in CTranslate2's package")
    said = [f"{name}={os.environ[name]}" for name in hardware.OPENMP if os.environ.get(name)]
    found = f"{runtime}, {' '.join(said) or 'left to itself'}"
    if os.environ.get("OMP_WAIT_POLICY", "").upper() == "ACTIVE":
        advice = "unset OMP_WAIT_POLICY: idle threads keep whole cores busy"
        return Finding(check="OpenMP", status="warning", found=found, advice=advice)
    return Finding(check="OpenMP", found=found)


def voice_activity() -> Finding:
    """Load the voice-activity model and score a second of silence."""
    import numpy as np

    check = "voice activity"
    try:
        lane = VadModel().lane()
    except ModelError as error:
        return Finding(check=check, status="failed", found=str(error), advice="pip install --force-reinstall streamasr")
    before = time.perf_counter()
    highest = max(lane.score(np.zeros((SAMPLE_RATE // FRAME, FRAME), np.float32)))
    took = time.perf_counter() - before
    if highest > 0.5:
        advice = "reinstall faster-whisper and onnxruntime"
        return Finding(check=check, status="failed", found=f"silence scores {highest:.2f} as speech", advice=advice)
    return Finding(check=check, found=f"Silero v6, {1000 * took:.1f} ms for a second of audio")


def audio_files() -> Finding:
    """Decode a second of audio in memory, and see whether the usual decoders are there."""
    import av

    check, version, advice = "audio files", f"av {av.__version__}", "pip install --force-reinstall av"
    try:
        samples = sum(len(block) for block in media.decode(_recording()))
    except MediaError as error:
        return Finding(check=check, status="failed", found=f"{version}: {error}", advice=advice)
    found = f"{version} makes {samples} samples of a second at 44.1 kHz"
    if abs(samples - SAMPLE_RATE) > SAMPLE_RATE // 100:
        found += f"; expected {SAMPLE_RATE}"
        return Finding(check=check, status="failed", found=found, advice=advice)
    missing = [name for name in DECODERS if name not in av.codecs_available]
    if missing:
        return Finding(check=check, status="warning", found=f"{version} lacks {', '.join(missing)}", advice=advice)
    return Finding(check=check, found=f"{found}; reads {', '.join(DECODERS)} and more")


def _recording() -> io.BytesIO:
    """A second of stereo silence at 44.1 kHz, as a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(44_100)
        out.writeframes(bytes(4 * 44_100))
    file.seek(0)
    return file


def resampler() -> Finding:
    """Resample a second of telephone audio."""
    import numpy as np
    import soxr

    samples = len(soxr.resample(np.zeros(8_000, np.float32), 8_000, SAMPLE_RATE))
    found = f"soxr {soxr.__version__} makes {samples} samples of a second at 8 kHz"
    if samples != SAMPLE_RATE:
        advice = "pip install --force-reinstall soxr"
        return Finding(check="resampler", status="failed", found=f"{found}; expected {SAMPLE_RATE}", advice=advice)
    return Finding(check="resampler", found=found)


def disk(name: str, folder: Path) -> Finding:
    """The room where ``folder`` is or will be."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    found = f"{gigabytes(free)} free in {folder}"
    if free < LOW_DISK:
        return Finding(check=name, status="warning", found=found, advice="make room, or name another place")
    return Finding(check=name, found=found)


def port(host: str, number: int) -> Finding:
    """Whether the server's port is free; else who has it, if that answers."""
    check = f"port {number}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
    except OSError:
        advice = "--host 127.0.0.1 is this machine alone, 0.0.0.0 every interface"
        return Finding(check=check, status="failed", found=f"{host!r} is not an address of this machine", advice=advice)
    with socket.socket(family, kind, protocol) as mine:
        if os.name == "posix":
            mine.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            mine.bind(address)
        except OSError as error:
            problem = error
        else:
            return Finding(check=check, found=f"free on {host}")
    if problem.errno == errno.EADDRINUSE:
        return _taken(check, host, number)
    if problem.errno == errno.EACCES:
        found, advice = "needs rights that this user does not have", "take a --port above 1023"
        return Finding(check=check, status="failed", found=found, advice=advice)
    found = f"cannot listen on {host}: {problem.strerror}"
    return Finding(check=check, status="failed", found=found, advice="name another --host")


def _taken(check: str, host: str, number: int) -> Finding:
    advice = "stop it, or take another --port (0 finds a free one)"
    if _is_streamasr(host, number):
        return Finding(check=check, status="warning", found=f"a streamasr server has it on {host}", advice=advice)
    return Finding(check=check, status="failed", found=f"another program has it on {host}", advice=advice)


def _is_streamasr(host: str, number: int) -> bool:
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - the addresses to replace
    connection = http.client.HTTPConnection(everywhere.get(host, host), number, timeout=ANSWER_S)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().read(1_000) == b'{"status":"ok"}'
    except (OSError, http.client.HTTPException):  # it does not speak HTTP, or says nothing
        return False
    finally:
        connection.close()
