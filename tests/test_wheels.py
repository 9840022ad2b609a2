"""Whether the package installs from wheels alone on every platform it names, and imports where POSIX ends."""

import os
import subprocess
import sys
import tomllib
from itertools import product
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = {  # and whether the extra `cuda` is resolved with it
    "x86_64-unknown-linux-gnu": True,
    "aarch64-unknown-linux-gnu": False,
    "aarch64-apple-darwin": False,
    "x86_64-apple-darwin": False,
    "x86_64-pc-windows-msvc": True,
}
NO_WHEELS = {("x86_64-apple-darwin", "3.14"): "onnxruntime"}
"""What cannot be installed: the package that has no wheel there."""
QUICK = ("x86_64-pc-windows-msvc", "3.13")
MACOS = "14.0"
"""The oldest that onnxruntime's wheels for Python 3.14 run on."""
NO_INDEX = ("Failed to fetch", "error sending request", "network was disabled", "No module named uv")
"""What is said where there is nothing to resolve with."""

POSIX_ONLY = ("fcntl", "grp", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty", "uvloop")
IMPORT_ALL = f"""
import asyncio, importlib, multiprocessing.connection, os, pkgutil, signal, socket, subprocess, sys, tempfile

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name in {POSIX_ONLY!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

for name in {POSIX_ONLY!r}:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Hidden())
for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGQUIT", "SIGALRM", "SIGWINCH"):
    delattr(signal, name)
for name in ("sched_getaffinity", "sysconf", "fork", "getuid", "geteuid", "getloadavg", "mkfifo"):
    if hasattr(os, name):
        delattr(os, name)
import streamasr, streamasr_client
imported = 0
for package in (streamasr, streamasr_client):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
            imported += 1
assert not set({POSIX_ONLY!r}) & set(sys.modules)
print(imported)
"""


def environment() -> dict[str, str]:
    """uv's, told of pip's index and certificates."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    said = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        said[name.rpartition(".")[2]] = value.strip("'")
    told = {"MACOSX_DEPLOYMENT_TARGET": MACOS, "UV_NO_CONFIG": "1"}
    if "index-url" in said:
        told["UV_DEFAULT_INDEX"] = said["index-url"]
    if "cert" in said:
        told["SSL_CERT_FILE"] = said["cert"]
    return {**os.environ, **told}


def resolve(platform: str, python: str, *options: str) -> subprocess.CompletedProcess[str]:
    """What uv says of the package's requirements there, from wheels alone."""
    command = ["uv", "pip", "compile", "pyproject.toml", "--only-binary", ":all:", "--no-header", "--no-annotate"]
    return subprocess.run(
        [
            sys.executable,
            "-m",
            *command,
            "--quiet",
            "--python-platform",
            platform,
            "--python-version",
            python,
            *options,
        ],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
        cwd=ROOT,
    )


def combinations():
    for platform, python in product(PLATFORMS, PYTHONS):
        marks = [] if (platform, python) == QUICK else [pytest.mark.slow]
        yield pytest.param(platform, python, id=f"{platform}-{python}", marks=marks)


@pytest.mark.parametrize(("platform", "python"), list(combinations()))
def test_everything_needed_has_a_wheel(platform, python):
    """docs/howto/install.md shows the same table; where a wheel is missing, that it still is."""
    options = ["--extra", "remote", *(["--extra", "cuda"] if PLATFORMS[platform] else [])]
    found = resolve(platform, python, *options)
    if any(said in found.stderr for said in NO_INDEX):
        pytest.skip(f"no package index to resolve with: {found.stderr.strip().splitlines()[-1]}")
    if culprit := NO_WHEELS.get((platform, python)):
        assert found.returncode != 0, f"there are wheels for Python {python} on {platform} now: say so in the docs"
        assert culprit in found.stderr
        return
    assert found.returncode == 0, found.stderr
    packages = {line.partition("==")[0] for line in found.stdout.splitlines()}
    assert {"ctranslate2", "onnxruntime", "av", "s3fs", "gcsfs", "adlfs", "aiohttp"} <= packages
    assert ("nvidia-cublas-cu12" in packages) == PLATFORMS[platform]
    assert ("uvloop" in packages) == ("windows" not in platform)


def test_every_module_imports_without_what_only_posix_has():
    """On Windows these modules, signals and functions do not exist; nothing may want them at import."""
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50


def test_the_pythons_named_are_those_resolved_for():
    """A classifier is what people and indexes filter by."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["classifiers"]
    named = [text.rpartition(" ")[2] for text in listed if text.startswith("Programming Language :: Python :: 3.")]
    assert tuple(named) == PYTHONS
