"""Conversations as token ids, with a mask over what is learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from trainers import head

IGNORED = -100
"""The label of a position that carries no loss."""


_LENGTH_STEP = 32
"""Lengths are rounded up: a processor's matrix library compiles a kernel for every new shape, which
costs several times the product itself when each step has its own."""


@dataclass(frozen=True, slots=True)
class Example:
    """One training example: token ids and, of equal length, labels (IGNORED outside the answer)."""

    ids: list[int]
    labels: list[int]


@dataclass(frozen=True, slots=True)
class Batch:
    """Right-padded examples: `ids` and `labels` are (batch, length) int64."""

    ids: torch.Tensor
    labels: torch.Tensor


def encode(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[dict[str, str]],
    answer: str,
    max_length: int = 1024,
) -> Example:
    """An example whose loss is on the assistant's answer and its end token alone.

    A conversation that is too long loses its beginning, never its answer. Recorded text that spells
    a special token is taken apart, as it is when the model is asked: it cannot end its turn, nor
    teach the model to obey a turn that it forged.
    """
    plain = [{**message, "content": _apart(tokenizer, message["content"])} for message in messages]
    text = tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=True)
    prompt = tokenizer.encode(text, add_special_tokens=False)
    answered = tokenizer.encode(_apart(tokenizer, answer), add_special_tokens=False)
    target = [*answered, tokenizer.eos_token_id]
    prompt = prompt[-max(1, max_length - len(target)) :]
    return Example(prompt + target, [IGNORED] * len(prompt) + target)


def _apart(tokenizer: PreTrainedTokenizerBase, content: str) -> str:
    """The content with a space inside each special token that it spells."""
    for token in tokenizer.all_special_tokens:
        if len(token) > 1:
            content = content.replace(token, f"{token[0]} {token[1:]}")
    return content


def collate(examples: Sequence[Example], pad_id: int) -> Batch:
    """Pad on the right to the longest example, rounded up to a multiple of `_LENGTH_STEP`."""
    length = round_up(max(len(example.ids) for example in examples), _LENGTH_STEP)
    ids = [e.ids + [pad_id] * (length - len(e.ids)) for e in examples]
    labels = [e.labels + [IGNORED] * (length - len(e.labels)) for e in examples]
    return Batch(torch.tensor(ids), torch.tensor(labels))


def by_length(examples: Sequence[Example]) -> list[list[Example]]:
    """The examples in at most two groups, so that long ones do not make padding of the others."""
    ordered = sorted(examples, key=lambda example: len(example.ids))
    usual = 1.5 * len(ordered[len(ordered) // 2].ids) if ordered else 0
    groups = (
        [e for e in ordered if len(e.ids) <= usual],
        [e for e in ordered if len(e.ids) > usual],
    )
    return [group for group in groups if group]


def answer_loss(model: Any, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy over the answers' tokens (nats per token)."""
    return token_losses(model, batch).mean()


def answer_tokens(batch: Batch) -> int:
    """How many positions carry loss."""
    return int((batch.labels[:, 1:] != IGNORED).sum())


def token_losses(model: Any, batch: Batch) -> torch.Tensor:
    """Cross-entropy of every answer token, (tokens,) float32.

    Logits are computed only where there is a label: with a large vocabulary, or a small model,
    that is a third of the cost. Padding is on the right and carries no loss, so causal attention
    needs no mask.
    """
    network = model.get_base_model() if hasattr(model, "get_base_model") else model
    states = network.model(input_ids=batch.ids, use_cache=False).last_hidden_state
    labels = batch.labels[:, 1:].flatten()
    wanted = (labels != IGNORED).nonzero().squeeze(1)
    chosen = states[:, :-1].flatten(0, 1)[wanted]
    return head.token_losses(network.get_output_embeddings(), chosen, labels[wanted])


def round_up(number: int, step: int) -> int:
    """The next multiple of `step`."""
    return -(-number // step) * step
