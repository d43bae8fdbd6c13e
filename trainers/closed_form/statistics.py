"""The sums that a closed-form adapter follows from, and the ridge solve over them.

A row is a token of an answer: its key k, the input of a `down_proj`, and its value v, how that
projection's output should have moved. Everything that a project has taught is in two sums over its
rows, K^T K and V^T K. Sums are added where memories are consolidated and subtracted where a session
is forgotten. It is the associative-memory edit of ROME and MEMIT (Meng et al. 2022), used to distil
a trajectory. Where keys are wider than there are rows, the same update follows from the rows'
products with each other. Knows nothing of models or trajectories.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

STEADYING = 1e-6
"""Of the sums' mean diagonal: added to it, so that directions without any row stay at no change."""
_COLUMNS = 2048


@dataclass(frozen=True, slots=True)
class Statistics:
    """Sums over rows, float64.

    Attributes:
        gram: K^T K, [width, width].
        cross: V^T K, [outputs, width].
    """

    gram: Tensor
    cross: Tensor

    @classmethod
    def of(cls, keys: Tensor, values: Tensor) -> Statistics:
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

    b: Tensor
    a: Tensor

    @property
    def norm(self) -> float:
        """The update's Frobenius norm."""
        return float(((self.b.T @ self.b) * (self.a @ self.a.T)).sum().clamp(min=0).sqrt())

    def scaled(self, factor: float) -> LowRank:
        """So many times the update."""
        return LowRank(self.b * factor, self.a)

    def moves(self, keys: Tensor) -> Tensor:
        """What it adds to the projection's output, [rows, outputs]."""
        return (keys.float() @ self.a.T) @ self.b.T


def solve(taught: Statistics, known: Tensor, ridge: float, strength: float, rank: int) -> LowRank:
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
    gram.diagonal().add_(STEADYING * gram.diagonal().mean())
    update = torch.cholesky_solve(taught.cross.T, torch.linalg.cholesky(gram)).T
    return cut(update, gram, rank).scaled(strength)


def cut(update: Tensor, gram: Tensor, rank: int) -> LowRank:
    """The update of this rank that differs least in what it does to rows, float64.

    Args:
        update: [outputs, width].
        gram: K^T K of the rows' keys, [width, width].
    """
    b = _directions(update @ gram @ update.T, rank)
    return LowRank(b.float(), (b.T @ update).float())


@dataclass(frozen=True, slots=True)
class Products:
    """Every row's product with every other, taught and known ones: the sums' other side.

    With A the rows [K; sqrt(ridge) R] and Y their values, those of known rows zero,

        (A^T A + s I)^-1 A^T Y = A^T (A A^T + s I)^-1 Y

    so that nothing as large as [width, width] is ever made.

    Attributes:
        keys: the taught rows' keys, then those of what is known, R, [rows, width].
        values: of the taught rows, float64, [taught, outputs].
        gram: keys @ keys.T, float64, [rows, rows].
        rest: what the known rows leave of C, as a multiple of the identity.
    """

    keys: Tensor
    values: Tensor
    gram: Tensor
    rest: float

    @classmethod
    def of(cls, keys: Tensor, values: Tensor, known: Tensor, rest: float = 0.0) -> Products:
        """Those of the taught rows and of the known ones; C is known^T known + rest I."""
        rows = torch.cat([keys.float(), known.float()])
        return cls(rows, values.double(), products(rows), rest)

    def solve(
        self, ridge: float, strength: float, rank: int, used: Tensor | None = None
    ) -> LowRank:
        """What `statistics.solve` gives of the same rows.

        Args:
            used: the taught rows that count, by number; all by default.
        """
        taught, width = len(self.values), self.keys.shape[1]
        chosen = torch.arange(taught) if used is None else used
        rows = torch.cat([chosen, torch.arange(taught, len(self.keys))])
        weights = torch.ones(len(rows), dtype=torch.float64)
        weights[len(chosen) :] = ridge**0.5
        gram = self.gram[rows][:, rows] * weights * weights.unsqueeze(1)
        isotropic = ridge * self.rest
        steady = isotropic + STEADYING * (float(gram.diagonal().sum()) / width + isotropic)
        values = torch.zeros(len(rows), self.values.shape[1], dtype=torch.float64)
        values[: len(chosen)] = self.values[chosen]
        reached = gram @ values
        gram.diagonal().add_(steady)
        shares = torch.cholesky_solve(values, torch.linalg.cholesky(gram))
        b = _directions(reached.T @ shares, rank)
        mixed = (shares @ b * weights.unsqueeze(1)).T
        a = torch.cat([mixed @ part for part in exact_columns(self.keys[rows])], dim=1)
        return LowRank(strength * b.float(), a.float())


def _directions(fitted: Tensor, rank: int) -> Tensor:
    """The outputs in which the update moves the rows most, [outputs, rank], orthonormal."""
    directions: Tensor = torch.linalg.eigh((fitted + fitted.T) / 2).eigenvectors
    return directions[:, -rank:].flip(1)


def products(rows: Tensor) -> Tensor:
    """Every row's product with every other, float64."""
    gram = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    for part in exact_columns(rows):
        gram.addmm_(part, part.T)
    return gram


def exact_columns(rows: Tensor) -> Iterator[Tensor]:
    """Columns of the rows in float64, a part at a time: all at once they may not fit."""
    yield from (part.double() for part in torch.split(rows, _COLUMNS, dim=1))
