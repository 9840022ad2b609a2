"""Who may come in: decided from values, before the upgrade. Pure; whoever asks does the refusing."""

from streamasr.errors import Refused

WARMING_UP_RETRY_S = 5.0
"""A model takes seconds to load."""
DRAINING_RETRY_S = 5.0
"""Long enough for the server's successor, or for the balancer to have noticed."""
FULL_RETRY_S = 10.0
"""Sessions last for minutes; a place is not free at once."""


def admit(*, open_sessions: int, max_sessions: int | None, ready: bool, draining: bool) -> Refused | None:
    """None if one more session may be opened now, else why not and when to ask again.

    Args:
        open_sessions: those open now.
        max_sessions: the limit; None for none.
        ready: whether the model can take windows.
        draining: whether the server is shutting down.
    """
    if draining:
        return Refused("the server is shutting down", retry_after_s=DRAINING_RETRY_S)
    if not ready:
        return Refused("the model is being loaded", retry_after_s=WARMING_UP_RETRY_S)
    if max_sessions is not None and open_sessions >= max_sessions:
        return Refused(f"all {max_sessions} sessions are taken", retry_after_s=FULL_RETRY_S)
    return None
