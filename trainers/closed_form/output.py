"""The end of a base model, its final norm and output embedding: what a last state says.

Read from the model's folder alone, so that what was read before needs no model. Computes in
float32, and widens an embedding that is kept narrower a block at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from trainers.closed_form.base_files import BaseShape, tensor
from trainers.closed_form.evidence import Evidence

LOGITS = 32 * 1024 * 1024
"""Logits at a time, and numbers of a block of the embedding: 128 MiB in float32."""


class Output:
    """A final RMS norm and an output embedding.

    Args:
        scale: the norm's weight, [hidden size].
        head: the output embedding, [vocabulary, hidden size]; computed on its device.
        epsilon: the norm's.
    """

    def __init__(self, scale: Tensor, head: Tensor, epsilon: float) -> None:
        self._scale = scale.float().to(head.device)
        self._head = head
        self._epsilon = epsilon

    @classmethod
    def load(cls, folder: Path, shape: BaseShape, device: str) -> Output:
        """Those of a base model's folder.

        Raises:
            TrainingError: its weights lack them.
        """
        head = "model.embed_tokens.weight" if shape.tied else "lm_head.weight"
        scale = tensor(folder, "model.norm.weight")
        return cls(scale, tensor(folder, head).to(device), shape.epsilon)

    @classmethod
    def of(cls, model: Any) -> Output:
        """Those of a model that is loaded."""
        norm = model.model.norm
        head = model.get_output_embeddings().weight.detach()
        return cls(norm.weight.detach(), head, norm.variance_epsilon)

    def embeddings(self, tokens: Tensor) -> Tensor:
        """The output embeddings of tokens, [rows, hidden size]."""
        return self._head[tokens.to(self._head.device)].float().cpu()

    @torch.no_grad()
    def values(self, evidence: Evidence) -> Tensor:
        """How the last states should have moved, [rows, hidden size].

        The embedding of the right token less the one that was predicted on average: the negative
        gradient of the loss at the last state, but for the norm's own size.
        """
        parts = []
        for states, tokens in self._chunks(evidence):
            chances = self._logits(states).softmax(-1)
            chances[torch.arange(len(tokens), device=tokens.device), tokens] -= 1.0
            mean = torch.zeros_like(states)
            for start, block in self._blocks():
                mean += chances[:, start : start + len(block)] @ block
            parts.append((-mean * self._scale).cpu())
        return torch.cat(parts)

    @torch.no_grad()
    def losses(self, evidence: Evidence, moved: Tensor | None = None) -> Tensor:
        """The loss of each token, [rows], with the last states moved by [rows, hidden size]."""
        parts, start = [], 0
        for states, tokens in self._chunks(evidence):
            if moved is not None:
                states = states + moved[start : start + len(states)].to(states.device)
            start += len(states)
            parts.append(cross_entropy(self._logits(states), tokens, reduction="none").cpu())
        return torch.cat(parts)

    def unit(self, evidence: Evidence) -> float:
        """By how many nats a value, added to its own last state, raises the right token's margin.

        The mean over the tokens that were thought less likely than not, if there are any. Never 0,
        so that one may divide by it.
        """
        sizes = self.values(evidence).square().sum(-1)
        nats = sizes / (evidence.states.square().mean(-1) + self._epsilon).sqrt()
        surprising = self.losses(evidence) > math.log(2)
        chosen = nats[surprising] if surprising.any() else nats
        return max(float(chosen.mean()), 1e-9)

    def _logits(self, states: Tensor) -> Tensor:
        size = (states.square().mean(-1, keepdim=True) + self._epsilon).rsqrt()
        normed = states * size * self._scale
        return torch.cat([normed @ block.T for _, block in self._blocks()], dim=-1)

    def _chunks(self, evidence: Evidence) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows that a vocabulary's logits fit into memory for."""
        size, device = max(16, LOGITS // self._head.shape[0]), self._head.device
        parts = torch.split(evidence.states, size), torch.split(evidence.tokens, size)
        yield from (
            (states.float().to(device), tokens.to(device))
            for states, tokens in zip(*parts, strict=True)
        )

    def _blocks(self) -> Iterator[tuple[int, Tensor]]:
        """The embedding in float32, in parts, and where each begins."""
        start = 0
        for block in torch.split(self._head, max(1, LOGITS // self._head.shape[1])):
            yield start, block.float()
            start += len(block)
