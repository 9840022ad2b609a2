"""Muon: momentum whose update is made orthogonal, for the weight matrices of the layers."""

from collections.abc import Sequence

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic Newton-Schulz iteration (Keller Jordan's)."""


def orthogonalise(matrices: Tensor, dtype: torch.dtype = torch.float32, steps: int = 5) -> Tensor:
    """The nearest orthogonal matrices, roughly; (n, rows, columns), computed in ``dtype``."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = (x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)).to(dtype)
    for _ in range(steps):
        s = x @ x.transpose(1, 2)
        x = a * x + (b * s + c * (s @ s)) @ x
    orthogonal: Tensor = x.transpose(1, 2) if tall else x
    return orthogonal.float()


class Muon:
    """The optimiser; matrices of one shape are stepped together."""

    def __init__(
        self,
        matrices: Sequence[Tensor],
        rate: float,
        momentum: float = 0.95,
        decay: float = 0.01,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.rate, self._momentum, self._decay, self._dtype = rate, momentum, decay, dtype
        self._groups: dict[tuple[int, ...], list[Tensor]] = {}
        for matrix in matrices:
            self._groups.setdefault(tuple(matrix.shape), []).append(matrix)
        self._velocity = {
            shape: torch.zeros(len(group), *shape, device=group[0].device) for shape, group in self._groups.items()
        }

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """One step at ``scale`` of the highest rate."""
        rate = self.rate * scale
        for (rows, columns), group in ((s, g) for s, g in self._groups.items()):
            gradient = torch.stack([matrix.grad for matrix in group if matrix.grad is not None])
            velocity = self._velocity[rows, columns]
            velocity.mul_(self._momentum).add_(gradient, alpha=1 - self._momentum)
            ahead = gradient.mul(1 - self._momentum).add_(velocity, alpha=self._momentum)
            update = orthogonalise(ahead, self._dtype) * (rate * max(1.0, rows / columns) ** 0.5)
            for matrix, change in zip(group, update, strict=True):
                matrix.mul_(1 - rate * self._decay).sub_(change)

    def state(self) -> dict[tuple[int, ...], Tensor]:
        """What ``restore`` needs."""
        return self._velocity

    def restore(self, state: dict[tuple[int, ...], Tensor]) -> None:
        """Go on from a state of the same matrices."""
        for shape, velocity in state.items():
            self._velocity[shape].copy_(velocity)
