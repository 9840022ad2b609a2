"""What ``--model`` means, and how the model is brought here.

``parse`` is cheap and tells a wrong name at once; ``choose`` may download gigabytes and belongs on a thread.
"""

import re
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from streamasr.core.events import SAMPLE_RATE, Window
from streamasr.errors import HubUnreachable, ModelError
from streamasr.inference import catalog, costs
from streamasr.inference.catalog import NANO, Size
from streamasr.inference.hardware import Hardware, Placement
from streamasr.inference.hub import Hub
from streamasr.inference.manifest import Manifest
from streamasr.inference.models import ModelEntry, entry_of, expanded, read_entry_file, resolve
from streamasr.inference.sizing import LARGEST_FIRST, TRIAL_S, Choice, choose_for_cpu, choose_for_gpu, smaller_than

AUTO = "auto"
TRIALS_S = 0.3
"""How long nano is timed: among the many runs one is undisturbed."""

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
REVISION = re.compile(r"\w[\w./-]*")

Fallback = Literal["none", "nano"]
Report = Callable[[str, float | None], None]
"""Told what is being done (lines after the first are worth keeping) and which share of it is done, if known."""


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for."""

    name: str
    """As it was written; ``auto`` for what is still to be chosen."""
    repo: str = ""
    """The hub id, if it is to come from a hub."""
    revision: str | None = None
    size: Size | None = None
    """The size, if it was named."""
    entry: ModelEntry | None = None
    """The model itself, if it is on this machine."""
    entry_file: Path | None = None


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """The model to run."""

    entry: ModelEntry
    reason: str
    """Why ``auto`` took this one, without its name; empty if it was asked for by name or stands in for another."""
    notice: str | None = None
    """What everybody should know who uses it: that it is not the one that was wanted, and why."""


def parse(model: str, *, entry_file: Path | None = None) -> Spec:
    """What ``--model`` asks for; a directory is read at once. No network.

    Raises:
        ModelError: it is nothing that could be a model, or the directory or the entry file is wrong.
    """
    if entry_file is not None:
        read_entry_file(entry_file)  # told now, not after a download
    if model == AUTO:
        return Spec(name=model, entry_file=entry_file)
    bare, at, revision = model.partition("@")
    if model == NANO.name or (model and _exists(expanded(model))):
        return Spec(name=model, entry=resolve(model, entry_file=entry_file))
    size = catalog.by_name(bare)
    is_id = HUB_ID.fullmatch(bare) is not None and ".." not in bare and not model.startswith(".")
    if (size and size.repo) or is_id:
        if at and not REVISION.fullmatch(revision):
            raise ModelError(f"model: {model!r}: expected a branch, tag or commit after @")
        return Spec(
            name=model,
            repo=size.repo if size else bare,
            revision=revision or None,
            size=size,
            entry_file=entry_file,
        )
    near = catalog.similar(bare)
    meant = f"; did you mean {near}?" if near else ""
    raise ModelError(
        f"model: {model!r} is neither auto, nano, a size such as small or large-v3-turbo, a hub's"
        f" OWNER/NAME[@REVISION], nor an existing directory{meant}"
    )


def _unheard(_stage: str, _share: float | None) -> None:
    """Reports, where nobody asked for any."""


def choose(
    spec: Spec,
    *,
    hardware: Hardware,
    placement: Placement,
    fallback: Fallback | None = None,
    terminal: bool = False,
    report: Report = _unheard,
    hub: Hub | None = None,
) -> Chosen:
    """Find or fetch what was asked for; takes as long as the download.

    Args:
        spec: what ``parse`` understood.
        hardware: what this machine has.
        placement: where the model is to run, as ``hardware.pick`` has it before the model is known.
        fallback: what to run if the hub does not answer and ``auto`` has nothing else here that the machine can
            run; None: nano if there is a terminal.
        terminal: whether a person sees what happens.
        report: told what happens; what it raises ends the work, and a download can be gone on with later.
        hub: which hub and cache; None: those the environment names.

    Raises:
        HubUnreachable: the model is not here, its hub does not answer, and nothing may take its place.
        ModelError: there is no such model, or it is not one that we can run.
    """
    if spec.entry is not None:
        return Chosen(entry=spec.entry, reason="")
    hub = hub or Hub()
    wanted, choice = spec, None
    if spec.name == AUTO:
        choice = choose_here(hardware, placement, report, cached=in_cache(hub))
        wanted = sized(spec, choice.size)
    try:
        return Chosen(entry=_brought(wanted, hub, report), reason=choice.reason if choice else "")
    except HubUnreachable as error:
        entry, about = stand_in(choice, hub) if choice else None, "in the cache"
        if entry is None:
            if fallback == "none" or (fallback is None and not terminal):
                raise HubUnreachable(f"{error}; --fallback nano would run the small built-in model instead") from error
            entry, about = resolve(NANO.name), "built in, and not made for real speech"
        notice = f"running {entry.name} ({about}) instead of {wanted.name}, since {_tail(error)}"
        return Chosen(entry=entry, reason="", notice=notice)


def choose_here(
    hardware: Hardware,
    placement: Placement,
    report: Report = _unheard,
    *,
    cached: Collection[str] = (),
    nano_s: float | None = None,
) -> Choice:
    """What ``auto`` takes on this machine, and why; on a CPU half a second goes to ``measure_nano`` if need be.

    ``cached``: as ``in_cache`` has it.
    """
    if placement.device == "cuda":
        gpus = [gpu for gpu in hardware.driver.gpus if gpu.index in placement.device_indexes]
        roomiest = max(gpus, key=lambda gpu: gpu.total if gpu.free is None else gpu.free)
        free = roomiest.total if roomiest.free is None else roomiest.free
        return choose_for_gpu(roomiest.name, free, placement.compute_type)
    if nano_s is None:
        report("measuring this machine", None)
        nano_s = measure_nano(placement)
    return choose_for_cpu(nano_s, cached)


def in_cache(hub: Hub) -> frozenset[str]:
    """The sizes that ``auto`` may take and that are here."""
    return frozenset(name for name in LARGEST_FIRST if hub.cached(catalog.BY_NAME[name].repo))


def sized(spec: Spec, size: Size) -> Spec:
    """What ``auto`` asks for, once the size is chosen."""
    return msgspec.structs.replace(spec, name=size.name, repo=size.repo, size=size)


def download(wanted: Spec, hub: Hub, report: Report = _unheard, *, to: Path | None = None) -> Path:
    """Fetch a hub's model into the cache, or to a directory of its own with a manifest; the directory it is in.

    Raises:
        HubUnreachable, ModelError: as ``choose``.
    """
    report(f"asking {hub.endpoint} for {wanted.repo}", None)
    manifest = hub.manifest(wanted.repo, wanted.revision)
    # Without a share: this is not yet a part of the download.
    spoilt = hub.check(manifest, lambda _: report(f"checking what is here of {wanted.repo}", None), to)
    said = announce(manifest, wanted.size, hub, to, spoilt=spoilt)
    report(said, None)
    stage = said.partition("\n")[0]

    def advance(here: int) -> None:
        report(stage, here / max(1, manifest.size))

    if to is None:
        return hub.fetch(manifest, advance)
    hub.fetch_to(manifest, to, advance)
    return to


def measure_nano(placement: Placement) -> float:
    """Seconds that nano takes here for a window of ``TRIAL_S`` with speech's number of tokens: the best of a few."""
    from streamasr.inference.ct2 import Ct2Engine

    samples = round(TRIAL_S * SAMPLE_RATE)
    noise = np.random.default_rng(0).normal(0, 1_000, samples).astype(np.int16)
    tokens = tuple(range(300, 300 + round(TRIAL_S * costs.TOKENS_PER_SECOND)))
    window = Window(
        lane="",
        number=0,
        kind="final",
        anchor=0,
        pcm=noise.tobytes(),
        encoder_samples=samples,
        language="en",
        prefix=tokens,  # forced, so that the work is the same everywhere
        max_new_tokens=1,
    )
    engine = Ct2Engine(resolve(NANO.name), compute_type=placement.compute_type, threads=1)  # the table's, too
    took: list[float] = []
    while len(took) < 2 or sum(took) < TRIALS_S:
        before = time.perf_counter()
        engine.transcribe([window])
        took.append(time.perf_counter() - before)
    engine.close()
    return min(took)


def announce(
    wanted: Manifest, size: Size | None, hub: Hub, to: Path | None = None, *, spoilt: Collection[str] = ()
) -> str:
    """What a person should know before a download, in two lines; the first names what is being done.

    ``spoilt``: names of files that were here, but with another content.
    """
    english = size is not None and size.languages == catalog.ENGLISH
    whole, rest = wanted.size / 1e6, hub.missing(wanted, to) / 1e6
    left = f"{whole:.0f} MB" if rest >= whole else f"{rest:.0f} MB of {whole:.0f} MB"
    what = wanted.repo if size is None else f"{size.name} ({wanted.repo})"
    smaller = smaller_than(wanted.size, english=english)
    again = f"; {', '.join(spoilt)}: spoilt here, fetched again" if spoilt else ""
    return f"downloading {what}\n{what}: {left} {hub.source(to)}{again}; smaller: --model {smaller}"


def _brought(wanted: Spec, hub: Hub, report: Report) -> ModelEntry:
    """The entry of a hub's model, from the cache if it is there."""
    path = hub.cached(wanted.repo, wanted.revision)
    if path is None:
        path = download(wanted, hub, report)
    return entry_of(path, wanted.name, repo=wanted.repo, entry_file=wanted.entry_file)


def stand_in(choice: Choice, hub: Hub) -> ModelEntry | None:
    """What may take the place of ``auto``'s choice: the best in the cache that this machine can run, if any."""
    for size in choice.stand_ins:
        if path := hub.cached(size.repo):
            return entry_of(path, size.name, repo=size.repo)
    return None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name no file could have, because it is too long
        return False


def _tail(error: Exception) -> str:
    return str(error).removeprefix("model: ")
