"""What one forward pass over a trajectory says: keys, last states and the tokens that were right.

Each example is read alone, as it will be asked later. A row is a token of its answer, taken at the
position before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

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

    def spread(self, most: int) -> Evidence:
        """At most so many of the rows, spread evenly."""
        if len(self) <= most:
            return self
        chosen = torch.linspace(0, len(self) - 1, most, dtype=torch.float64).round().long()
        return Evidence(self.keys[chosen], self.states[chosen], self.tokens[chosen])


class Reader:
    """A base model's last layer, read from outside.

    Args:
        model: a causal language model of Qwen2's shape; see `base_files.shape_of`.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._tapped = (model.model.layers[-1].mlp.down_proj, model.model.norm)

    @classmethod
    def load(cls, folder: Path, device: str, dtype: torch.dtype) -> Reader:
        """The model of a folder, frozen."""
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            attn_implementation="sdpa",
        )
        return cls(model.requires_grad_(False).to(device))

    @torch.no_grad()
    def read(self, examples: Sequence[Example]) -> Evidence:
        """One forward pass for each example; float32, in the machine's memory."""
        return Evidence.joined([self._one(example) for example in examples])

    def _one(self, example: Example) -> Evidence:
        ids = torch.tensor([example.ids], device=self.model.device)
        labels = torch.tensor(example.labels[1:])
        wanted = labels != IGNORED
        with self._inputs() as taken:
            self.model.model(input_ids=ids, use_cache=False)
        keys, states = (rows[0, :-1].cpu()[wanted].float() for rows in taken)
        return Evidence(keys, states, labels[wanted])

    @contextmanager
    def _inputs(self) -> Iterator[list[torch.Tensor]]:
        """The inputs of the projection and of the final norm, in this order."""
        taken: list[torch.Tensor] = []

        def take(_module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
            taken.append(inputs[0])

        hooks = [each.register_forward_pre_hook(take) for each in self._tapped]
        try:
            yield taken
        finally:
            for hook in hooks:
                hook.remove()
