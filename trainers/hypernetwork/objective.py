"""What a hypernetwork learns by: answers that its adapters make likelier, and that differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from trainers.closed_form.evidence import Evidence


@dataclass(frozen=True, slots=True)
class Judge:
    """The end of a base model: the final norm and the output head, on the CPU in float32.

    Attributes:
        head: [vocabulary, outputs].
        scale: of the norm, [outputs].
        epsilon: of the norm.
    """

    head: torch.Tensor
    scale: torch.Tensor
    epsilon: float

    @classmethod
    def of(cls, model: Any) -> Judge:
        norm = model.model.norm
        head = model.get_output_embeddings().weight
        return cls(
            head.detach().float().cpu(), norm.weight.detach().float().cpu(), norm.variance_epsilon
        )

    def logits(self, evidence: Evidence, update: torch.Tensor | None) -> torch.Tensor:
        """[rows, vocabulary], with an update, [outputs, width], of the last `down_proj`."""
        states = evidence.states
        if update is not None:
            states = states + evidence.keys @ update.T
        size = states.pow(2).mean(-1, keepdim=True).add(self.epsilon).rsqrt()
        return (states * size * self.scale) @ self.head.T

    def loss(self, evidence: Evidence, update: torch.Tensor | None) -> torch.Tensor:
        """Mean loss of the right tokens, nats."""
        return F.cross_entropy(self.logits(evidence, update), evidence.tokens)

    def drift(self, evidence: Evidence, update: torch.Tensor) -> torch.Tensor:
        """Mean KL divergence from what the base model says, nats: zero where nothing changed."""
        with torch.no_grad():
            before = self.logits(evidence, None).log_softmax(-1)
        after = self.logits(evidence, update).log_softmax(-1)
        return F.kl_div(after, before, log_target=True, reduction="batchmean")


def mean_cosine(updates: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean cosine similarity of pairs of updates; 0 of fewer than two."""
    if len(updates) < 2:
        return torch.tensor(0.0)
    flat = F.normalize(torch.stack([update.flatten() for update in updates]), dim=-1)
    pairs = flat @ flat.T
    above = pairs[torch.triu_indices(len(flat), len(flat), offset=1).unbind()]
    return above.mean()
