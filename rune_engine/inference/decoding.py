"""Token by token: many rows at once, each with its own sampling, its own end, its own cancel.

`model.generate` shares one sampler and one stopping rule between the rows of a batch; here a
row's result does not depend on its neighbours. Knows a causal language model and token ids;
nothing of adapters, processes or JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache

from rune_engine.inference.rows import Row


class Decoder:
    """The decode loop over one model, with a key-value cache.

    Args:
        model: a causal language model in evaluation mode.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._rows: list[Row] = []
        self._cache: DynamicCache | None = None
        self._ids = torch.empty(0)
        self._mask = torch.empty(0)

    @property
    def rows(self) -> Sequence[Row]:
        """The rows that are being decoded, those that wait for the first step included."""
        return self._rows

    @property
    def started(self) -> bool:
        """Whether the rows' prompts have been read: others have to wait for their end."""
        return self._cache is not None

    def add(self, row: Row) -> None:
        """Let a row join before the first step."""
        self._rows.append(row)

    def clear(self) -> None:
        """Forget every row."""
        self._rows, self._cache = [], None

    @torch.inference_mode()
    def step(self) -> list[Row]:
        """One token for every row; those that ended leave, and are returned."""
        if self._cache is None:
            self._cache = DynamicCache(config=self._model.config)
            self._ids, self._mask = self._left_padded(self._rows)
        _pick(self._rows, self._forward(self._ids, self._mask, self._cache))
        ended = [row for row in self._rows if row.ended]
        keep = [i for i, row in enumerate(self._rows) if not row.ended]
        self._rows = [self._rows[i] for i in keep]
        if not keep:
            self.clear()
            return ended
        if ended:
            index = torch.tensor(keep, device=self._mask.device)
            self._cache.batch_select_indices(index)
            self._mask = self._mask[index]
        device = self._mask.device
        self._ids = torch.tensor([[row.tokens[-1]] for row in self._rows], device=device)
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(keep), 1)], dim=1)
        return ended

    def _left_padded(self, rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor]:
        """Prompts as [rows, longest prompt], and the mask of what is not padding."""
        width = max(len(row.prompt) for row in rows)
        padding = [width - len(row.prompt) for row in rows]
        ids = [[0] * pad + row.prompt for pad, row in zip(padding, rows, strict=True)]
        mask = [[0] * pad + [1] * (width - pad) for pad in padding]
        device = self._model.device
        return torch.tensor(ids, device=device), torch.tensor(mask, device=device)

    def _forward(self, ids: torch.Tensor, mask: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
        """The next token's logits, [rows, vocabulary]."""
        positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        output = self._model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits


def _pick(rows: Sequence[Row], logits: torch.Tensor) -> None:
    """Give every row its next token of `logits`, [rows, vocabulary]."""
    best = logits.argmax(dim=-1).tolist()
    for i, row in enumerate(rows):
        token = _sample(row, logits[i]) if row.request.temperature > 0 else int(best[i])
        row.accept(token, _logprob(logits[i], token) if row.request.logprobs else None)


def _logprob(logits: torch.Tensor, token: int) -> float:
    values = logits.float()
    return float(values[token] - values.logsumexp(-1))


def _sample(row: Row, logits: torch.Tensor) -> int:
    """Sample from one row of logits with the row's own generator."""
    if row.sampler is None:
        row.sampler = torch.Generator().manual_seed(row.request.seed)
    chances = torch.softmax(logits.float().cpu() / row.request.temperature, dim=-1)
    if row.request.top_p < 1.0:
        chances = _nucleus(chances, row.request.top_p)
    return int(torch.multinomial(chances, 1, generator=row.sampler).item())


def _nucleus(chances: torch.Tensor, top_p: float) -> torch.Tensor:
    """Zero what lies outside the smallest set whose probability reaches `top_p`."""
    ordered, order = chances.sort(descending=True)
    ordered[ordered.cumsum(-1) - ordered > top_p] = 0.0
    return torch.zeros_like(chances).scatter(-1, order, ordered)
