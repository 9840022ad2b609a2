"""How the model comes: what the server waits for, how far it is, and what there is at the end.

Owns the one figure that ``/readyz`` and the terminal show. Knows neither hubs nor engines: a ``ModelSource``
brings the model and reports on the way.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import msgspec

from streamasr.errors import Unavailable
from streamasr.inference import hardware, selection
from streamasr.inference.backend import Backend
from streamasr.inference.ct2 import Ct2Engine
from streamasr.inference.engine import Stages
from streamasr.inference.hardware import Placement, Purpose
from streamasr.inference.models import ModelEntry
from streamasr.inference.worker import BatchRecord, LocalBackend
from streamasr.ops.config import Settings

logger = logging.getLogger(__name__)

DOWNLOADED = 80
"""Per cent when all of the model is on this machine; what is left is reading it and running a first window."""

Watcher = Callable[[str, float | None], None]
"""Told what is being done, and which share of it is done, if that is known; on any thread."""


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """A model and what runs it."""

    model: ModelEntry
    backend: Backend
    """Not started yet."""
    reason: str = ""
    """Why this model, in words; empty if it was asked for by name."""
    notice: str = ""
    """What everybody should know who uses it: that it is not the one that was wanted, and why."""


class Loading:
    """What is being waited for. ``report`` may be called from any thread, everything else from the event loop."""

    def __init__(self, watcher: Watcher | None = None) -> None:
        self.stage = "starting"
        """What is being done, in words."""
        self.percent = 0
        """How much of it all is done; never falls."""
        self._watcher = watcher
        self._given_up = False

    def report(self, stage: str, share: float | None = None) -> None:
        """Say what is being done now, and which share of it is done, if that is known.

        Raises:
            Unavailable: nobody waits any more.
        """
        if self._given_up:
            raise Unavailable("nobody waits for the model any more")
        self.stage = stage
        if share is not None:
            self.percent = max(self.percent, int(DOWNLOADED * share))
        if self._watcher is not None:
            self._watcher(stage, share)

    def on_this_machine(self) -> None:
        """All of the model is here."""
        self.percent = max(self.percent, DOWNLOADED)

    def give_up(self) -> None:
        """Let the next report end whatever makes it."""
        self._given_up = True

    def __str__(self) -> str:
        return f"{self.stage} ({self.percent} %)"


ModelSource = Callable[[Loading], Awaitable[Loaded]]
"""Brings the model, reporting on the way; raises ``ModelError`` if it cannot be had."""


def model_source(
    settings: Settings,
    *,
    terminal: bool,
    purpose: Purpose = "live",
    observer: Callable[[BatchRecord], None] | None = None,
    on_stages: Callable[[Stages], None] | None = None,
) -> ModelSource:
    """Where the model comes from that ``settings`` name.

    Args:
        settings: which model, and on what.
        terminal: whether a person sees what is printed, who may prefer nano to nothing.
        purpose: what the model will do.
        observer: told of every batch, on the event loop.
        on_stages: told where the time of each batch went, on the engine's threads.

    Raises:
        ModelError: there is no such model, or it is not in a format we can run.
    """
    file = None if settings.model_entry is None else Path(settings.model_entry)
    spec = selection.parse(settings.model, entry_file=file)

    def bring(loading: Loading) -> Loaded:
        found = hardware.survey()
        place = partial(
            hardware.pick,
            found,
            device=settings.device,
            compute_type=settings.compute_type,
            threads=settings.threads,
            purpose=purpose,
        )
        chosen = selection.choose(
            spec,
            hardware=found,
            placement=place(),
            fallback=settings.fallback,
            terminal=terminal,
            report=loading.report,
        )
        placement = place(needs=chosen.entry.needs, parameters=chosen.entry.parameters)
        logger.info("%s runs on %s", chosen.entry.name, "; ".join(placement.reasons))
        return Loaded(
            model=chosen.entry,
            backend=LocalBackend(partial(_engine, settings, chosen.entry, placement, on_stages), observer=observer),
            reason=chosen.reason,
            notice=chosen.notice or "",
        )

    async def source(loading: Loading) -> Loaded:
        return await asyncio.to_thread(bring, loading)

    return source


def _engine(
    settings: Settings, entry: ModelEntry, placement: Placement, on_stages: Callable[[Stages], None] | None
) -> Ct2Engine:
    engine = Ct2Engine(
        entry,
        device=placement.device,
        device_index=placement.device_indexes,
        compute_type=placement.compute_type,
        threads=placement.threads,
        replicas=placement.replicas,
        max_batch=settings.max_batch,
        clock=time.perf_counter,
    )
    engine.on_stages = on_stages
    return engine
