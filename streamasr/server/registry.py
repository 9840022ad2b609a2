"""Who is present, whether another may come, and how all of them end; and what every session shares.

Knows connections only as something that can be drained, and the model only as something that is there or not yet.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Protocol

import msgspec

from streamasr.bench import memory
from streamasr.core.policy import Policy
from streamasr.errors import Refused, Unavailable
from streamasr.inference.backend import Backend
from streamasr.inference.loading import Loading
from streamasr.inference.models import ModelEntry
from streamasr.inference.scorer import Scorer, VadSource
from streamasr.ops.config import Settings
from streamasr.server.admission import admit, crowding
from streamasr.server.auth import Signer
from streamasr.server.stats import Report, Stats


class Crowd:
    """How many sessions there are now."""

    def __init__(self) -> None:
        self.size = 0

    def enter(self) -> None:
        """One more."""
        self.size += 1

    def leave(self) -> None:
        """One less."""
        self.size -= 1


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """What all sessions share."""

    backend: Backend
    vad: VadSource
    scorer: Scorer
    signer: Signer
    model: ModelEntry
    policy: Policy
    crowd: Crowd = msgspec.field(default_factory=Crowd)
    stats: Stats = msgspec.field(default_factory=partial(Stats, 0.0))
    reason: str = ""
    notice: str = ""
    """Why this model, and what everybody should know of it (``loading.Loaded``)."""


class Drainable(Protocol):
    """A connection, as the registry knows it."""

    def drain(self) -> None:
        """Finalise what was received, say it and end."""


class Registry:
    """Which connections are open, whether another may be opened, and how all of them end."""

    def __init__(self, settings: Settings, loading: Loading, stats: Stats) -> None:
        self.settings = settings
        self.loading = loading
        self.stats = stats
        self.draining = False
        self._services: Services | None = None
        self._open: set[Drainable] = set()
        self._sessions: set[Drainable] = set()
        """Those of them that are live sessions, and take a place."""
        self._crowded: Refused | None = None
        """Why the last one that asked was refused, if it was for those who are here."""
        self._one_ended = asyncio.Event()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def services(self) -> Services:
        """What the sessions share.

        Raises:
            Unavailable: the model is not ready.
        """
        if self._services is None:
            raise Unavailable(f"the model is not ready yet: {self.loading}")
        return self._services

    def open(self, services: Services) -> None:
        """Let sessions in from now on."""
        self._services = services

    def refusal(self) -> Refused | None:
        """Why the session that asks for a place may not be opened now; None if it may."""
        load = self.stats.load.load(time.monotonic())
        if self.settings.admission == "auto":
            self._crowded = crowding(load, self.settings.min_headroom, already=self._crowded is not None)
        refused = admit(
            open_sessions=len(self._sessions),
            max_sessions=self.settings.max_sessions,
            loading=self._waits_for,
            draining=self.draining,
            load=load,
            crowded=self._crowded,
        )
        if refused:
            self.stats.session_refused()
        return refused

    def not_ready(self) -> Refused | None:
        """Why the server takes no sessions at all; None if it does, be it full."""
        return admit(open_sessions=0, max_sessions=None, loading=self._waits_for, draining=self.draining)

    def report(self) -> Report:
        """What the server knows of itself now."""
        services = self._services
        return self.stats.report(
            time.monotonic(),
            headroom=services.backend.headroom() if services else 1.0,
            gate_s=services.scorer.cpu_s if services else 0.0,
            cpu_s=time.process_time(),
            rss_bytes=memory.resident(),
            model=services.model.name if services else None,
        )

    @property
    def _waits_for(self) -> str | None:
        return str(self.loading) if self._services is None else None

    @contextmanager
    def registered(self, connection: Drainable, *, session: bool = True) -> Iterator[None]:
        """Count a connection as open while the block runs; ``session``: it is a live one, and takes a place."""
        self._open.add(connection)
        if session:
            self._sessions.add(connection)
            self.stats.session_started(connection, time.monotonic())
        try:
            yield
        finally:
            self._open.discard(connection)
            if session:
                self._sessions.discard(connection)
                self.stats.session_ended(connection, time.monotonic())
            self._one_ended.set()

    async def drain(self) -> None:
        """Let nobody in, have every session finalised and wait until all connections have ended."""
        self.draining = True
        for connection in list(self._open):
            connection.drain()
        await self.at_most(0)

    async def at_most(self, connections: int) -> None:
        """Return as soon as no more than so many are open."""
        while len(self) > connections:
            self._one_ended.clear()
            await self._one_ended.wait()
