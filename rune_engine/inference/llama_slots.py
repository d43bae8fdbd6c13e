"""Where a request's tokens are kept: slots of key-value memory, and what each still holds.

A slot's memory was computed with one adapter, so it is of use to that adapter alone: the key that
says so follows from the adapter's bytes. Knows tokens and keys; nothing of llama.cpp.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rune_engine.inference.rows import Row

_NEIGHBOUR_WORTH = 32
"""Tokens that are rather read again than a slot be taken away from the others in use."""


@dataclass(slots=True, eq=False)
class Slot:
    """One sequence: `tokens` are in its memory, computed with the adapter `key`.

    `pending` are the tokens that `row` needs read next.
    """

    index: int
    key: str = ""
    tokens: list[int] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)
    row: Row | None = None
    used_at: int = 0


class Slots:
    """All sequences of one context."""

    def __init__(self, count: int) -> None:
        self._slots = [Slot(index) for index in range(count)]
        self._clock = 0

    @property
    def busy(self) -> list[Slot]:
        """Those that have a row, in the order of their sequences."""
        return [slot for slot in self._slots if slot.row is not None]

    def choose(self, key: str, prompt: Sequence[int]) -> tuple[Slot, int] | None:
        """The best free slot for a prompt, and how many of its tokens are there already.

        At least one token of the prompt is left to read: its end has to be predicted from.
        None when no slot is free.
        """
        free = [slot for slot in self._slots if slot.row is None]
        if not free:
            return None
        busy = {slot.index for slot in self._slots if slot.row is not None}

        def worth(slot: Slot) -> tuple[int, int]:
            kept = _common(slot.tokens, prompt) if slot.key == key else 0
            near = not busy or slot.index - 1 in busy or slot.index + 1 in busy
            return kept + _NEIGHBOUR_WORTH * near, -slot.used_at

        slot = max(free, key=worth)
        kept = _common(slot.tokens, prompt) if slot.key == key else 0
        return slot, min(kept, len(prompt) - 1)

    def take(self, slot: Slot, row: Row, key: str, kept: int) -> None:
        """Give a slot to a row; its memory holds the first `kept` tokens of the row's prompt."""
        self._clock += 1
        slot.key, slot.row, slot.used_at = key, row, self._clock
        slot.tokens, slot.pending = row.prompt[:kept], row.prompt[kept:]

    def free(self, slot: Slot) -> None:
        """Take the row off a slot; what the memory holds may be of use to the next."""
        self._clock += 1
        slot.row, slot.pending, slot.used_at = None, [], self._clock

    def forget(self) -> None:
        """Every slot is free and empty."""
        self._slots = [Slot(slot.index) for slot in self._slots]


def _common(known: Sequence[int], wanted: Sequence[int]) -> int:
    """How many tokens two sequences begin with in common."""
    longest = min(len(known), len(wanted))
    return next((n for n in range(longest) if known[n] != wanted[n]), longest)
