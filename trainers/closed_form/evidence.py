"""What one forward pass over a trajectory says: keys, last states and the tokens that were right.

Each example is read alone, as it will be asked later. A row is a token of its answer, taken at the
position before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from rune_engine.errors import TrainingError
from trainers.tokens import IGNORED, Example


@dataclass(frozen=True, slots=True)
class Evidence:
    """Rows of one or more examples.

    Attributes:
        keys: inputs of the last layer's `down_proj`, [rows, intermediate size].
        states: what the final norm reads, [rows, hidden size].
        tokens: the token that was right, [rows].
    """

    keys: torch.Tensor
    states: torch.Tensor
    tokens: torch.Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    @classmethod
    def joined(cls, parts: Sequence[Evidence]) -> Evidence:
        """All rows of several."""
        return cls(
            torch.cat([part.keys for part in parts]),
            torch.cat([part.states for part in parts]),
            torch.cat([part.tokens for part in parts]),
        )


class Reader:
    """A base model's last layer, read from outside.

    Args:
        model: a Qwen2-shaped causal language model.

    Raises:
        TrainingError: it has no `model.layers[-1].mlp.down_proj`, `model.norm` and output head.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        try:
            self._down = model.model.layers[-1].mlp.down_proj
            self._norm = model.model.norm
            self._head = model.get_output_embeddings().weight
        except AttributeError as error:
            raise TrainingError(
                f"{type(model).__name__} is not shaped like Qwen2: {error}",
                next_step="Distill with the method `lora`, which takes any model.",
            ) from error

    @property
    def module(self) -> str:
        """The name of the projection that is updated, as PEFT's configuration has it."""
        return f"model.layers.{len(self._model.model.layers) - 1}.mlp.down_proj"

    @torch.inference_mode()
    def read(self, examples: Sequence[Example]) -> Evidence:
        """One forward pass for each example."""
        return Evidence.joined([self._one(example) for example in examples])

    def _one(self, example: Example) -> Evidence:
        ids = torch.tensor([example.ids], device=self._model.device)
        labels = torch.tensor(example.labels[1:])
        wanted = labels != IGNORED
        with self._tapped() as taken:
            self._model.model(input_ids=ids, use_cache=False)
        keys, states = (rows[0, :-1].cpu()[wanted].float() for rows in taken)
        return Evidence(keys, states, labels[wanted])

    @contextmanager
    def _tapped(self) -> Iterator[list[torch.Tensor]]:
        """The inputs of the projection and of the final norm, in this order."""
        taken: list[torch.Tensor] = []

        def take(_module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
            taken.append(inputs[0])

        hooks = [each.register_forward_pre_hook(take) for each in (self._down, self._norm)]
        try:
            yield taken
        finally:
            for hook in hooks:
                hook.remove()

    @torch.inference_mode()
    def embeddings(self, tokens: torch.Tensor) -> torch.Tensor:
        """The output embeddings of tokens, [rows, hidden size]."""
        return self._head.cpu()[tokens].float()

    @torch.inference_mode()
    def values(self, evidence: Evidence) -> torch.Tensor:
        """How the last states should have moved, [rows, hidden size].

        The embedding of the right token less the one that was predicted on average: the negative
        gradient of the loss at the last state, but for the norm's own size.
        """
        scale = self._norm.weight.float().cpu()
        parts = []
        for states, tokens in self._chunks(evidence):
            head, chances = self._head.float().cpu(), self._logits(states).softmax(-1)
            parts.append((head[tokens] - chances @ head) * scale)
        return torch.cat(parts)

    @torch.inference_mode()
    def losses(self, evidence: Evidence, moved: torch.Tensor | None = None) -> torch.Tensor:
        """The loss of each token, [rows], with the last states moved by [rows, hidden size]."""
        parts, start = [], 0
        for states, tokens in self._chunks(evidence):
            if moved is not None:
                states = states + moved[start : start + len(states)]
            start += len(states)
            parts.append(
                torch.nn.functional.cross_entropy(self._logits(states), tokens, reduction="none")
            )
        return torch.cat(parts)

    def _logits(self, states: torch.Tensor) -> torch.Tensor:
        dtype = self._head.dtype
        normed = self._norm(states.to(self._head.device, dtype))
        return (normed @ self._head.T).float().cpu()

    def _chunks(self, evidence: Evidence) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Rows that a vocabulary's logits fit into memory for."""
        size = max(16, _LOGITS // self._head.shape[0])
        yield from zip(evidence.states.split(size), evidence.tokens.split(size), strict=True)


_LOGITS = 32 * 1024 * 1024
"""Logits at a time: 128 MiB in float32."""
