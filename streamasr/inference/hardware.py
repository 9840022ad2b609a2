"""On what a model runs: device, compute type and threads, each with its reason; and what an engine's error means.

Owns ``prepare()``, which must run before CTranslate2 is imported, and the choice, a pure function of what was
found. Must not know which models there are.
"""

import os
import re
from collections.abc import Mapping
from typing import Literal

import msgspec

from streamasr.errors import ConfigError
from streamasr.inference import cuda, machine
from streamasr.inference.cuda import INSTALL, Driver, Gpu, Library
from streamasr.inference.machine import Cores

Device = Literal["auto", "cpu", "cuda"]
Purpose = Literal["live", "files"]

LIVE_THREADS = 4
"""Most threads for one live window: its matrices are small, and each step waits for the slowest thread."""
SMALL_MODEL = 20_000_000
"""Parameters below which one thread is the fastest: nano takes 13 ms for 5 s on one thread, 30 ms on two."""
FILE_REPLICAS = 8
"""Most batches of files at once on a CPU: each takes working memory of its own."""
GPU_TYPES = ("float16", "int8_float16", "float32", "int8_float32", "int8")
"""Best first. GPUs that have float16 are fastest in it; a quantised model is only for want of memory."""
CPU_TYPES = ("int8", "int8_float32", "float32")
HEADROOM = 0.9
"""The part of the free memory that a model may take."""

OPENMP = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
"""Idle OpenMP threads sleep. The first is for GNU's runtime (CTranslate2's Linux wheels), which would spin for
milliseconds after each step; the second for Intel's (Windows, macOS on Intel), which would for 200 ms."""


class Hardware(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to run a model on."""

    cores: Cores
    cpu_types: frozenset[str]
    """Compute types that CTranslate2 supports on the CPU."""
    driver: Driver = Driver()
    libraries: tuple[Library, ...] = ()

    @property
    def gpu_problem(self) -> str:
        """Why no GPU can be used, and what to do; empty if one can."""
        missing = [library.problem for library in self.libraries if library.needed and library.problem]
        return self.driver.problem or next(reversed(missing), "")


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how a model runs."""

    device: Literal["cpu", "cuda"]
    device_indexes: tuple[int, ...] = (0,)
    compute_type: str
    threads: int
    """CPU threads of each replica."""
    replicas: int = 1
    """Batches at once on each device."""
    reasons: tuple[str, str, str]
    """Why this device, this compute type, these threads."""


def prepare() -> tuple[Library, ...]:
    """Make the process ready for the import of CTranslate2: call it before, as often as you like.

    Its OpenMP threads will sleep between windows (what the environment says already is left alone), and the
    CUDA libraries are loaded. Returns what was found of those; empty on macOS.
    """
    for variable, value in OPENMP.items():
        os.environ.setdefault(variable, value)
    return cuda.load()


def survey() -> Hardware:
    """Look at this machine: tens of milliseconds without a GPU. Never raises for want of one."""
    libraries = prepare()
    import ctranslate2

    found = cuda.driver()
    if found.problem:
        found = msgspec.structs.replace(found, problem=advise(found.problem))
    gpus = []
    try:
        for gpu in found.gpus:
            types = frozenset(ctranslate2.get_supported_compute_types("cuda", gpu.index))
            gpus.append(msgspec.structs.replace(gpu, types=types))
    except (RuntimeError, ValueError) as error:  # a driver too old, or a CTranslate2 built without CUDA
        found = msgspec.structs.replace(found, problem=explain(error))
    return Hardware(
        cores=machine.cores(),
        cpu_types=frozenset(ctranslate2.get_supported_compute_types("cpu")),
        driver=msgspec.structs.replace(found, gpus=tuple(gpus) or found.gpus),
        libraries=libraries,
    )


def pick(
    hardware: Hardware,
    *,
    device: Device = "auto",
    compute_type: str = "auto",
    threads: int | None = None,
    purpose: Purpose = "live",
    needs: Mapping[str, int] | None = None,
    parameters: int | None = None,
) -> Placement:
    """Where a model runs. Pure.

    Args:
        hardware: what there is.
        device: ``auto`` takes the GPUs if one can be used, else the CPU, and its reason says so.
        compute_type: one of CTranslate2's, or ``auto``.
        threads: CPU threads of each replica; None: chosen.
        purpose: live windows want one answer soon; files want all cores.
        needs: bytes the model takes on a GPU, by compute type; what is not known is taken to fit.
        parameters: how many the model has; None: more than a few.

    Raises:
        ConfigError: what was asked for by name cannot be had here.
    """
    problem = hardware.gpu_problem
    if device != "cpu" and not problem:
        fit = _fit(hardware.driver.gpus, compute_type, needs or {})
        if isinstance(fit, Placement):
            return fit
        problem = fit
    if device == "cuda":
        raise ConfigError(f"device: cuda cannot be used: {problem}")
    kind, why_kind = _cpu_type(hardware.cpu_types, compute_type)
    count, replicas, why_threads = _threads(hardware.cores, threads, purpose, parameters)
    return Placement(
        device="cpu",
        compute_type=kind,
        threads=count,
        replicas=replicas,
        reasons=("the CPU, as asked" if device == "cpu" else f"the CPU, since {problem}", why_kind, why_threads),
    )


def explain(error: BaseException) -> str:
    """One sentence on an error of CTranslate2's or CUDA's: what it says, and what to do about it."""
    return advise(str(error).strip() or type(error).__name__)


def advise(text: str) -> str:
    """The same for the error's text."""
    first = text.splitlines()[0].rstrip(" .")
    for pattern, advice in ADVICE:
        if re.search(pattern, text, re.IGNORECASE):
            return f"{first}: {advice}"
    return first


ADVICE = (
    (r"cudnn", f"bring the cuDNN that fits with {INSTALL}, and take other copies out of the library path"),
    (r"(library|could not load|cannot open).*cublas", f"bring CUDA 12's cuBLAS with {INSTALL}"),
    (r"CUBLAS_STATUS_(NOT_SUPPORTED|ARCH_MISMATCH)", "this GPU does not compute in that type; --compute-type float16"),
    (
        r"CUBLAS_STATUS_ALLOC_FAILED|out of memory",
        "take a smaller --model or --compute-type int8_float16, or end what else uses the GPU (nvidia-smi lists it)",
    ),
    (
        r"driver version is insufficient|unsupported display driver|forward compatibility",
        "install an NVIDIA driver of at least 525 (527 on Windows; nvidia-smi shows yours), or use --device cpu",
    ),
    (
        r"no CUDA-capable device|CUDA_ERROR_NO_DEVICE",
        "check that nvidia-smi lists a GPU and CUDA_VISIBLE_DEVICES does"
        " not hide it; a container is started with --gpus all",
    ),
    (
        r"no kernel image|named symbol not found|PTX",
        "this CTranslate2 is not built for so old or so new a GPU; pip install --upgrade ctranslate2, or --device cpu",
    ),
    (r"invalid device ordinal|invalid device index", "there is no GPU of that number; nvidia-smi lists them"),
    (r"not compiled with CUDA", "only CTranslate2's wheels for Linux and Windows on x86-64 have it; --device cpu"),
    (r"compute type", "the device does not have it; --compute-type auto takes the best that it has"),
    (r"bad_alloc|failed to allocate|mkl_malloc", "there is too little memory for this model; a smaller --model"),
    (r"^CUDA failed|cuda error|CUBLAS_STATUS", "look at streamasr doctor and nvidia-smi, or use --device cpu"),
)
"""(what the text contains, what to do); the first that matches counts."""


def _fit(gpus: tuple[Gpu, ...], asked: str, needs: Mapping[str, int]) -> Placement | str:
    """The model on every GPU that has room for it, in the best type for which one has; else why not."""
    supported: frozenset[str] = frozenset().union(*(gpu.types for gpu in gpus))
    if asked != "auto" and asked not in supported:
        raise ConfigError(_unsupported(asked, "GPU", supported))
    order = [kind for kind in GPU_TYPES if kind in supported] if asked == "auto" else [asked]
    for kind in order:
        chosen = [gpu for gpu in gpus if kind in gpu.types and needs.get(kind, 0) <= HEADROOM * gpu.room]
        if not chosen:
            continue
        why = f"{kind}, as asked" if asked != "auto" else f"{kind}, the fastest that this GPU has and holds"
        return Placement(
            device="cuda",
            device_indexes=tuple(gpu.index for gpu in chosen),
            compute_type=kind,
            threads=1,
            reasons=(" and ".join(f"{gpu.name} ({gigabytes(gpu.room)} free)" for gpu in chosen), why, "the GPU works"),
        )
    least = min((needs[kind] for kind in order if kind in needs), default=0)
    room = max((gpu.room for gpu in gpus), default=0)
    return f"the model takes {gigabytes(least)} and the GPU has {gigabytes(room)} free: take a smaller --model"


def _cpu_type(supported: frozenset[str], asked: str) -> tuple[str, str]:
    if asked == "auto":
        kind = next(kind for kind in CPU_TYPES if kind in supported)
        return kind, f"{kind}, the fastest that a CPU has"
    if asked not in supported:
        raise ConfigError(_unsupported(asked, "CPU", supported))
    return asked, f"{asked}, as asked"


def _unsupported(asked: str, where: str, supported: frozenset[str]) -> str:
    return f"compute_type: expected auto or what this {where} has ({', '.join(sorted(supported))}), got {asked!r}"


def _threads(cores: Cores, asked: int | None, purpose: Purpose, parameters: int | None) -> tuple[int, int, str]:
    """Threads of each replica, replicas, and why."""
    if purpose == "files":
        replicas = max(1, min(FILE_REPLICAS, cores.usable // (asked or 1)))
        count = asked or cores.usable // replicas
        batches = f"{replicas} batches at once" if replicas > 1 else "one batch at a time"
        return count, replicas, f"{batches} on {_counted(count)} each, all of {cores}"
    if asked is not None:
        return asked, 1, f"{_counted(asked)}, as asked, of {cores}"
    if parameters is not None and parameters < SMALL_MODEL:
        return 1, 1, f"one thread, since a model this small is slower on several, of {cores}"
    count = max(1, min(LIVE_THREADS, cores.usable - 1))
    left = "one core is left for voice activity and the sockets" if cores.usable > count else "there are no more"
    return count, 1, f"{_counted(count)} of {cores}; {left}"


def _counted(threads: int) -> str:
    return "one thread" if threads == 1 else f"{threads} threads"


def gigabytes(size: float) -> str:
    """Bytes as a person reads them."""
    return f"{size / 1e9:.1f} GB"
