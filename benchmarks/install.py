"""What an installation takes on the disk, and how long it takes to start.

    python -m benchmarks.install                 # a fresh virtual environment, pip install, a minute or two
    python -m benchmarks.install --keep DIR      # and leave it there

Sizes are of the files that each package has installed, byte code included, pip itself left out.
"""

import argparse
import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec
from rich.console import Console
from rich.progress import Progress

from benchmarks.evalset import ROOT

MARK = 400_000_000
"""Bytes that an installation may take."""
HELP_MARK_S = 0.3
TOP = 10
ROUNDS = 5
READY_S = 120.0
READY = re.compile(rb"ws://\S+/v1/stream")
NOT_OURS = ("pip", "setuptools")
"""What every virtual environment has."""


class Package(NamedTuple):
    """What one distribution has installed."""

    name: str
    version: str
    size: int


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes, seconds."""

    total: int
    packages: tuple[Package, ...]
    """Largest first."""
    help_s: float
    """``streamasr --help``; medians of some rounds."""
    import_s: float
    """``import streamasr``, the interpreter's own start left out."""
    ready_s: float
    """From the start of ``serve --model nano`` to its word that it is ready."""


def sizes(site_packages: Path) -> list[Package]:
    """Every distribution's size, largest first; a file that two name counts once, what nobody names at the end."""
    from importlib.metadata import distributions

    counted: set[Path] = set()
    packages = []
    for distribution in distributions(path=[str(site_packages)]):
        files = {Path(str(distribution.locate_file(file))).resolve() for file in distribution.files or ()}
        files = {file for file in files if file.is_file()} - counted
        counted |= files
        packages.append(Package(distribution.name, distribution.version, sum(file.stat().st_size for file in files)))
    others = {file.resolve() for file in site_packages.rglob("*") if file.is_file()} - counted
    packages.append(Package("(byte code and others)", "", sum(file.stat().st_size for file in others)))
    return sorted((p for p in packages if p.name not in NOT_OURS), key=lambda package: -package.size)


def measure(place: Path, progress: Progress) -> Figures:
    """Install into a fresh virtual environment at ``place`` and measure it."""
    task = progress.add_task("virtual environment", total=4)
    venv.create(place, with_pip=True, symlinks=os.name == "posix")
    scripts = place / ("Scripts" if os.name == "nt" else "bin")
    progress.update(task, advance=1, description="pip install")
    _run(scripts / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet", str(ROOT))
    progress.update(task, advance=1, description="starting")
    site_packages = next(path.parent for path in place.rglob("streamasr") if path.parent.name == "site-packages")
    bare = _seconds(scripts / "python", "-c", "pass")
    imported = _seconds(scripts / "python", "-c", "import streamasr")
    helped = _seconds(scripts / "streamasr", "--help")
    progress.update(task, advance=1, description="serving")
    ready = asyncio.run(_ready_s(scripts / "streamasr"))
    progress.update(task, advance=1)
    packages = sizes(site_packages)
    return Figures(
        total=sum(package.size for package in packages),
        packages=tuple(packages),
        help_s=helped,
        import_s=imported - bare,
        ready_s=ready,
    )


def lines(figures: Figures) -> list[str]:
    """The figures as people read them."""
    top = [f"  {p.size / 1e6:7.1f} MB  {p.name} {p.version}".rstrip() for p in figures.packages[:TOP]]
    rest = sum(package.size for package in figures.packages[TOP:])
    held = "held" if figures.total <= MARK else "missed"
    helped = "held" if figures.help_s <= HELP_MARK_S else "missed"
    return [
        f"installed: {figures.total / 1e6:.0f} MB (mark {MARK / 1e6:.0f} MB: {held})",
        *top,
        f"  {rest / 1e6:7.1f} MB  {len(figures.packages[TOP:])} others",
        f"streamasr --help: {figures.help_s:.2f} s (mark {HELP_MARK_S} s: {helped})",
        f"import streamasr: {figures.import_s:.2f} s",
        f"serve --model nano: ready after {figures.ready_s:.2f} s",
    ]


def _run(*command: str | Path) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stderr}")


def _seconds(*command: str | Path) -> float:
    """The median of some rounds, after one that writes byte code and fills the disk's cache."""
    times = []
    for _ in range(ROUNDS + 1):
        begun = time.perf_counter()
        _run(*command)
        times.append(time.perf_counter() - begun)
    return median(times[1:])


async def _ready_s(streamasr: Path) -> float:
    """The median of some starts of the server."""
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            *(str(streamasr), "serve", "--model", "nano", "--port", "0"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            if process.stdout is None:
                raise RuntimeError("the server's output cannot be read")
            async with asyncio.timeout(READY_S):
                async for line in process.stdout:
                    if READY.search(line):
                        break
            times.append(time.perf_counter() - begun)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            await process.communicate()
    return median(times)


def main(argv: Sequence[str] | None = None) -> int:
    """Install, measure, print; 0 if the marks are held."""
    parser = argparse.ArgumentParser("python -m benchmarks.install", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where to install, and leave it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures, with every package")
    arguments = parser.parse_args(argv)
    place = arguments.keep or Path(tempfile.mkdtemp(prefix="streamasr-install-"))
    try:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            figures = measure(place, progress)
    finally:
        if arguments.keep is None:
            shutil.rmtree(place, ignore_errors=True)
    sys.stdout.write("\n".join(lines(figures)) + "\n")
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1) + b"\n")
    return 0 if figures.total <= MARK and figures.help_s <= HELP_MARK_S else 1


if __name__ == "__main__":
    sys.exit(main())
