"""What a machine is good for: which device, which precision, and whether compiling pays."""

from pathlib import Path

import torch
from torch import nn


def choose_device(name: str) -> torch.device:
    """``cpu``, ``cuda``, or ``auto``: a GPU if there is one.

    Raises:
        ValueError: a GPU is asked for and there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: no CUDA device can be used here")
    return torch.device(name)


def bfloat16_pays(device: torch.device) -> bool:
    """On every GPU that is trained on; on a CPU if it multiplies bfloat16 itself."""
    if device.type == "cuda":
        return True
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and "avx512_bf16" in cpuinfo.read_text("ascii", "replace")


def compile_blocks(model: nn.Module) -> None:
    """Compile the layers; windows come in many lengths, so for any length at once."""
    for name in ("enc", "dec"):
        for block in model.get_submodule(name).children():
            block.compile(dynamic=True)
