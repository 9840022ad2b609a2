"""What would happen if the server were started here with these settings: every part of it tried, one by one.

Owns the order of the checks, and those of devices, models and hubs. Prints nothing; what is not possible is a
finding, not an exception.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from streamasr.core.events import SAMPLE_RATE, Window
from streamasr.errors import ConfigError, HubUnreachable, ModelError
from streamasr.inference import catalog, hardware, machine, selection
from streamasr.inference.ct2 import Ct2Engine
from streamasr.inference.hardware import Device, Hardware, Placement, gigabytes
from streamasr.inference.hub import Hub
from streamasr.inference.models import ModelEntry, entry_of, resolve
from streamasr.inference.selection import Spec
from streamasr.ops import checks
from streamasr.ops.checks import Finding
from streamasr.ops.config import Settings

OFFLINE = "HF_HUB_OFFLINE"


def examine(settings: Settings, hub: Hub | None = None) -> Iterator[Finding]:
    """Every check, each as it is done: a few seconds in all, ten more if the hub is silent."""
    hub = hub or Hub()
    yield checks.python()
    yield checks.main_memory(machine.memory())
    here = hardware.survey()
    yield from devices(here, settings.device)
    try:
        file = Path(settings.model_entry) if settings.model_entry else None
        spec = selection.parse(settings.model, entry_file=file)
        entry = _on_this_machine(spec, hub)
        placement = hardware.pick(
            here,
            device=settings.device,
            compute_type=settings.compute_type,
            threads=settings.threads,
            needs=entry.needs if entry else None,
            parameters=entry.parameters if entry else None,
        )
    except ConfigError as error:
        name, _, problem = str(error).partition(": ")
        yield Finding(check=name, status="failed", found=problem, advice="start with other settings")
    else:
        for what, reason in zip(("device", "compute type", "threads"), placement.reasons, strict=True):
            yield Finding(check=f"{what} chosen", found=reason)
        yield one_window(entry or resolve(catalog.NANO.name), placement)
        yield from models(spec, here, placement, hub, needed=settings.fallback != "nano")
    yield checks.openmp()
    yield checks.voice_activity()
    yield checks.audio_files()
    yield checks.resampler()
    yield checks.disk("model cache", hub.cache)
    yield checks.disk("temporary files", Path(tempfile.gettempdir()))
    yield checks.port(settings.host, settings.port)


def devices(here: Hardware, asked: Device) -> Iterator[Finding]:
    """CPU, GPUs, driver and CUDA libraries. That there is no GPU is a failure only where one was asked for."""
    yield Finding(check="CPU", found=f"{here.cores}; computes in {', '.join(sorted(here.cpu_types))}")
    driver = here.driver
    for gpu in driver.gpus:
        free = "" if gpu.free is None else f", {gigabytes(gpu.free)} free"
        about = f"{gpu.name}, {gigabytes(gpu.total)}{free}, compute capability {gpu.capability[0]}.{gpu.capability[1]}"
        types = ", ".join(sorted(gpu.types)) or "nothing that CTranslate2 knows"
        yield Finding(check=f"GPU {gpu.index}", found=f"{about}; computes in {types}")
    if driver.version or driver.cuda:
        newest = f", for CUDA up to {driver.cuda[0]}.{driver.cuda[1]}" if driver.cuda else ""
        yield Finding(check="NVIDIA driver", found=f"{driver.version or 'there'}{newest}")
    if driver.problem:
        bad: checks.Status = "warning" if driver.gpus or driver.version else "ok"
        yield _problem("GPU", driver.problem, "failed" if asked == "cuda" else bad if asked == "auto" else "ok")
    if driver.gpus:
        for library in here.libraries:
            if not library.problem:
                found = f"{library.version or 'found'} in {library.path or library.source}"
                yield Finding(check=library.name, found=found)
            elif library.needed:
                yield _problem(library.name, library.problem, "warning" if asked == "auto" else "failed")
            else:
                yield Finding(check=library.name, found="not there; CTranslate2 does without it")


def _problem(check: str, problem: str, status: checks.Status) -> Finding:
    """Of a sentence of the form ``what is wrong: what to do``."""
    found, _, advice = problem.partition(": ")
    return Finding(check=check, status=status, found=found, advice="" if status == "ok" else advice or "--device cpu")


def one_window(entry: ModelEntry, placement: Placement) -> Finding:
    """Load the model and run a window of noise, as the server does before it is ready."""
    check = f"{entry.name} on {placement.device}"
    seconds = max(5.0, entry.encoder_floor_s)
    samples = round(seconds * SAMPLE_RATE)
    noise = np.random.default_rng(0).normal(0, 1_000, samples).astype(np.int16)
    window = Window(
        lane="",
        number=0,
        kind="final",
        anchor=0,
        pcm=noise.tobytes(),
        encoder_samples=samples,
        language=entry.languages[0],
    )
    try:
        engine = Ct2Engine(
            entry,
            device=placement.device,
            device_index=placement.device_indexes,
            compute_type=placement.compute_type,
            threads=placement.threads,
        )
    except ModelError as error:
        found, _, advice = str(error).rpartition(": ")
        return Finding(check=check, status="failed", found=found or advice, advice=advice)
    before = time.perf_counter()
    engine.transcribe([window])
    took = time.perf_counter() - before
    engine.close()
    return Finding(check=check, found=f"{1000 * took:.0f} ms for a window of {seconds:g} s")


def models(spec: Spec, here: Hardware, placement: Placement, hub: Hub, *, needed: bool) -> Iterator[Finding]:
    """Which model the server would run, whether it is on this machine, and whether its hub answers.

    ``needed``: the server does not start without that model.
    """
    instead = None
    if spec.name == selection.AUTO:
        choice = selection.choose_here(here, placement, cached=selection.in_cache(hub))
        spec = selection.sized(spec, choice.size)
        instead = selection.stand_in(choice, hub)
        yield Finding(check="model chosen", found=f"{choice.size.name}: {choice.reason}")
    if not spec.repo:
        yield Finding(check="hub", found=f"not asked: {spec.name} is on this machine")
        return
    cached = hub.cached(spec.repo, spec.revision)
    if cached:
        yield Finding(check=spec.repo, found=f"in {cached}")
    else:
        otherwise = f"; without the hub, {instead.name} in the cache runs instead" if instead else ""
        yield Finding(check=spec.repo, found=f"not on this machine: its first start downloads it{otherwise}")
    yield hub_answers(hub, spec, needed=needed and cached is None and instead is None)


def hub_answers(hub: Hub, spec: Spec, *, needed: bool) -> Finding:
    """Ask the hub what a model consists of. ``needed``: without an answer the server does not start."""
    bad: checks.Status = "failed" if needed else "warning"
    here = hub.cached(spec.repo, spec.revision) is not None
    another = "" if here else "name a model that is here, such as --model nano"
    try:
        manifest = hub.manifest(spec.repo, spec.revision)
    except HubUnreachable as error:
        if os.environ.get(OFFLINE) and not needed:
            return Finding(check="hub", found=f"not asked: {OFFLINE} is set")
        advice = "set HF_ENDPOINT to a hub that answers" + (", to get another model than this one" if here else "")
        advice = ", or ".join(filter(None, (advice, another)))
        return Finding(check="hub", status=bad, found=str(error).removeprefix("model: "), advice=advice)
    except ModelError as error:
        return Finding(check="hub", status=bad, found=str(error).removeprefix("model: "), advice=another)
    return Finding(check="hub", found=f"{hub.endpoint} answers: {spec.repo} is {manifest.size / 1e6:.0f} MB")


def _on_this_machine(spec: Spec, hub: Hub) -> ModelEntry | None:
    """The model that was named, if it is here."""
    if spec.entry is not None:
        return spec.entry
    path = hub.cached(spec.repo, spec.revision) if spec.repo else None
    return entry_of(path, spec.name, repo=spec.repo, entry_file=spec.entry_file) if path else None
