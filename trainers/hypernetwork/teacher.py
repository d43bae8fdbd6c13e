"""The base model with a project's sessions in its prompt: what its memory should make it say.

Context distillation (Snell et al. 2022): an adapter is taught to say without the sessions what the
base model says with them. Only its likeliest tokens are kept of each position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedTokenizerBase

import prompts
from project_worlds import Task
from trainers.tokens import IGNORED, Example, encode


@dataclass(frozen=True, slots=True)
class Told:
    """What was said at each row.

    Attributes:
        tokens: the likeliest, [rows, most].
        log_chances: theirs, nats, float32, [rows, most].
    """

    tokens: torch.Tensor
    log_chances: torch.Tensor


class Teacher:
    """A base model that is shown sessions, and then asked.

    Args:
        model: a causal language model.
        longest: tokens that it can read at once; the oldest sessions are left out for the others.
    """

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase, longest: int) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._longest = longest

    @torch.no_grad()
    def tell(self, shown: Sequence[Task], asked: Sequence[Task], most: int) -> Told:
        """What it says at every token of the asked tasks' right answers, end tokens included.

        The sessions are read once; each question goes on from there.
        """
        examples = self._examples(shown, asked)
        begin = _shared([example.ids for example in examples])
        # The state before an answer's first token has to be the question's own.
        begin = min(begin, *(_first(example) - 1 for example in examples))
        past = DynamicCache()
        if begin:
            ids = torch.tensor([examples[0].ids[:begin]], device=self._model.device)
            self._model.model(input_ids=ids, past_key_values=past, use_cache=True)
        parts = [self._one(example, begin, past, most) for example in examples]
        return Told(
            torch.cat([part.tokens for part in parts]),
            torch.cat([part.log_chances for part in parts]),
        )

    def _one(self, example: Example, begin: int, past: DynamicCache, most: int) -> Told:
        ids = torch.tensor([example.ids[begin:]], device=self._model.device)
        states = self._model.model(
            input_ids=ids, past_key_values=past, use_cache=True
        ).last_hidden_state[0]
        past.crop(-len(example.ids[begin:]))
        labels = torch.tensor(example.labels[begin + 1 :])
        states = states[:-1][(labels != IGNORED).to(states.device)]
        logits = self._model.get_output_embeddings()(states).float()
        found = logits.log_softmax(-1).topk(min(most, logits.shape[-1]))
        return Told(found.indices.cpu(), found.values.cpu())

    def _examples(self, shown: Sequence[Task], asked: Sequence[Task]) -> list[Example]:
        """Every question after as many of the sessions as fit before each of them."""
        for first in range(len(shown) + 1):
            examples = [self._example(shown[first:], task, self._longest + 1) for task in asked]
            if all(len(example.ids) <= self._longest for example in examples):
                return examples
        return [self._example((), task, self._longest) for task in asked]

    def _example(self, shown: Sequence[Task], asked: Task, longest: int) -> Example:
        messages = prompts.conversation(asked.description)
        for task in reversed(shown):
            question = prompts.conversation(task.description)[1:]
            answer = {"role": "assistant", "content": _answer(task)}
            messages = [messages[0], *question, answer, *messages[1:]]
        return encode(self._tokenizer, messages, _answer(asked), longest)


def _answer(task: Task) -> str:
    return prompts.render("answer", code=task.solution)


def _first(example: Example) -> int:
    """Where the answer begins."""
    return next(i for i, label in enumerate(example.labels) if label != IGNORED)


def _shared(sequences: Sequence[Sequence[int]]) -> int:
    """How long their common beginning is."""
    same = takewhile(lambda column: len(set(column)) == 1, zip(*sequences, strict=False))
    return sum(1 for _ in same)
