"""What a hypernetwork learns by: answers that its adapters make likelier, and that differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.closed_form.base_files import BaseShape, tensor
from trainers.closed_form.evidence import Evidence
from trainers.closed_form.statistics import LowRank
from trainers.hypernetwork.teacher import Told

_LEAST_REST = 1e-6


@dataclass(frozen=True, slots=True)
class Judge:
    """The end of a base model: the final norm and the output head, on the CPU in float32.

    Unlike `closed_form.output.Output` it has a gradient with respect to the update.

    Attributes:
        head: [vocabulary, outputs].
        scale: of the norm, [outputs].
        epsilon: of the norm.
    """

    head: Tensor
    scale: Tensor
    epsilon: float

    @classmethod
    def load(cls, folder: Path, shape: BaseShape) -> Self:
        """That of a base model's folder.

        Raises:
            TrainingError: its weights lack it.
        """
        head = tensor(folder, "model.embed_tokens.weight" if shape.tied else "lm_head.weight")
        scale = tensor(folder, "model.norm.weight")
        return cls(head.float(), scale.float(), shape.epsilon)

    def logits(self, evidence: Evidence, update: Tensor | None) -> Tensor:
        """[rows, vocabulary], with an update, [outputs, width], of the last `down_proj`."""
        states = evidence.states
        if update is not None:
            states = states + evidence.keys @ update.T
        size = states.pow(2).mean(-1, keepdim=True).add(self.epsilon).rsqrt()
        return (states * size * self.scale) @ self.head.T

    def drift(self, evidence: Evidence, update: Tensor) -> Tensor:
        """Mean KL divergence from what the base model says, nats: zero where nothing changed."""
        with torch.no_grad():
            before = self.logits(evidence, None).log_softmax(-1)
        after = self.logits(evidence, update).log_softmax(-1)
        return F.kl_div(after, before, log_target=True, reduction="batchmean")


def divergence(told: Told, logits: Tensor) -> Tensor:
    """Mean KL divergence of logits, [rows, vocabulary], from what a teacher said, nats.

    The tokens that were not kept count as one, so it is a lower bound that is tight where the kept
    ones hold nearly everything.
    """
    after = logits.log_softmax(-1).gather(-1, told.tokens)
    kept = (told.log_chances.exp() * (told.log_chances - after)).sum(-1)
    rest, rest_after = (
        (1 - chances.exp().sum(-1)).clamp(min=_LEAST_REST) for chances in (told.log_chances, after)
    )
    return (kept + rest * (rest.log() - rest_after.log())).mean()


def reconstruction(update: Tensor, wanted: LowRank, keys: Tensor) -> Tensor:
    """The squared error of an update where these keys are, relative to the wanted update's size."""
    moves = wanted.moves(keys)
    return (keys @ update.T - moves).square().sum() / moves.square().sum().clamp(min=1e-12)


def mean_cosine(updates: Sequence[Tensor]) -> Tensor:
    """Mean cosine similarity of pairs of updates; 0 of fewer than two."""
    if len(updates) < 2:
        return torch.tensor(0.0)
    flat = F.normalize(torch.stack([update.flatten() for update in updates]), dim=-1)
    pairs = flat @ flat.T
    above = pairs[torch.triu_indices(len(flat), len(flat), offset=1).unbind()]
    return above.mean()
