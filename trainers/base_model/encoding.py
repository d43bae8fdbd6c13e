"""Documents as token ids: loss on what the assistant says, where that can be known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from transformers import PreTrainedTokenizerBase

from trainers.base_model.corpus import Document, Turn
from trainers.tokens import IGNORED, Example

_START, _END = "<|im_start|>", "<|im_end|>"


def encode_document(tokenizer: PreTrainedTokenizerBase, document: Document) -> Example:
    """The whole conversation, as the chat template writes it."""
    ids: list[int] = []
    labels: list[int] = []
    for turn in document.turns:
        head = _ids(tokenizer, f"{_START}{turn.role}\n")
        ids += head
        labels += [IGNORED] * len(head)
        for token, known in _content(tokenizer, turn):
            ids.append(token)
            labels.append(token if known else IGNORED)
        tail = _ids(tokenizer, f"{_END}\n")
        ids += tail
        labels += [tail[0] if turn.learnt else IGNORED, *[IGNORED] * (len(tail) - 1)]
    return Example(ids, labels)


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids


def _content(tokenizer: PreTrainedTokenizerBase, turn: Turn) -> Iterator[tuple[int, bool]]:
    """Each token, and whether it is learnt."""
    made = tokenizer(turn.content, add_special_tokens=False, return_offsets_mapping=True)
    hidden = list(_spans(turn.content, turn.unknown))
    for token, (start, end) in zip(made["input_ids"], made["offset_mapping"], strict=True):
        overlaps = any(start < last and first < end for first, last in hidden)
        yield token, turn.learnt and not overlaps


def _spans(text: str, words: Sequence[str]) -> Iterator[tuple[int, int]]:
    for word in words:
        at = text.find(word)
        while at >= 0:
            yield at, at + len(word)
            at = text.find(word, at + 1)
