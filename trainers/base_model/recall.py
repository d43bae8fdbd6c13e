"""How much of what it is shown a network uses: answers right to the last token, by kind.

A greedy answer is right if every one of its tokens is the likeliest after the right ones before
it, so one forward pass over documents of projects that were never trained on tells.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase, Qwen2ForCausalLM

from trainers.base_model.corpus import LONG, SHORT, Corpus, Document
from trainers.base_model.encoding import encode_document
from trainers.precision import autocast
from trainers.tokens import IGNORED

_EVALUATION_SEED = 77


def recall(
    network: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    short: int = 192,
    long: int = 24,
) -> dict[str, float]:
    """The share of answers that a greedy decoder would give as they are, by kind of document.

    "sessions" counts the answers whose every name was shown before.
    """
    documents = [
        *itertools.islice(Corpus(_EVALUATION_SEED, SHORT, "evaluation"), short),
        *itertools.islice(Corpus(_EVALUATION_SEED, LONG, "evaluation"), long),
    ]
    right: dict[str, list[bool]] = defaultdict(list)
    network.eval()
    for document in documents:
        right[document.kind] += _answers(network, tokenizer, document)
    network.train()
    return {
        kind: round(sum(found) / len(found), 3) for kind, found in sorted(right.items()) if found
    }


@torch.inference_mode()
def _answers(
    network: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerBase, document: Document
) -> list[bool]:
    example = encode_document(tokenizer, document)
    device = network.device
    with autocast(device.type):
        logits = network(input_ids=torch.tensor([example.ids], device=device)).logits[0]
    likeliest = logits.argmax(-1).tolist()
    hits = [
        label == IGNORED or guess == label
        for guess, label in zip([-1, *likeliest], example.labels, strict=False)
    ]
    known = [turn.learnt and not turn.unknown for turn in document.turns]
    return [
        all(hits[start:end])
        for (start, end), counts in zip(_turns(tokenizer, example.ids), known, strict=True)
        if counts
    ]


def _turns(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[tuple[int, int]]:
    """Where each turn begins and ends."""
    start = tokenizer.convert_tokens_to_ids("<|im_start|>")
    starts = [index for index, token in enumerate(ids) if token == start]
    return list(zip(starts, [*starts[1:], len(ids)], strict=True))
