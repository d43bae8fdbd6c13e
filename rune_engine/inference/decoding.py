"""Reading and decoding by turns: rows join while others decode, whatever their adapters.

At each step some of the prompts that wait are read, then every row that has been read gets a
token, so nobody waits for a long answer or a long prompt of somebody else. Runs in the worker
process only; knows rows, a causal language model and its adapter layers; nothing of processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import Cache, DynamicCache

from rune_engine.inference.batch import Batch
from rune_engine.inference.key_values import can_be_composed, new_cache, restored, row_of
from rune_engine.inference.lora import LoraLayers, Part
from rune_engine.inference.prefixes import Prefixes
from rune_engine.inference.reading import Reading, Seat
from rune_engine.inference.rows import Row
from rune_engine.inference.torch_sampling import pick

MAX_ROWS = 32
_READ_AT_ONCE = {"cpu": 512, "cuda": 4096}
"""Tokens read between two steps of those who decode, and between two looks for a cancel."""
_LEAST_REUSED = 16
"""Tokens; fewer are read again sooner than they are found and copied."""


class Decoder:
    """The rows of one model.

    Args:
        model: a causal language model in evaluation mode.
        layers: the adapters on it.
        prefixes: what it has read lately.
    """

    def __init__(self, model: Any, layers: LoraLayers, prefixes: Prefixes) -> None:
        self._model = model
        self._layers = layers
        self._prefixes = prefixes
        self._composes = can_be_composed(model.config)
        self._at_once = _READ_AT_ONCE.get(model.device.type, 512)
        self._waiting: list[Seat] = []
        self._reading: Reading | None = None
        self._batch = Batch(model)

    @property
    def most_rows(self) -> int:
        """How many rows may be here; one where the model remembers more than keys and values."""
        return MAX_ROWS if self._composes else 1

    @property
    def rows(self) -> list[Row]:
        """Every row whose end has not been told."""
        reading = self._reading.seats if self._reading else []
        seats = [*self._waiting, *reading, *self._batch.seats]
        return [seat.row for seat in seats if not seat.left]

    def add(self, row: Row, key: str | None) -> None:
        """Let a row join; `key` names the adapter that is on for it."""
        self._waiting.append(Seat(row, key))

    def clear(self) -> None:
        """Forget every row."""
        self._waiting, self._reading = [], None
        self._batch.clear()

    @torch.inference_mode()
    def step(self) -> list[Row]:
        """Read some, then a token for every row that has been read; returns those that ended."""
        ended = self._leavers()
        arrivals, budget = [], self._at_once
        while budget > 0 and (reading := self._reading or self._next_reading()):
            self._reading = reading
            budget -= self._read(reading, budget)
            if reading.logits is not None:
                self._reading = None
                arrivals.append(reading)
                ended += self._pick(reading.seats, reading.rows, reading.logits, reading.cache)
        self._batch.renew(arrivals)
        if self._batch.cache is not None:
            ended += self._decode(self._batch.cache)
        return ended

    def _leavers(self) -> list[Row]:
        """Those who were cancelled before they were read."""
        left = [seat for seat in self._waiting if seat.leaves()]
        self._waiting = [seat for seat in self._waiting if not seat.left]
        if self._reading and all(seat.row.ended for seat in self._reading.seats):
            left += self._reading.seats
            self._reading = None
        return [seat.row for seat in left]

    def _decode(self, cache: Cache) -> list[Row]:
        self._layers.select(self._batch.parts)
        logits = self._batch.step()
        seats = self._batch.seats
        ended = self._pick(seats, range(len(seats)), logits, cache)
        if all(seat.left for seat in seats):
            self._batch.clear()
        return ended

    def _read(self, reading: Reading, budget: int) -> int:
        self._layers.select([Part(reading.key)] if reading.key is not None else [])
        return reading.advance(budget if self._composes else 2**62)

    def _pick(
        self, seats: Sequence[Seat], rows: Sequence[int], logits: torch.Tensor, cache: Cache
    ) -> list[Row]:
        """Give every seat its token; `rows` are their places in the cache."""
        pick([seat.row for seat in seats], logits)
        ended = []
        for seat, row in zip(seats, rows, strict=True):
            if seat.leaves():
                ended.append(seat.row)
                self._remember(seat, row, cache)
        return ended

    def _remember(self, seat: Seat, row: int, cache: Cache) -> None:
        if not self._composes or seat.row.error is not None:
            return
        keys = cache.layers[0].keys
        size = 2 * len(cache.layers) * seat.read * keys[0, :, 0].nbytes
        tokens = (seat.row.prompt + seat.row.tokens)[: seat.read]
        self._prefixes.keep(seat.key, tokens, size, lambda: row_of(cache, row, seat.read))

    def _next_reading(self) -> Reading | None:
        """Those who wait for the longest, and who can be read together with them."""
        if not self._waiting:
            return None
        first = self._waiting[0]
        if not self._composes:
            self._waiting = []
            return Reading(self._model, [first], DynamicCache(config=self._model.config))
        if found := self._reusable(first):
            kept, common = found
            self._waiting.remove(first)
            return Reading(self._model, [first], restored(kept, common), common)
        alike = [seat for seat in self._waiting if seat.key == first.key]
        group = _of_like_length(first, [s for s in alike if s is first or not self._reusable(s)])
        self._waiting = [seat for seat in self._waiting if seat not in group]
        return Reading(self._model, group, new_cache())

    def _reusable(self, seat: Seat) -> tuple[Any, int] | None:
        """What was read of this conversation before, where going on from it is worth it."""
        prompt = seat.row.prompt
        found = self._prefixes.find(seat.key, prompt)
        if found is None or found[1] < _LEAST_REUSED:
            return None
        alone = len(self._waiting) == 1
        return found if alone or 2 * found[1] >= len(prompt) else None


def _of_like_length(first: Seat, seats: Sequence[Seat]) -> list[Seat]:
    """`first` and those that can be read with it without much padding."""
    group = [first]
    length = len(first.row.prompt)
    for seat in seats:
        other = len(seat.row.prompt)
        if seat is not first and abs(other - length) <= max(16, length // 4):
            group.append(seat)
    return group
