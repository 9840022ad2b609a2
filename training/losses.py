"""What a batch's mistakes cost: the next tokens, and three aids that only training knows."""

from typing import NamedTuple

import torch
import torch.nn.functional as fn
from torch import Tensor

from training.model import Model
from training.windows.targets import IGNORED


class Tensors(NamedTuple):
    """A ``windows.batch.Batch`` on the device."""

    mel: Tensor
    tokens: Tensor
    targets: Tensor
    letters: Tensor
    letter_counts: Tensor
    frames: Tensor
    spans: Tensor


class Losses(NamedTuple):
    """Scalars. ``total`` is what is trained; the others are means to look at."""

    total: Tensor
    text: Tensor
    """Cross entropy of the next token."""
    spelling: Tensor
    """CTC of the letters, per letter."""
    frames: Tensor
    """Cross entropy of each frame's letter; 0 after the first steps."""
    attention: Tensor
    """How far the supervised heads look beside the token's place."""
    accuracy: Tensor
    """Share of next tokens that are right."""


class Weights(NamedTuple):
    """What the aids weigh."""

    spelling: float
    frames: float
    attention: float


def weights(progress: float, step: int, frame_label_steps: int) -> Weights:
    """The aids fade: frame letters within the first steps, the others in the second half of the run."""
    late = progress >= 0.5
    return Weights(
        spelling=0.6 if late else 1.0,
        frames=0.6 * (1 - step / frame_label_steps) if step < frame_label_steps else 0.0,
        attention=0.1 if late else 0.3,
    )


def losses(model: Model, batch: Tensors, weigh: Weights) -> Losses:
    """One batch through the model."""
    memory = model.encode(batch.mel)
    table = model.table()
    states, attention = model.decode(batch.tokens, memory, table)
    kept = batch.targets.flatten() != IGNORED
    wanted = batch.targets.flatten()[kept]
    logits = states.flatten(0, 1)[kept] @ table.t()
    text = fn.cross_entropy(logits.float(), wanted)
    accuracy = (logits.argmax(-1) == wanted).float().mean()
    spelled = model.ctc(memory).float().log_softmax(-1)
    spelling = _spelling(spelled, batch)
    frames = _frames(spelled, batch) if weigh.frames else text.new_zeros(())
    looking = _attention(torch.cat(attention, 1).float(), batch.spans) if attention else text.new_zeros(())
    total = text + weigh.spelling * spelling + weigh.frames * frames + weigh.attention * looking
    return Losses(total, text.detach(), spelling.detach(), frames.detach(), looking.detach(), accuracy)


def _spelling(spelled: Tensor, batch: Tensors) -> Tensor:
    """CTC over the whole batch, per letter; a window too short for its letters costs nothing."""
    count, length = spelled.shape[:2]
    lengths = torch.full((count,), length, dtype=torch.long, device=spelled.device)
    blank = spelled.shape[-1] - 1
    total = fn.ctc_loss(
        spelled.transpose(0, 1),
        batch.letters,
        lengths,
        batch.letter_counts,
        blank=blank,
        reduction="sum",
        zero_infinity=True,
    )
    return total / batch.letter_counts.sum().clamp(min=1)


def _frames(spelled: Tensor, batch: Tensors) -> Tensor:
    return fn.nll_loss(spelled.flatten(0, 1), batch.frames.flatten(), ignore_index=IGNORED)


def _attention(attention: Tensor, spans: Tensor) -> Tensor:
    """Minus the log of what each head (B, heads, L, T) gives to the target's own frames."""
    frame = torch.arange(attention.shape[-1], device=attention.device)
    inside = (frame >= spans[:, :, :1]) & (frame <= spans[:, :, 1:])
    mass = (attention * inside[:, None]).sum(-1).transpose(1, 2)
    heard = spans[:, :, 0] >= 0
    counted = (heard.sum() * attention.shape[1]).clamp(min=1)
    return -((mass + 1e-4).log() * heard[:, :, None]).sum() / counted
