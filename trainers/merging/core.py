"""Core space: what several LoRA updates of one module share, as small as their ranks allow.

The parents' B lie side by side in one matrix, their A one below the other; a QR of each gives
bases that hold every parent whole, and each parent is a small core between them (Core Space
merging, Panariello et al. 2025, arXiv 2509.17786). There the bases are the singular vectors of
those two stacks, which follow from how a product is split into its factors. Here they are turned
to the singular vectors of the updates themselves side by side and one below the other (De Lathauwer
et al. 2000), so that neither the order of the parents nor the split matters. On a side where
the ranks together reach the module's own size the basis is the identity: with both, a core's
entries are the whole matrix's own. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.closed_form.statistics import LowRank

ROUNDING = 1e-7
"""Singular values below so much of the whole are those of float32 rounding."""


@dataclass(frozen=True, slots=True)
class Cut:
    """An update at some rank, and the sum of squares that the cut to it has lost."""

    update: LowRank
    lost: float


@dataclass(frozen=True, slots=True)
class CoreSpace:
    """Bases, and cores between them: each update is `left @ core @ right.T`. All in float64.

    Attributes:
        left: [outputs, p], orthonormal columns.
        right: [inputs, q], orthonormal columns.
        cores: one for each update, [p, q].
    """

    left: Tensor
    right: Tensor
    cores: list[Tensor]

    @classmethod
    def of(cls, updates: Sequence[LowRank]) -> CoreSpace:
        """The space of these updates of one module."""
        left, bs = _basis(torch.cat([update.b.double() for update in updates], dim=1))
        right, as_ = _basis(torch.cat([update.a.double() for update in updates]).T)
        ranks = [len(update.a) for update in updates]
        pairs = zip(torch.split(bs, ranks, dim=1), torch.split(as_, ranks, dim=1), strict=True)
        cores = [b @ a.T for b, a in pairs]
        if left.shape[0] > left.shape[1]:
            turned = _directions(torch.cat(cores, dim=1))
            left, cores = left @ turned, [turned.T @ core for core in cores]
        if right.shape[0] > right.shape[1]:
            turned = _directions(torch.cat(cores).T)
            right, cores = right @ turned, [core @ turned for core in cores]
        return cls(left, right, cores)

    def back(self, core: Tensor, rank: int | None = None) -> Cut:
        """The update that a core means, of no more rank than it needs or than is wanted."""
        u, sizes, vh = torch.linalg.svd(core, full_matrices=False)
        # By the parents' size: where they cancel out, what is left is rounding as a whole.
        largest = max(float(each.norm()) for each in self.cores)
        needed = int((sizes > ROUNDING * largest).sum())
        kept = needed if rank is None else min(rank, needed)
        root = sizes[:kept].sqrt()
        b = (self.left @ u[:, :kept]) * root
        a = root.unsqueeze(1) * (vh[:kept] @ self.right.T)
        return Cut(LowRank(b.float(), a.float()), float(sizes[kept:].square().sum()))


def _basis(stack: Tensor) -> tuple[Tensor, Tensor]:
    """An orthonormal basis of the columns, and the columns in it."""
    if stack.shape[0] <= stack.shape[1]:
        return torch.eye(len(stack), dtype=stack.dtype), stack
    basis, inside = torch.linalg.qr(stack)
    return basis, inside


def _directions(columns: Tensor) -> Tensor:
    """The left singular vectors of the columns, without those that hold nothing; at least one."""
    u, sizes, _ = torch.linalg.svd(columns, full_matrices=False)
    directions: Tensor = u[:, : max(1, int((sizes > ROUNDING * sizes[:1].sum()).sum()))]
    return directions
