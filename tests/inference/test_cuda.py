"""CUDA libraries are found and loaded by their path, and the driver is asked by its real calling conventions."""

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from streamasr.inference import cuda
from streamasr.inference.cuda import DRIVER, MANAGEMENT, Driver, driver, find

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="names of Linux's libraries")
COMPILER = shutil.which("cc") or shutil.which("gcc")
COMPILED = pytest.mark.skipif(COMPILER is None or sys.platform != "linux", reason="needs a C compiler, on Linux")

FAKE = r"""
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#define FIRST 100
#define HANDLE(slot) (void *)(0x7fff00000000 + slot)
typedef unsigned long long bytes;
struct memory { bytes total, free, used; };
static int setting(const char *name) { const char *text = getenv(name); return text ? atoi(text) : 0; }
static int say(char *out, const char *text, int length) { strncpy(out, text, length); return 0; }
int cuInit(unsigned flags) { return flags == 0 ? setting("FAKE_INIT") : 1; }
int cuDriverGetVersion(int *version) { *version = 12040; return 0; }
int cuDeviceGetCount(int *count) { *count = setting("FAKE_GPUS"); return 0; }
int cuDeviceGet(int *device, int index) { *device = FIRST + index; return 0; }
int cuDeviceGetName(char *out, int length, int device) { return say(out, device == FIRST ? "Big" : "Small", length); }
int cuDeviceTotalMem_v2(size_t *total, int device) { *total = device == FIRST ? 80000000000 : 8000000000; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) { *value = attribute == 75 ? 9 : 0; return 0; }
int cuDeviceGetPCIBusId(char *out, int length, int device) {
  return say(out, device == FIRST ? "0000:02:00.0" : "0000:01:00.0", length);
}
int cuGetErrorString(int error, const char **text) {
  *text = "no CUDA-capable device is detected";
  return error != 100;
}
int nvmlInit_v2(void) { return setting("FAKE_NVML"); }
int nvmlSystemGetDriverVersion(char *out, unsigned length) { return say(out, "550.54.15", length); }
int nvmlDeviceGetHandleByPciBusId_v2(const char *bus, void **handle) { *handle = HANDLE(bus[6]); return 0; }
int nvmlDeviceGetMemoryInfo(void *handle, struct memory *memory) {
  memory->free = handle == HANDLE('2') ? 70000000000 : 99000000000;
  return 0;
}
"""


def build(folder: Path, name: str, code: str, *options: str) -> Path:
    """A shared library of this name."""
    source, out = folder / f"{name}.c", folder / name
    source.write_text(code)
    subprocess.run([str(COMPILER), "-shared", "-fPIC", "-w", "-o", str(out), str(source), *options], check=True)
    return out


@pytest.fixture(scope="module")
def fake(tmp_path_factory):
    """Opens a driver of our own, written in C, under the driver's names."""
    path = build(tmp_path_factory.mktemp("driver"), "libfake.so", FAKE)

    def opener(name):
        assert name in {DRIVER, MANAGEMENT}
        return ctypes.CDLL(str(path))

    return opener


@COMPILED
def test_gpus_are_as_the_driver_has_them(fake, monkeypatch):
    """Numbered as CUDA does, their free memory by the address on the bus; never more than the GPU's own."""
    monkeypatch.setenv("FAKE_GPUS", "2")
    found = driver(fake)
    assert (found.version, found.cuda, found.problem) == ("550.54.15", (12, 4), "")
    big, small = found.gpus
    assert (big.index, big.name, big.total, big.free) == (0, "Big", 80_000_000_000, 70_000_000_000)
    assert (small.index, small.name, small.total, small.free) == (1, "Small", 8_000_000_000, 8_000_000_000)
    assert big.capability == (9, 0)


@COMPILED
def test_free_memory_is_unknown_without_the_management_library(fake, monkeypatch):
    monkeypatch.setenv("FAKE_GPUS", "1")
    monkeypatch.setenv("FAKE_NVML", "9")
    found = driver(fake)
    assert found.version is None
    assert found.gpus[0].free is None
    assert found.gpus[0].room == found.gpus[0].total


@COMPILED
@pytest.mark.parametrize(
    ("status", "says"),
    [("100", "no CUDA-capable device is detected"), ("999", "the NVIDIA driver answers with error 999")],
)
def test_a_driver_that_does_not_start_says_why(fake, monkeypatch, status, says):
    monkeypatch.setenv("FAKE_INIT", status)
    found = driver(fake)
    assert (found.gpus, found.problem, found.version) == ((), says, "550.54.15")


@COMPILED
def test_a_driver_without_gpus_is_a_problem(fake):
    assert driver(fake).problem == "no CUDA-capable device is detected"


def missing(name):
    raise OSError(f"{name}: cannot open shared object file")


def test_a_machine_without_a_driver_has_none():
    found = driver(missing)
    assert found == Driver(problem=found.problem)
    assert found.problem


def place(folder: Path, *names: str) -> tuple[Path, str]:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder, f"the folder {folder.name}"


@LINUX
def test_libraries_are_loaded_from_the_first_place_each_after_those_it_needs(tmp_path):
    first = place(tmp_path / "first", "libcublas.so.12", "libcudnn.so.9")
    second = place(tmp_path / "second", "libcublas.so.12", "libcublasLt.so.12")
    loaded = []
    found = find([first, second], loaded.append, with_driver=True)
    assert loaded == [
        str(second[0] / "libcublasLt.so.12"),
        str(first[0] / "libcublas.so.12"),
        str(first[0] / "libcudnn.so.9"),
    ]
    assert [library.source for library in found] == ["the folder second", "the folder first", "the folder first"]
    assert not any(library.problem for library in found)


@LINUX
def test_without_a_driver_nothing_is_loaded(tmp_path):
    here = place(tmp_path, "libcublas.so.12", "libcublasLt.so.12", "libcudnn.so.9")
    assert [library.path for library in find([here], missing, with_driver=False)] == [
        tmp_path / "libcublasLt.so.12",
        tmp_path / "libcublas.so.12",
        tmp_path / "libcudnn.so.9",
    ]


@LINUX
def test_a_library_that_cannot_be_loaded_is_looked_for_further_and_then_named(tmp_path):
    bad = place(tmp_path / "bad", "libcublas.so.12")
    good = place(tmp_path / "good", "libcublas.so.12")

    def opener(path):
        if "good" not in path:
            raise OSError("wrong ELF class")

    _, found, _ = find([bad, good], opener, with_driver=True)
    assert found.path == good[0] / "libcublas.so.12"
    _, found, _ = find([bad], opener, with_driver=True)
    assert found.problem == f"{bad[0] / 'libcublas.so.12'} cannot be loaded (wrong ELF class): {cuda.INSTALL}"


@LINUX
def test_another_cudas_library_is_named_where_ours_is_missing(tmp_path):
    here = place(tmp_path, "libcublas.so.13", "libcublasLt.so.13")
    _, found, cudnn = find([here], missing, with_driver=True)
    assert found.problem == (
        f"libcublas.so.12 was not found (there is {tmp_path / 'libcublas.so.13'}, which is another version):"
        f" {cuda.INSTALL}"
    )
    assert found.needed
    assert cudnn.problem == f"libcudnn.so.9 was not found: {cuda.INSTALL}"
    assert not cudnn.needed


@LINUX
def test_the_version_is_in_the_full_name(tmp_path):
    here = place(tmp_path, "libcublas.so.12.4.5.8")
    (tmp_path / "libcublas.so.12").symlink_to("libcublas.so.12.4.5.8")
    _, found, _ = find([here], lambda _: None, with_driver=True)
    assert found.version == "12.4.5.8"


@COMPILED
def test_what_is_loaded_by_path_is_found_by_name_afterwards(tmp_path):
    """What CTranslate2 does later: it asks the system for the bare name, which is in no library path."""
    build(tmp_path, "libcublasLt.so.12", "int lt(void) { return 12; }", "-Wl,-soname,libcublasLt.so.12")
    build(
        tmp_path,
        "libcublas.so.12",
        "int lt(void); int version(void) { return lt(); }",
        "-Wl,-soname,libcublas.so.12",
        f"-L{tmp_path}",
        "-l:libcublasLt.so.12",
    )
    code = f"""
import ctypes
from pathlib import Path
from streamasr.inference import cuda
found = cuda.find([(Path({str(tmp_path)!r}), "here")], cuda.open_library, with_driver=True)
assert not any(library.problem for library in found if library.needed), found
print(ctypes.CDLL("libcublas.so.12").version())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "12", done.stderr


@LINUX
def test_nvidias_wheels_and_toolkits_are_looked_at(tmp_path, monkeypatch):
    wheels = tmp_path / "site" / "nvidia"
    (wheels / "cublas" / "lib").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "toolkit"))
    places = dict(cuda.places())
    assert places[wheels / "cublas" / "lib"] == "NVIDIA's wheels"
    assert places[tmp_path / "toolkit" / "lib64"] == f"the CUDA toolkit in {tmp_path / 'toolkit'}"
