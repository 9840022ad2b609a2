"""NVIDIA's side of the machine: its GPUs, its driver, and the CUDA libraries that CTranslate2 wants.

Owns finding the libraries, loading them before CTranslate2 looks for them, and asking the driver, by ctypes.
Never raises for want of a GPU. Must not know of models.
"""

import ctypes
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from importlib import metadata, util
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

CUDA_MAJOR = 12
"""The CUDA that CTranslate2's wheels are built for."""
INSTALL = "pip install 'streamasr[cuda]'"

WINDOWS = sys.platform == "win32"
DRIVER = "nvcuda.dll" if WINDOWS else "libcuda.so.1"
MANAGEMENT = "nvml.dll" if WINDOWS else "libnvidia-ml.so.1"
CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_…"""

Opener = Callable[[str], Any]
"""Loads a shared library by name or path; OSError if it cannot."""
open_library: Opener = partial(ctypes.CDLL, mode=ctypes.RTLD_GLOBAL)


class Wanted(NamedTuple):
    """A library that CTranslate2 asks the system for by name."""

    linux: str
    windows: str
    wheel: str
    """The package on the index that brings it."""
    needed: bool


WANTED = (  # each after those it needs itself
    Wanted("libcublasLt.so.12", "cublasLt64_12.dll", "nvidia-cublas-cu12", needed=True),
    Wanted("libcublas.so.12", "cublas64_12.dll", "nvidia-cublas-cu12", needed=True),
    Wanted("libcudnn.so.9", "cudnn64_9.dll", "nvidia-cudnn-cu12", needed=False),
)


class Library(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of a wanted library."""

    name: str
    needed: bool
    """Whether CTranslate2 cannot run on a GPU without it (cuDNN is optional since 4.6.3)."""
    path: Path | None = None
    """None if it was not found, or if the system's loader did not say where."""
    source: str = ""
    """Where it was found, in words; empty if it was not."""
    version: str | None = None
    problem: str = ""
    """Why it cannot be used, and what to do; empty if it can."""


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU, numbered as CUDA does."""

    index: int
    name: str
    total: int
    """Bytes of memory."""
    free: int | None
    """Bytes that nobody uses; None if the driver does not say."""
    capability: tuple[int, int]
    """(major, minor) of its compute capability."""
    types: frozenset[str] = frozenset()
    """Compute types that CTranslate2 supports on it."""

    @property
    def room(self) -> int:
        """Bytes that may be had: those free, or all if that is not known."""
        return self.total if self.free is None else self.free


class Driver(msgspec.Struct, frozen=True, kw_only=True):
    """The NVIDIA driver, and the GPUs that it shows this process."""

    gpus: tuple[Gpu, ...] = ()
    version: str | None = None
    cuda: tuple[int, int] | None = None
    """(major, minor) of the newest CUDA that it runs."""
    problem: str = ""
    """Why there is no GPU, in words; empty if there is one."""


@cache
def load() -> tuple[Library, ...]:
    """Find the libraries and load them into this process, once; what was found.

    CTranslate2 asks for them by name later, and what is loaded is not searched for again. Without a driver
    nothing is loaded: it would be half a gigabyte for nothing.
    """
    if sys.platform == "darwin":
        return ()
    return find(list(places()), open_library, with_driver=_opened(open_library, DRIVER) is not None)


def find(where: Iterable[tuple[Path, str]], opener: Opener, *, with_driver: bool) -> tuple[Library, ...]:
    """Each wanted library from the first directory that has it; else the system's loader is asked.

    Args:
        where: directories, each with its name in words.
        opener: loads a library.
        with_driver: whether to load what is found.
    """
    folders = list(where)
    return tuple(_find(wanted, folders, opener, with_driver=with_driver) for wanted in WANTED)


def _find(wanted: Wanted, folders: list[tuple[Path, str]], opener: Opener, *, with_driver: bool) -> Library:
    library = Library(name=wanted.windows if WINDOWS else wanted.linux, needed=wanted.needed)
    problem = ""
    for folder, source in folders:
        path = folder / library.name
        if not path.is_file():
            continue
        try:
            if with_driver:
                opener(str(path))
        except OSError as error:  # of another architecture, or something it needs is missing
            problem = problem or f"{path} cannot be loaded ({error}): {INSTALL}"
            continue
        version = _version(path, wanted.wheel)
        return msgspec.structs.replace(library, path=path, source=source, version=version)
    if _opened(opener, library.name) is not None:
        return msgspec.structs.replace(library, source="the system's library path")
    return msgspec.structs.replace(library, problem=problem or _missing(library.name, folders))


def _missing(name: str, folders: list[tuple[Path, str]]) -> str:
    """Tells also if the library is there, but another version of it."""
    stem, suffix = (name.rpartition("_")[0] + "_", ".dll") if WINDOWS else (name.rpartition(".")[0] + ".", "")
    others = [path for folder, _ in folders if folder.is_dir() for path in sorted(folder.glob(f"{stem}[0-9]*{suffix}"))]
    other = f" (there is {others[0]}, which is another version)" if others else ""
    return f"{name} was not found{other}: {INSTALL}"


def _version(path: Path, wheel: str) -> str | None:
    """What the file's full name says (libcublas.so.12.4.5.8), else the version of the wheel that it lies in."""
    full = path.resolve().name.partition(".so.")[2]
    if "." in full or "nvidia" not in path.parts:
        return full or None
    try:
        return metadata.version(wheel)
    except metadata.PackageNotFoundError:  # put there by something else than pip
        return None


def places() -> Iterator[tuple[Path, str]]:
    """Where CUDA libraries may be, with words for it: NVIDIA's wheels, then every CUDA toolkit."""
    spec = util.find_spec("nvidia")
    for root in (spec.submodule_search_locations or ()) if spec else ():
        for package in sorted(Path(root).iterdir()) if Path(root).is_dir() else ():
            yield package / ("bin" if WINDOWS else "lib"), "NVIDIA's wheels"
    toolkits = [Path(os.environ[name]) for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    if WINDOWS:
        toolkits += [Path(value) for name, value in sorted(os.environ.items()) if name.startswith("CUDA_PATH_V")]
    else:
        toolkits += [Path("/usr/local/cuda"), *sorted(Path("/usr/local").glob("cuda-*")), Path("/opt/cuda")]
    for toolkit in toolkits:
        for inside in ("bin", "bin/x64") if WINDOWS else ("lib64", "lib"):
            yield toolkit / inside, f"the CUDA toolkit in {toolkit}"


def _opened(opener: Opener, name: str) -> Any | None:
    try:
        return opener(name)
    except OSError:  # it is not there: the caller has words for that
        return None


def driver(opener: Opener = open_library) -> Driver:
    """Ask the driver for its GPUs."""
    if sys.platform == "darwin":
        return Driver(problem="CUDA does not exist on macOS")
    cuda = _opened(opener, DRIVER)
    if cuda is None:
        return Driver(problem=f"there is no NVIDIA driver ({DRIVER} was not found)")
    management = _opened(opener, MANAGEMENT)
    if management is not None and management.nvmlInit_v2() != 0:
        management = None
    version = _driver_version(management)
    number, count = ctypes.c_int(), ctypes.c_int()
    newest = None
    if cuda.cuDriverGetVersion(ctypes.byref(number)) == 0:  # 12040 is 12.4
        newest = (number.value // 1000, number.value % 1000 // 10)
    status = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))
    if status != 0:
        return Driver(version=version, cuda=newest, problem=_error_text(cuda, status))
    if count.value == 0:
        return Driver(version=version, cuda=newest, problem="no CUDA-capable device is detected")
    gpus = tuple(_gpu(cuda, management, index) for index in range(count.value))
    return Driver(gpus=gpus, version=version, cuda=newest)


def _gpu(cuda: Any, management: Any | None, index: int) -> Gpu:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name, bus, total = ctypes.create_string_buffer(256), ctypes.create_string_buffer(32), ctypes.c_size_t()
    cuda.cuDeviceGet(ctypes.byref(device), index)
    cuda.cuDeviceGetName(name, len(name), device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(total), device)
    cuda.cuDeviceGetAttribute(ctypes.byref(major), CAPABILITY_MAJOR, device)
    cuda.cuDeviceGetAttribute(ctypes.byref(minor), CAPABILITY_MINOR, device)
    cuda.cuDeviceGetPCIBusId(bus, len(bus), device)
    free = _free(management, bus.value)
    return Gpu(
        index=index,
        name=name.value.decode(errors="replace"),
        total=total.value,
        free=None if free is None else min(free, total.value),  # a slice of a GPU has less than all of it
        capability=(major.value, minor.value),
    )


class _MemoryInfo(ctypes.Structure):
    """NVML's nvmlMemory_t."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def _free(management: Any | None, bus: bytes) -> int | None:
    """By PCI address, since NVML numbers GPUs otherwise than CUDA; asking CUDA itself would take memory."""
    if management is None:
        return None
    handle, info = ctypes.c_void_p(), _MemoryInfo()
    if management.nvmlDeviceGetHandleByPciBusId_v2(bus, ctypes.byref(handle)) != 0:
        return None
    return info.free if management.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(info)) == 0 else None


def _driver_version(management: Any | None) -> str | None:
    text = ctypes.create_string_buffer(96)
    if management is None or management.nvmlSystemGetDriverVersion(text, len(text)) != 0:
        return None
    return text.value.decode(errors="replace")


def _error_text(cuda: Any, status: int) -> str:
    text = ctypes.c_char_p()
    if cuda.cuGetErrorString(status, ctypes.byref(text)) != 0 or not text.value:
        return f"the NVIDIA driver answers with error {status}"
    return text.value.decode(errors="replace")
