"""Prompts being read: rows of one adapter together, a part at a time.

What is left of a long prompt waits while others decode. Runs in the worker process only; knows a
causal language model, token ids and caches; nothing of requests, processes or JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import Cache

from rune_engine.inference.rows import Row


@dataclass(slots=True, eq=False)
class Seat:
    """A row at the model: its adapter's key, and how many of its tokens the model has read.

    `left` is set when its end has been told: a row that is cancelled has ended before that.
    """

    row: Row
    key: str | None
    read: int = 0
    left: bool = False

    def leaves(self) -> bool:
        """Whether the row has ended, which is told once."""
        self.left = self.row.ended
        return self.left


class Reading:
    """Some rows' prompts; equal ones are read once.

    Args:
        model: the language model, with the rows' adapter selected whenever `advance` is called.
        seats: rows of one adapter, of one prompt where the cache has read something.
        cache: has read the first `start` tokens of each of them.
    """

    def __init__(self, model: Any, seats: Sequence[Seat], cache: Cache, start: int = 0) -> None:
        self._model = model
        self.seats = list(seats)
        self.cache = cache
        self._start = self._column = start
        prompts: dict[tuple[int, ...], int] = {}
        self.rows = [prompts.setdefault(tuple(s.row.prompt), len(prompts)) for s in seats]
        self._ids, self._padding = _left_padded(list(prompts), start, model.device)
        self._logits: torch.Tensor | None = None

    @property
    def key(self) -> str | None:
        return self.seats[0].key

    @property
    def logits(self) -> torch.Tensor | None:
        """Of each seat's next token, [seats, vocabulary], once everything is read."""
        return None if self._logits is None else self._logits[self.rows]

    def advance(self, tokens: int) -> int:
        """Read about that many tokens; returns how many it were."""
        count, width = self._ids.shape
        begin = self._column
        end = min(self._start + width, begin + max(1, tokens // count))
        columns = torch.arange(end, device=self._ids.device)
        if self._padding is None:
            mask, positions = None, columns[begin:].expand(count, -1)
        else:
            mask = columns >= self._padding
            positions = (columns[begin:] - self._padding).clamp(min=0)
        ids = self._ids[:, begin - self._start : end - self._start]
        logits = forward(self._model, ids, mask, positions, self.cache)
        self._column = end
        if end == self._start + width:
            self._logits = logits
            for seat in self.seats:
                seat.read = len(seat.row.prompt)
        return (end - begin) * count


def forward(
    model: Any,
    ids: torch.Tensor,
    mask: torch.Tensor | None,
    positions: torch.Tensor,
    cache: Cache,
) -> torch.Tensor:
    """The logits after the last column of `ids`, [rows, vocabulary]; the cache grows."""
    output = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    logits: torch.Tensor = output.logits[:, -1]
    return logits


def _left_padded(
    prompts: Sequence[Sequence[int]], start: int, device: Any
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What is left to read, [prompts, longest], and the padding before each, [prompts, 1]."""
    width = max(map(len, prompts))
    padding = [[width - len(prompt)] for prompt in prompts]
    ids = [[0] * pad + list(prompt[start:]) for [pad], prompt in zip(padding, prompts, strict=True)]
    padded = torch.tensor(padding, device=device) if any(pad for [pad] in padding) else None
    return torch.tensor(ids, device=device), padded
