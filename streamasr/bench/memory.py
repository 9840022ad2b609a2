"""How much memory this process holds, as its operating system tells it; None where it does not tell."""

import subprocess
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def resident() -> int | None:
    """Bytes now."""
    if STATUS.exists():
        return _from_status("VmRSS")
    if sys.platform == "win32":
        return _windows()[0]
    return _from_ps()


def peak() -> int | None:
    """The most bytes that there have been."""
    if STATUS.exists():
        return _from_status("VmHWM")
    if sys.platform == "win32":
        return _windows()[1]
    import resource  # not on every system, so not at the top

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def _from_status(name: str) -> int | None:
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines() if ":" in line)
    return int(lines[name].split()[0]) * 1024 if name in lines else None


def _from_ps() -> int | None:
    import os

    told = subprocess.run(  # noqa: S603 - our own process's number is all that varies
        ["/bin/ps", "-o", "rss=", "-p", str(os.getpid())], capture_output=True, text=True, check=False
    )
    return int(told.stdout) * 1024 if told.stdout.strip().isdigit() else None


def _windows() -> tuple[int | None, int | None]:
    """Now and at most, from the process status interface."""
    import ctypes
    from ctypes import wintypes

    class Counters(ctypes.Structure):
        _fields_ = (
            ("cb", wintypes.DWORD),
            ("faults", wintypes.DWORD),
            ("peak", ctypes.c_size_t),
            ("now", ctypes.c_size_t),
            ("rest", ctypes.c_size_t * 6),
        )

    counters = Counters(cb=ctypes.sizeof(Counters))
    kernel = ctypes.CDLL("kernel32")
    kernel.GetCurrentProcess.restype = wintypes.HANDLE
    told = kernel.K32GetProcessMemoryInfo(
        wintypes.HANDLE(kernel.GetCurrentProcess()), ctypes.byref(counters), counters.cb
    )
    return (counters.now, counters.peak) if told else (None, None)
