"""What is done with the parents' matrices: a sum, or PEFT's own methods; on cores or whole ones."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.lean_peft import without_4_bits


@dataclass(frozen=True, slots=True)
class Method:
    """One of `models.WEIGHT_METHODS` and its settings.

    Attributes:
        weights: how much each parent counts, see `MergeSettings`.
        density: the share of each parent's numbers that TIES and DARE keep.
    """

    name: str
    weights: tuple[float, ...]
    density: float = 0.5
    seed: int = 0

    def combine(self, matrices: Sequence[Tensor], place: str) -> Tensor:
        """The parents' matrices, of one shape, as one.

        Args:
            place: the module's name; what DARE drops there follows from it and from the seed.
        """
        weights = torch.tensor(self.weights, dtype=matrices[0].dtype)
        if self.name == "linear":
            return (weights.view(-1, 1, 1) * torch.stack(list(matrices))).sum(0)
        if self.name in ("ties", "dare_ties"):
            # A mean over those that agree: PEFT divides by their number.
            weights = weights * len(matrices)
        with without_4_bits():
            from peft.utils import merge_utils
        combine = getattr(merge_utils, self.name)
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.filterwarnings("ignore", message="The density")
            torch.manual_seed(_seed(self.seed, place))
            merged: Tensor = combine(list(matrices), weights, self.density)
        return merged


def _seed(seed: int, place: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {place}".encode()).digest()[:7], "big")
