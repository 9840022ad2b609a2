"""Where a training run stands, on disk: written as a whole or not at all."""

from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from training.model import Model
from training.settings import Shape


class Checkpoint(msgspec.Struct, kw_only=True):
    """All that a run needs to go on."""

    shape: Shape
    vocabulary: int
    weights: dict[str, Tensor]
    average: dict[str, Tensor]
    """The weights' moving average: what is exported."""
    step: int = 0
    frames: int = 0
    """Mel frames heard, over all batches."""
    optimisers: dict[str, Any] | None = None
    """None in a checkpoint that was only kept for its weights."""

    @property
    def hours(self) -> float:
        """Hours of audio heard."""
        return self.frames / 360_000

    def model(self) -> Model:
        """A model with the averaged weights, for use."""
        model = Model(self.shape, self.vocabulary)
        model.load_state_dict({name: weight.float() for name, weight in self.average.items()})
        return model.eval()


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the file."""
    unfinished = path.with_suffix(".unfinished")
    fields = msgspec.structs.asdict(checkpoint) | {"shape": msgspec.structs.asdict(checkpoint.shape)}
    torch.save(fields, unfinished)
    unfinished.replace(path)


def read(path: Path, device: torch.device | str = "cpu") -> Checkpoint:
    """Read a checkpoint; the first edition's half-precision one, too.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is something else.
    """
    fields = torch.load(path, map_location=device, weights_only=True)
    if isinstance(fields, dict) and "cfg" in fields:
        return _first_edition(fields)
    if not isinstance(fields, dict) or "shape" not in fields:
        raise ValueError(f"{path} is not a checkpoint of this tool")
    return Checkpoint(**(fields | {"shape": Shape(**fields["shape"])}))


def _first_edition(fields: dict[str, Any]) -> Checkpoint:
    cfg = fields["cfg"]
    shape = Shape(width=cfg["d"], encoder_layers=cfg["enc"], decoder_layers=cfg["dec"], mels=cfg["mels"])
    return Checkpoint(
        shape=shape,
        vocabulary=cfg["n_vocab"],
        weights=fields["net"],
        average=fields["ema"],
        step=fields["step"],
        frames=round(fields["hours"] * 360_000),
    )
