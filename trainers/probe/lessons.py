"""Teaches an adapter one answer that nothing cached can give, just well enough.

Well enough is a greedy answer by clear margins at probabilities that still tell the scale that the
adapter is applied at: a back-end that doubled or halved it would say the same words, not with the
same log-probabilities.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rune_engine.errors import TrainingError
from trainers import lora
from trainers.tokens import IGNORED, Example, encode

_WORDS = ("value", "index", "total", "items", "name", "count", "result", "first", "last", "order")
_DRAWS = 50
_STEPS = 150
_LOSS = -math.log(0.7)
"""Of every token of the answer, at most."""
_LESSONS = 4
_TELLING = 0.3
"""How far some token's log-probability has to move at twice and at half the scale."""
_HALVINGS = 8
_EQUAL = 0.99


@dataclass(frozen=True, slots=True)
class Taught:
    """What was learnt, and how long it took."""

    answer: str
    steps: int


class Lessons:
    """Teaches `model`, whose fresh adapter changes nothing yet.

    Args:
        question: the user message that is answered.
        seed: of the answer.
    """

    def __init__(self, model: Any, tokenizer: Any, question: str, seed: int) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._messages = [{"role": "user", "content": question}]
        self._chance = random.Random(seed)
        self._weights: list[torch.nn.Parameter] = lora.trainable(model)
        self._fresh = [weight.detach().clone() for weight in self._weights]
        self._ups = [weight for name, weight in model.named_parameters() if "lora_B" in name]
        example = encode(tokenizer, self._messages, "")
        self.prompt: list[int] = example.ids[: example.labels.count(IGNORED)]

    def teach(self) -> Taught:
        """Teach an answer that tells the adapter's scale; the last one tried if none does.

        Raises:
            TrainingError: it could not be learnt.
        """
        for _ in range(_LESSONS):
            answer, example = self._draw()
            self._set(self._weights, self._fresh)
            steps = self._learn(example)
            self._weaken(example)
            if self._tells_its_scale(example):
                break
        return Taught(answer, steps)

    def _draw(self) -> tuple[str, Example]:
        """An answer whose tokens can be told from all others, if one is found."""
        for _ in range(_DRAWS):
            answer = " ".join(self._chance.sample(_WORDS, 3))
            example = encode(self._tokenizer, self._messages, answer)
            if self._is_distinct([label for label in example.labels if label != IGNORED]):
                break
        return answer, example

    @torch.no_grad()
    def _is_distinct(self, tokens: Sequence[int]) -> bool:
        """Whether no token's output row equals another's, as those of tokens never seen do."""
        rows = self._model.get_output_embeddings().weight.float()
        rows = torch.nn.functional.normalize(rows, dim=1)
        close = (rows[list(tokens)] @ rows.T > _EQUAL).sum(dim=1)
        return bool((close == 1).all())

    def _learn(self, example: Example) -> int:
        """Train until every token of the answer is likely; the number of steps."""
        optimizer = torch.optim.AdamW(self._weights, lr=1e-3, weight_decay=0.0)
        for step in range(_STEPS):
            losses = self._losses(example)
            unlikely = losses[losses > _LOSS]
            if not len(unlikely):
                return step
            unlikely.mean().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        raise TrainingError(
            f"An adapter did not learn one answer in {_STEPS} steps.",
            next_step="The device's arithmetic, or the base model, is not right.",
        )

    def _losses(self, example: Example) -> torch.Tensor:
        """The answer's negative log-probabilities, token by token."""
        device = self._weights[0].device
        ids = torch.tensor([example.ids], device=device)
        labels = torch.tensor(example.labels, device=device)[1:]
        answer = labels != IGNORED
        logits: torch.Tensor = self._model(ids).logits[0, :-1][answer].float()
        return torch.nn.functional.cross_entropy(logits, labels[answer], reduction="none")

    @torch.no_grad()
    def _weaken(self, example: Example) -> None:
        """Scale the adapter down until the answer is only just likely."""
        whole = [weight.clone() for weight in self._ups]
        too_little, enough = 0.0, 1.0
        for _ in range(_HALVINGS):
            middle = (too_little + enough) / 2
            likely = bool((self._losses_at(middle, whole, example) <= _LOSS).all())
            too_little, enough = (too_little, middle) if likely else (middle, enough)
        self._set(self._ups, [weight * enough for weight in whole])

    @torch.no_grad()
    def _tells_its_scale(self, example: Example) -> bool:
        whole = [weight.clone() for weight in self._ups]
        right = self._losses(example)
        moves = [
            float((self._losses_at(scale, whole, example) - right).abs().max())
            for scale in (2.0, 0.5)
        ]
        self._set(self._ups, whole)
        return min(moves) >= _TELLING

    def _losses_at(
        self, scale: float, whole: Sequence[torch.Tensor], example: Example
    ) -> torch.Tensor:
        self._set(self._ups, [weight * scale for weight in whole])
        return self._losses(example)

    @torch.no_grad()
    def _set(self, weights: Sequence[torch.Tensor], values: Sequence[torch.Tensor]) -> None:
        for weight, value in zip(weights, values, strict=True):
            weight.copy_(value)
