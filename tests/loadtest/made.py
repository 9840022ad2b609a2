"""Figures that no run gave."""

from loadtest.results import Conditions, Figures, Lags, Quality, ServerSide, ToolHealth, Troubles, distribution


def figures(shown=(0.5,), *, streams=1, quality=None, troubles=None, cpu_s=None):
    """All is well but what is said."""
    none = distribution(())
    fine = {"words": 5000, "wer": 10.0, "sub": 0, "ins": 0, "dels": 0, "lost": 0, "doubled": 0}
    fine |= {"stable_violations": 0, "erased_per_word": 0.0, "utterances": 9, "finals_missing": 0}
    return Figures(
        conditions=Conditions(command="", began="", streams=streams, seconds=60.0),
        lags=Lags(shown=distribution(shown), stable=none, final=none, preflight=none),
        quality=Quality(**(fine | (quality or {}))),
        troubles=Troubles(**(troubles or {})),
        spoken_s=100.0,
        tool=ToolHealth(late=none, loop_lag=none, cpu_share=0.1, cpu_s=1.0),
        server=None if cpu_s is None else ServerSide(seconds=60.0, cpu_s=cpu_s),
    )
