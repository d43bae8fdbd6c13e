"""Token by token: many rows at once, each with its own sampling, its own end, its own cancel.

`model.generate` shares one sampler and one stopping rule between the rows of a batch; here a
row's result does not depend on its neighbours. Knows a causal language model and token ids;
nothing of adapters, processes or JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from transformers import DynamicCache

from rune_engine.inference.provider import GenerationRequest

TokensToText = Callable[[Sequence[int]], str]


@dataclass(slots=True, eq=False)
class Row:
    """One completion in the making; `prompt` and `tokens` are token ids."""

    prompt: list[int]
    request: GenerationRequest
    limit: int
    cancelled: Callable[[], bool]
    tokens: list[int] = field(default_factory=list)
    finish_reason: Literal["stop", "length"] | None = None
    _generator: torch.Generator | None = None

    def pick(self, logits: torch.Tensor) -> int:
        """Sample from one row of logits with this row's own generator."""
        if self._generator is None:
            self._generator = torch.Generator().manual_seed(self.request.seed)
        chances = torch.softmax(logits.float().cpu() / self.request.temperature, dim=-1)
        if self.request.top_p < 1.0:
            chances = _nucleus(chances, self.request.top_p)
        return int(torch.multinomial(chances, 1, generator=self._generator).item())


def _nucleus(chances: torch.Tensor, top_p: float) -> torch.Tensor:
    """Zero what lies outside the smallest set whose probability reaches `top_p`."""
    ordered, order = chances.sort(descending=True)
    ordered[ordered.cumsum(-1) - ordered > top_p] = 0.0
    return torch.zeros_like(chances).scatter(-1, order, ordered)


class Decoder:
    """The decode loop over one model, with a key-value cache.

    Args:
        model: a causal language model in evaluation mode.
        stop_ids: token ids that end a completion.
        to_text: decodes token ids, special tokens left out.
    """

    def __init__(self, model: Any, stop_ids: frozenset[int], to_text: TokensToText) -> None:
        self._model = model
        self._stop_ids = stop_ids
        self._to_text = to_text

    @torch.inference_mode()
    def complete(self, rows: Sequence[Row]) -> None:
        """Decode every row, in place, until it ends or is cancelled."""
        active = [row for row in rows if not row.cancelled()]
        if not active:
            return
        ids, mask = self._left_padded(active)
        cache = DynamicCache(config=self._model.config)
        while True:
            logits = self._forward(ids, mask, cache)
            picked = self._pick(active, logits)
            keep = [i for i, row in enumerate(active) if self._goes_on(row, picked[i])]
            if not keep:
                return
            if len(keep) < len(active):
                index = torch.tensor(keep, device=mask.device)
                cache.batch_select_indices(index)
                mask = mask[index]
                active = [active[i] for i in keep]
            ids = torch.tensor([[row.tokens[-1]] for row in active], device=mask.device)
            mask = torch.cat([mask, mask.new_ones(len(active), 1)], dim=1)

    def text(self, row: Row) -> str:
        """A finished row's text, without the stop string that ended it."""
        text = self._to_text(row.tokens)
        found = [at for stop in row.request.stop if (at := text.find(stop)) >= 0]
        return text[: min(found, default=len(text))]

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

    @staticmethod
    def _pick(rows: Sequence[Row], logits: torch.Tensor) -> list[int]:
        best = logits.argmax(dim=-1).tolist()
        return [
            row.pick(logits[i]) if row.request.temperature > 0 else int(best[i])
            for i, row in enumerate(rows)
        ]

    def _goes_on(self, row: Row, token: int) -> bool:
        """Give the row its token; False when that, or a cancel, ends it."""
        row.tokens.append(token)
        if token in self._stop_ids or self._said_stop(row):
            row.finish_reason = "stop"
        elif len(row.tokens) >= row.limit:
            row.finish_reason = "length"
        return row.finish_reason is None and not row.cancelled()

    def _said_stop(self, row: Row) -> bool:
        """Whether the text now holds a stop string; each token is a byte of text or more."""
        if not row.request.stop:
            return False
        window = max(len(stop.encode()) for stop in row.request.stop) + 1
        tail = self._to_text(row.tokens[-window:])
        return any(stop in tail for stop in row.request.stop)
