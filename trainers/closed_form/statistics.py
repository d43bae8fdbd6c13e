"""The sums that a closed-form adapter follows from, and the ridge solve over them.

A row is a token of an answer: its key k, the input of a `down_proj`, and its value v, how that
projection's output should have moved. Everything that a project has taught is in two sums over its
rows, K^T K and V^T K. Sums are added where memories are consolidated and subtracted where a session
is forgotten. It is the associative-memory edit of ROME and MEMIT (Meng et al. 2022), used to distil
a trajectory. Knows nothing of models or trajectories.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Statistics:
    """Sums over rows, float64.

    Attributes:
        gram: K^T K, [width, width].
        cross: V^T K, [outputs, width].
    """

    gram: torch.Tensor
    cross: torch.Tensor

    @classmethod
    def of(cls, keys: torch.Tensor, values: torch.Tensor) -> Statistics:
        """The sums over rows of keys, [rows, width], and values, [rows, outputs]."""
        exact_keys = keys.double()
        return cls(exact_keys.T @ exact_keys, values.double().T @ exact_keys)

    def __add__(self, other: Statistics) -> Statistics:
        return Statistics(self.gram + other.gram, self.cross + other.cross)

    def __sub__(self, other: Statistics) -> Statistics:
        return Statistics(self.gram - other.gram, self.cross - other.cross)

    def scaled(self, factor: float) -> Statistics:
        """As if every row had counted so often."""
        return Statistics(self.gram * factor, self.cross * factor)


@dataclass(frozen=True, slots=True)
class LowRank:
    """An update of a weight, `b @ a`: [outputs, rank] and [rank, width], float32."""

    b: torch.Tensor
    a: torch.Tensor

    @property
    def norm(self) -> float:
        """The update's Frobenius norm."""
        return float(((self.b.T @ self.b) * (self.a @ self.a.T)).sum().clamp(min=0).sqrt())


def solve(
    taught: Statistics, known: torch.Tensor, ridge: float, strength: float, rank: int
) -> LowRank:
    """The update that moves what was taught and leaves alone what was known.

        delta W = strength * V^T K (K^T K + ridge * C)^-1, cut to `rank` where that costs least

    The cut is the one of reduced-rank regression (Izenman 1975): by what the update does to the
    rows, not by the size of its own singular values.

    Args:
        known: C, the mean of k k^T over what the base model knows, [width, width].
        ridge: how many rows of what was known a row of what was taught has to stand against.

    Raises:
        torch.linalg.LinAlgError: the sums are those of no rows.
    """
    gram = taught.gram + ridge * known
    gram = gram + 1e-6 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    factor = torch.linalg.cholesky(gram)
    update = strength * torch.cholesky_solve(taught.cross.T, factor).T
    fitted = strength * update @ taught.cross.T  # update @ gram @ update.T
    _, directions = torch.linalg.eigh((fitted + fitted.T) / 2)
    b = directions[:, -rank:].flip(1)
    return LowRank(b.float(), (b.T @ update).float())
