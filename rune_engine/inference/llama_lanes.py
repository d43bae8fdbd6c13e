"""Lanes: contexts of llama.cpp over one model, each with the adapter that it decodes with.

Putting another adapter on a context makes llama.cpp plan its graphs anew, which takes the longer
the more layers there are. So each adapter in recent use has a context of its own, as far as memory
allows, and going from one to the other costs nothing. What a context remembers is of its adapter
alone. Knows nothing of pipes or of who asks.
"""

from __future__ import annotations

from typing import Any

from rune_engine.inference.llama_native import BATCH_TOKENS, NativeContext, Piece
from rune_engine.inference.llama_slots import Slot, Slots
from rune_engine.inference.rows import Row
from rune_engine.inference.sampling import pick


class Lane:
    """One context, its slots, and which adapter is on it: `key` follows from its bytes."""

    def __init__(self, context: NativeContext, slots: int, key: str) -> None:
        self.key = key
        self.used_at = 0
        self._context = context
        self._slots = Slots(slots)

    @property
    def busy(self) -> bool:
        """Whether a row is being decoded in it."""
        return bool(self._slots.busy)

    def put_on(self, key: str, adapter: Any) -> None:
        """Decode with another adapter from now on; None is the base model alone."""
        self._context.put_on(adapter)
        self.key = key

    def admit(self, row: Row) -> bool:
        """Let a row join; False when every slot is taken."""
        chosen = self._slots.choose(self.key, row.prompt)
        if chosen is None:
            return False
        slot, kept = chosen
        if not self._context.keep(slot.index, kept):
            self._context.keep(slot.index, 0)
            kept = 0
        self._slots.take(slot, row, self.key, kept)
        return True

    def step(self) -> list[Row]:
        """One decode: each row that has been read gets a token; those that ended are returned."""
        pieces = self._pieces()
        asking = [piece.sequence for piece in pieces if piece.wants_logits]
        logits = dict(zip(asking, self._context.decode(pieces), strict=True))
        read = {piece.sequence: piece.tokens for piece in pieces}
        ended = []
        for slot in self._slots.busy:
            row = slot.row
            assert row is not None
            tokens = read.get(slot.index, ())
            slot.tokens.extend(tokens)
            del slot.pending[: len(tokens)]
            if slot.index in logits:
                pick(row, logits[slot.index])
                slot.pending = row.tokens[-1:]
            if row.ended:
                self._slots.free(slot)
                ended.append(row)
        return ended

    def forget(self) -> None:
        """Forget every row and everything that is remembered."""
        self._context.clear()
        self._slots.forget()

    def _pieces(self) -> list[Piece]:
        """What to read next: first every row's newest token, then of prompts what fits."""
        room = BATCH_TOKENS
        pieces = []
        for slot in sorted(self._slots.busy, key=_newest_tokens_first):
            tokens = slot.pending[:room]
            if tokens:
                whole = len(tokens) == len(slot.pending)
                pieces.append(Piece(slot.index, len(slot.tokens), tokens, whole))
                room -= len(tokens)
        return sorted(pieces, key=lambda piece: piece.sequence)


def _newest_tokens_first(slot: Slot) -> tuple[bool, int]:
    return len(slot.pending) > 1, slot.used_at
