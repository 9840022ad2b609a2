"""How large a model a machine can run: the choice of ``auto``, from values that were measured elsewhere. Pure."""

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
UTTERANCE_S = 6.0
"""Length of the utterance that the prediction is made for."""
TRIAL_S = 5.0
"""Encoder input of the window that is timed on nano."""


def choose_for_gpu(name: str, free: int, compute_type: str) -> tuple[Size, str]:
    """The best size for so many free bytes of GPU memory, and why.

    Where float16 does not fit, int8_float16 may, before a smaller size is taken.
    """
    kinds = (compute_type, "int8_float16") if compute_type == "float16" else (compute_type,)
    for candidate in ON_GPU:
        size = catalog.BY_NAME[candidate]
        needs = catalog.memory(size.parameters, size.shape.width)
        for kind in kinds:
            if needs[kind] <= HEADROOM * free:
                return size, (
                    f"{size.name}: the GPU ({name}) has {free / 1e9:.1f} GB of free memory, and it takes about"
                    f" {needs[kind] / 1e9:.1f} GB in {kind}"
                )
    return size, f"{size.name}: the smallest, for the GPU ({name}) has only {free / 1e9:.1f} GB of free memory"


def choose_for_cpu(nano_s: float) -> tuple[Size, str]:
    """The largest size that is predicted to keep up with one stream, and why.

    Args:
        nano_s: seconds that nano took here for a window of ``TRIAL_S``, on one thread. The prediction is for one
            thread too: what more threads are worth was not measured.
    """
    measured = f"by nano's {1000 * nano_s:.0f} ms for {TRIAL_S:g} s of audio on one thread"
    above = ""
    for candidate in LARGEST_FIRST:
        size = catalog.BY_NAME[candidate]
        factor = predict(size, nano_s)
        if factor <= RTF_LIMIT:
            return size, f"{size.name}: one stream is predicted to keep this CPU {factor:.0%} busy{above}, {measured}"
        above = f", {candidate} {factor:.0%}"
    return (
        size,
        f"{size.name}: the smallest, though one stream is predicted to take {factor:.0%} of this CPU, {measured}",
    )


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
