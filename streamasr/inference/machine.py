"""What this process may use of the machine: cores and memory, also inside a container.

Owns reading the affinity mask, the cgroup limits and the free memory. Must not know what they are used for.
"""

import ctypes
import os
import sys
from pathlib import Path

import msgspec

CGROUP_ROOT = Path("/sys/fs/cgroup")
CGROUP_OF_PROCESS = Path("/proc/self/cgroup")
MEMINFO = Path("/proc/meminfo")


class Cores(msgspec.Struct, frozen=True, kw_only=True):
    """How many cores this process may keep busy, and what says so."""

    machine: int
    """Logical processors of the machine."""
    affinity: int | None = None
    """Those this process may run on; None where the system has no affinity mask."""
    quota: float | None = None
    """Cores' worth of time that the container may use; None without a limit."""

    @property
    def usable(self) -> int:
        """Whole cores, at least one."""
        allowed = self.machine if self.affinity is None else self.affinity
        return max(1, allowed if self.quota is None else min(allowed, int(self.quota)))

    def __str__(self) -> str:
        parts = [f"{self.machine} in the machine"]
        if self.affinity is not None and self.affinity != self.machine:
            parts.append(f"{self.affinity} in the affinity mask")
        if self.quota is not None:
            parts.append(f"{self.quota:g} allowed by the container")
        return f"{self.usable} core{'s' if self.usable > 1 else ''} ({', '.join(parts)})"


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Main memory in bytes, the container's if it has less; None where the system does not say."""

    total: int | None
    available: int | None


def cores() -> Cores:
    """The cores that this process may use now."""
    affinity = len(os.sched_getaffinity(0)) if sys.platform == "linux" else None
    return Cores(machine=os.cpu_count() or 1, affinity=affinity, quota=_cpu_quota(CGROUP_ROOT, CGROUP_OF_PROCESS))


def memory() -> Memory:
    """The memory that this process may use now."""
    if sys.platform == "win32":
        return _windows_memory()
    if MEMINFO.exists():
        return _limited(_meminfo(MEMINFO), _memory_limit(CGROUP_ROOT, CGROUP_OF_PROCESS))
    return Memory(total=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), available=None)


def _cpu_quota(root: Path, process: Path) -> float | None:
    """The smallest quota from this process's control group up to the root, in cores (cgroup v2 and v1)."""
    quotas = []
    for group in _groups(root, process, ""):
        words = _words(group / "cpu.max")
        if len(words) == 2 and words[0] != "max":
            quotas.append(int(words[0]) / int(words[1]))
    for group in _groups(root / "cpu", process, "cpu"):
        quota, period = _words(group / "cpu.cfs_quota_us"), _words(group / "cpu.cfs_period_us")
        if quota and period and int(quota[0]) > 0:
            quotas.append(int(quota[0]) / int(period[0]))
    return min(quotas, default=None)


def _memory_limit(root: Path, process: Path) -> tuple[int, int] | None:
    """(limit, used) in bytes of the tightest control group above this process."""
    limits = []
    places = [("", root, "memory.max", "memory.current")]
    places.append(("memory", root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"))
    for controller, base, limit_name, used_name in places:
        for group in _groups(base, process, controller):
            limit, used = _words(group / limit_name), _words(group / used_name)
            if limit and used and limit[0] != "max":
                limits.append((int(limit[0]), int(used[0])))
    return min(limits, key=lambda pair: pair[0] - pair[1], default=None)


def _groups(base: Path, process: Path, controller: str) -> list[Path]:
    """The directories of this process's control group and of those above it; v2's controller has no name."""
    mine = "/"
    for line in process.read_text().splitlines() if process.exists() else ():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            mine = path
    group = base / mine.strip("/")
    above = [group, *group.parents]
    return above[: above.index(base) + 1] if base in above else [base]


def _words(file: Path) -> list[str]:
    return file.read_text().split() if file.is_file() else []


def _meminfo(file: Path) -> Memory:
    rows = dict(line.split(":", 1) for line in file.read_text().splitlines() if ":" in line)
    total, available = (int(rows[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    return Memory(total=total, available=available)


def _limited(whole: Memory, limit: tuple[int, int] | None) -> Memory:
    if limit is None or whole.total is None or whole.available is None or limit[0] >= whole.total:
        return whole
    return Memory(total=limit[0], available=max(0, min(whole.available, limit[0] - limit[1])))


def _windows_memory() -> Memory:
    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_uint32),
            ("load", ctypes.c_uint32),
            *((name, ctypes.c_uint64) for name in ("total", "available", "a", "b", "c", "d", "e")),
        )

    status = Status(length=ctypes.sizeof(Status))
    windows = getattr(ctypes, "windll")  # noqa: B009 - only Windows has it, and the type checker knows
    if not windows.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return Memory(total=None, available=None)
    return Memory(total=status.total, available=status.available)
