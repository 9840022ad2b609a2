"""Who may come in: decided from values, before the upgrade. Pure; whoever asks does the refusing."""

from math import ceil, sqrt

from streamasr.errors import Refused
from streamasr.server.load import Load

WARMING_UP_RETRY_S = 5.0
"""A model takes seconds to load."""
DRAINING_RETRY_S = 5.0
"""Long enough for the server's successor, or for the balancer to have noticed."""
FULL_RETRY_S = 10.0
"""Sessions last for minutes; a place is not free at once. Where none has ended lately, nothing better is known."""
SHORTEST_RETRY_S = 1.0
LONGEST_RETRY_S = 60.0


def admit(
    *,
    open_sessions: int,
    max_sessions: int | None,
    loading: str | None,
    draining: bool,
    load: Load | None = None,
    crowded: Refused | None = None,
) -> Refused | None:
    """None if one more session may be opened now, else why not and when to ask again.

    Args:
        open_sessions: those open now.
        max_sessions: the limit; None for none.
        loading: what the model still waits for, in words; None if it can take windows.
        draining: whether the server is shutting down.
        load: how fast sessions end; None if nobody has looked.
        crowded: what ``crowding`` says.
    """
    if draining:
        return Refused("the server is shutting down", retry_after_s=DRAINING_RETRY_S)
    if loading is not None:
        return Refused(f"the model is not ready yet: {loading}", retry_after_s=WARMING_UP_RETRY_S)
    if max_sessions is not None and open_sessions >= max_sessions:
        return Refused(f"all {max_sessions} sessions are taken", retry_after_s=time_to_places(1, load))
    return crowded


def crowding(load: Load, min_headroom: float, *, already: bool) -> Refused | None:
    """Whether those who are here would suffer from one more.

    A server that is at most half as busy as it may be never refuses: what is not measured yet is not held against
    anybody. Above that, a session is refused if ``expected_busy`` leaves less than ``min_headroom``. Where one has
    been refused, there must be room for two before the next is let in, so that places do not come and go.

    Args:
        load: what is known.
        min_headroom: the share of the engine's time that is to stay idle, 0 to 1.
        already: whether the last one that asked was refused for this.
    """
    most = 1 - min_headroom
    if load.speaker is None or load.busy <= most / 2:
        return None
    excess = expected_busy(load, 2 if already else 1) - most
    if excess <= 0:
        return None
    freed = load.speaker * load.speaking_share  # by one that ends, on average
    places = ceil(min(excess / freed, load.sessions)) if freed else 1
    return Refused(
        f"the server is busy: {load.speaking:.0f} sessions speak, and with one more their words would be late",
        retry_after_s=time_to_places(places, load),
    )


def expected_busy(load: Load, newcomers: int) -> float:
    """The share of the engine's time that live windows will take with so many speaking sessions more.

    The larger of what is measured, with those who came so lately that they are not in it; and of what all who are
    here will take: as many of them as speak at a time, and as many more as by chance will (one standard deviation).
    """
    speaker, share = load.speaker or 0.0, load.speaking_share
    at_a_time = load.sessions * share + sqrt(load.sessions * share * (1 - share))
    measured = load.busy + speaker * share * load.young
    return max(measured, speaker * max(load.speaking, at_a_time)) + speaker * newcomers


def time_to_places(places: int, load: Load | None) -> float:
    """Seconds until so many sessions will have ended, as they ended lately."""
    if load is None or not load.ends_per_s:
        return FULL_RETRY_S
    return min(max(places / load.ends_per_s, SHORTEST_RETRY_S), LONGEST_RETRY_S)
