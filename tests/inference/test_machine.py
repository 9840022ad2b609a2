"""Cores and memory are those of the container, where there is one."""

import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamasr.inference import machine
from streamasr.inference.machine import Cores, Memory


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A machine of eight cores and 32 GB, whose control groups a test writes."""
    monkeypatch.setattr(machine, "CGROUP_ROOT", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "CGROUP_OF_PROCESS", tmp_path / "self")
    monkeypatch.setattr(machine, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    write(tmp_path / "meminfo", "MemTotal: 32000000 kB\nMemFree: 1 kB\nMemAvailable: 20000000 kB\n")
    return tmp_path


def test_without_control_groups_the_affinity_mask_counts(system):
    assert machine.cores() == Cores(machine=8, affinity=6)
    assert machine.cores().usable == 6
    assert machine.memory() == Memory(total=32_000_000 * 1024, available=20_000_000 * 1024)


def test_the_tightest_quota_above_the_process_counts(system):
    """In version 2, a group's limits hold for all below it."""
    write(system / "self", "0::/pod/container\n")
    write(system / "cgroup" / "pod" / "cpu.max", "250000 100000\n")
    write(system / "cgroup" / "pod" / "container" / "cpu.max", "max 100000\n")
    assert machine.cores().quota == 2.5
    assert machine.cores().usable == 2


def test_in_a_container_the_root_is_its_own_group(system):
    write(system / "self", "0::/\n")
    write(system / "cgroup" / "cpu.max", "150000 100000\n")
    write(system / "cgroup" / "memory.max", "4000000000\n")
    write(system / "cgroup" / "memory.current", "1000000000\n")
    assert machine.cores().usable == 1
    assert machine.memory() == Memory(total=4_000_000_000, available=3_000_000_000)


def test_the_older_control_groups_are_read_too(system):
    """Those of version 1, whose groups outside a container are not visible inside it."""
    write(system / "self", "4:memory:/docker/abc\n3:cpuset:/\n2:cpu,cpuacct:/docker/abc\n")
    write(system / "cgroup" / "cpu" / "cpu.cfs_quota_us", "300000\n")
    write(system / "cgroup" / "cpu" / "cpu.cfs_period_us", "100000\n")
    write(system / "cgroup" / "memory" / "memory.limit_in_bytes", "8000000000\n")
    write(system / "cgroup" / "memory" / "memory.usage_in_bytes", "2000000000\n")
    assert machine.cores().quota == 3.0
    assert machine.memory() == Memory(total=8_000_000_000, available=6_000_000_000)


def test_no_limit_is_no_limit(system):
    write(system / "self", "2:cpu:/\n0::/\n")
    write(system / "cgroup" / "cpu" / "cpu.cfs_quota_us", "-1\n")
    write(system / "cgroup" / "cpu" / "cpu.cfs_period_us", "100000\n")
    write(system / "cgroup" / "cpu.max", "max 100000\n")
    write(system / "cgroup" / "memory.max", "max\n")
    write(system / "cgroup" / "memory.current", "5\n")
    assert machine.cores().quota is None
    assert machine.memory().total == 32_000_000 * 1024


@given(count=st.integers(1, 512), affinity=st.none() | st.integers(1, 512), quota=st.none() | st.floats(0.01, 600))
def test_at_least_one_core_and_never_more_than_any_limit(count, affinity, quota):
    usable = Cores(machine=count, affinity=affinity, quota=quota).usable
    assert usable >= 1
    if usable > 1:
        assert usable <= (count if affinity is None else affinity)
        assert quota is None or usable <= quota


def test_this_machine_has_cores_and_memory():
    assert 1 <= machine.cores().usable <= (os.cpu_count() or 1)
    total = machine.memory().total
    assert total is None or total > 100_000_000
