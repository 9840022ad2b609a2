"""How large a model a machine can run: the choice of ``auto``, from values that were measured elsewhere. Pure."""

import math
from collections.abc import Collection

import msgspec

from streamasr.core.events import SAMPLE_RATE
from streamasr.core.policy import Policy, ms
from streamasr.core.windows import encoder_samples
from streamasr.inference import catalog, costs
from streamasr.inference.catalog import NANO, Size
from streamasr.inference.hardware import HEADROOM

LARGEST_FIRST = ("large-v3", "large-v3-turbo", "medium", "small", "base", "tiny")
"""What ``auto`` may take on a CPU: neither English-only nor distilled, since nobody said that English is enough."""
ON_GPU = ("large-v3-turbo", "small", "base", "tiny")
"""What it may take on a GPU: nearly large-v3's accuracy at a fraction of its decoding, then what is much smaller."""
RTF_LIMIT = 0.5
"""A size is taken for one stream if it is predicted to be busy for at most this part of the time."""
KEPT_LIMIT = 0.6
"""The same for a size that is here already."""
REPLACING_LIMIT = 0.4
"""The same for one that would be downloaded while the next smaller one is here."""
UTTERANCE_S = 6.0
"""Length of the utterance that the prediction is made for."""
TRIAL_S = 5.0
"""Encoder input of the window that is timed on nano."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What ``auto`` takes."""

    size: Size
    reason: str
    """Why, without its name."""
    stand_ins: tuple[Size, ...] = ()
    """What else this machine can run, best first: for when the size itself cannot be had."""


def choose_for_gpu(name: str, free: int, compute_type: str) -> Choice:
    """The best size for so many free bytes of GPU memory.

    Where float16 does not fit, int8_float16 may, before a smaller size is taken.
    """
    kinds = (compute_type, "int8_float16") if compute_type == "float16" else (compute_type,)
    room = f"the GPU ({name}) has {free / 1e9:.1f} GB of free memory"
    stand_ins = tuple(catalog.BY_NAME[one] for one in LARGEST_FIRST if _fitting(catalog.BY_NAME[one], free, kinds))
    for candidate in ON_GPU:
        size = catalog.BY_NAME[candidate]
        if kind := _fitting(size, free, kinds):
            takes = catalog.memory(size.parameters, size.shape.width)[kind] / 1e9
            return Choice(size=size, reason=f"{room}, and it takes about {takes:.1f} GB in {kind}", stand_ins=stand_ins)
    return Choice(size=size, reason=f"the smallest, though {room}")


def _fitting(size: Size, free: int, kinds: tuple[str, ...]) -> str:
    """The first of the compute types in which it fits; empty if there is none."""
    needs = catalog.memory(size.parameters, size.shape.width)
    return next((kind for kind in kinds if needs[kind] <= HEADROOM * free), "")


def choose_for_cpu(nano_s: float, cached: Collection[str] = ()) -> Choice:
    """The largest size that is predicted to keep up with one stream.

    What is in the cache may be a little slower, and what would replace it must be clearly faster than the limit:
    nano's time is not the same at every start, and the choice is to be.

    Args:
        nano_s: seconds that nano took here for a window of ``TRIAL_S``, on one thread. The prediction is for one
            thread too: what more threads are worth was not measured.
        cached: sizes that are on this machine.
    """
    busy = {name: predict(catalog.BY_NAME[name], nano_s) for name in LARGEST_FIRST}
    stand_ins = tuple(catalog.BY_NAME[name] for name in LARGEST_FIRST if busy[name] <= KEPT_LIMIT)
    measured = f"by nano's {1000 * nano_s:.0f} ms for {TRIAL_S:g} s of audio on one thread"
    above = ""
    for name, smaller in zip(LARGEST_FIRST, (*LARGEST_FIRST[1:], ""), strict=True):
        limit = KEPT_LIMIT if name in cached else REPLACING_LIMIT if smaller in cached else RTF_LIMIT
        if busy[name] <= limit:
            here = f", and it is here already (limit {limit:.0%})" if busy[name] > RTF_LIMIT else ""
            reason = f"one stream is predicted to keep this CPU {busy[name]:.0%} busy{here}{above}, {measured}"
            return Choice(size=catalog.BY_NAME[name], reason=reason, stand_ins=stand_ins)
        above = f"; {name}: {math.ceil(100 * busy[name])}%, limit {limit:.0%}"  # rounded up: above it in print too
    reason = f"the smallest, though one stream is predicted to take {busy[name]:.0%} of this CPU, {measured}"
    return Choice(size=catalog.BY_NAME[name], reason=reason, stand_ins=stand_ins)


def predict(size: Size, nano_s: float) -> float:
    """The real-time factor of one stream on a CPU: seconds of work a second of speech.

    It is that of one utterance of ``UTTERANCE_S``: a window for each hop, and the final.
    """
    policy = Policy(encoder_floor=ms(1000 * size.encoder_floor_s), encoder_margin=ms(1000 * size.encoder_margin_s))
    length = ms(1000 * UTTERANCE_S)
    windows = [*range(policy.first_window, length, policy.hop), length]
    work = sum(
        costs.window_ms(size.name, encoder_samples(window, policy) / SAMPLE_RATE, window / SAMPLE_RATE)
        for window in windows
    )
    here = 1000 * nano_s / costs.window_ms(NANO.name, TRIAL_S)
    return here * work / (1000 * UTTERANCE_S)


def smaller_than(size_bytes: int, *, english: bool = False) -> str:
    """The next smaller download, in words."""
    kind = [size for size in catalog.SIZES if size.repo and (size.languages == catalog.ENGLISH) == english]
    fitting = [size for size in kind if size.megabytes < 0.9 * size_bytes / 1e6]
    if not fitting:
        return f"{NANO.name} (built in)"
    best = max(fitting, key=lambda size: size.megabytes)
    return f"{best.name} ({best.megabytes} MB)"
