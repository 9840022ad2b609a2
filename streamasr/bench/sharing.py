"""What a measurement leaves behind: an entry that the server takes, and figures to share.

Knows what must not be shared: audio, texts, names of files. Makes texts; writes no file.
"""

import hashlib
import json
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from streamasr.bench.measure import Figures, Text
from streamasr.bench.sweep import SAFE_POINTS, Swept
from streamasr.inference.models import ModelEntry

FORMAT = 1
"""Of the shared JSON; counts up when a field changes its meaning."""
PACKAGES = ("streamasr", "ctranslate2", "onnxruntime", "numpy")


def entry_text(swept: Swept, entry: ModelEntry, day: str, machine: str) -> str | None:
    """What the sweep found as the text of a ``streamasr.toml``; None if it found too little speech to tell.

    The longest window is as it was: a sweep of utterances says nothing about it.
    """
    if swept.verdict == "unclear":
        return None
    chosen = swept.chosen
    source = (
        f"streamasr bench --sweep on {day}: {swept.words} words in {swept.windows} windows, at most"
        f" {max(0.0, chosen.loss.high):.1f} points of word errors more than with 30 s (95 %), {machine}"
    )
    guards = swept.guards
    lines = [
        f"# What {entry.name} bears, measured by `streamasr bench --sweep`. Beside the model as streamasr.toml, or by",
        "# --model-entry.",
        f"encoder_floor_s = {chosen.floor_s:.1f}  # the shortest input that costs at most {SAFE_POINTS:g} point",
        f"encoder_margin_s = {chosen.margin_s:.1f}",
        f"longest_window_s = {entry.longest_window_s:.1f}  # as it was: not measured",
        "measured = true",
        f"source = {json.dumps(source, ensure_ascii=False)}",
        "",
        f"[guards]  # these stop {swept.good_stopped:.1f} % of the windows that are right",
        f"no_speech = {guards.no_speech:.2f}",
        f"logprob = {guards.logprob:.2f}",
        f"compression_ratio = {guards.compression_ratio:.2f}",
        f"tokens_per_second = {guards.tokens_per_second:.2f}",
    ]
    return "\n".join(lines) + "\n"


def shared(figures: Figures, facts: msgspec.Struct, entry: ModelEntry, texts: Sequence[Text]) -> bytes:
    """The figures as JSON, with what is needed to compare them: versions, machine, the model's fingerprint.

    ``texts`` is empty unless the user wants them to be shared. A number that is not there is null.
    """
    document: dict[str, Any] = {
        "format": FORMAT,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "platform": f"{platform.system()} {platform.machine()}",
        "model_fingerprint": fingerprint(entry.path),
        "facts": facts,
        "figures": figures,
    }
    if texts:
        document["texts"] = texts
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def fingerprint(model: Path) -> str:
    """The SHA-256 of the model's weights."""
    with (model / "model.bin").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
