"""Rows that are being decoded together, whatever adapter each of them has.

A row's result does not depend on its neighbours: it has its own sampling, its own end, its own
cancel, and padding that a mask hides. Runs in the worker process only; knows a causal language
model, caches and adapter layers; nothing of requests, processes or JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from transformers import Cache

from rune_engine.inference.key_values import Source, compose
from rune_engine.inference.lora import Part
from rune_engine.inference.reading import Reading, Seat, forward


class Batch:
    """The rows that have been read, a token longer at each step."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.clear()

    def clear(self) -> None:
        """Forget every row."""
        self.seats: list[Seat] = []
        self.cache: Cache | None = None
        self.parts: list[Part] = []
        self._padding: torch.Tensor | None = None
        self._positions = torch.empty(0)

    def renew(self, arrivals: Sequence[Reading]) -> None:
        """Let rows that have left go, and those that were read in, next to their own kind."""
        came = [seat for reading in arrivals for seat in reading.seats]
        seats = [seat for seat in [*self.seats, *came] if not seat.left]
        if seats == self.seats:
            return
        if not seats:
            self.clear()
            return
        seats.sort(key=lambda seat: seat.key or "")
        columns = max(seat.read for seat in seats)
        self.cache = self._cache_of(seats, arrivals, columns)
        self.seats = seats
        self.parts = _parts(seats)
        self._place_rows(columns)

    def step(self) -> torch.Tensor:
        """The logits of every row's next token, [rows, vocabulary]."""
        assert self.cache is not None
        device = self._model.device
        ids = torch.tensor([seat.row.tokens[-1:] for seat in self.seats], device=device)
        mask = None
        if self._padding is not None:
            columns = self.cache.get_seq_length() + 1
            mask = torch.arange(columns, device=device) >= self._padding
        logits = forward(self._model, ids, mask, self._positions, self.cache)
        self._positions += 1
        for seat in self.seats:
            seat.read += 1
        return logits

    def _cache_of(self, seats: Sequence[Seat], arrivals: Sequence[Reading], columns: int) -> Cache:
        if self.cache is None and len(arrivals) == 1:
            [reading] = arrivals
            if reading.rows == list(range(len(seats))) and len(reading.seats) == len(seats):
                return reading.cache  # as it is, with nothing copied
        place = {seat: number for number, seat in enumerate(seats)}
        sources = [_source(each.cache, each.rows, each.seats, place) for each in arrivals]
        if self.cache is not None:
            sources.append(_source(self.cache, range(len(self.seats)), self.seats, place))
        return compose([source for source in sources if source.rows], columns)

    def _place_rows(self, columns: int) -> None:
        read = torch.tensor([[seat.read] for seat in self.seats], device=self._model.device)
        self._positions = read
        self._padding = columns - read if any(s.read != columns for s in self.seats) else None


def _source(
    cache: Cache, rows: Sequence[int], seats: Sequence[Seat], place: dict[Seat, int]
) -> Source:
    chosen = [(row, place[seat]) for row, seat in zip(rows, seats, strict=True) if seat in place]
    return Source(cache, [row for row, _ in chosen], [number for _, number in chosen])


def _parts(seats: Sequence[Seat]) -> list[Part]:
    """Which rows have which adapter; equal ones stand together."""
    parts, begin = [], 0
    for key, group in groupby(seats, key=lambda seat: seat.key):
        end = begin + len(list(group))
        if key is not None:
            rows = None if end - begin == len(seats) else slice(begin, end)
            parts.append(Part(key, rows))
        begin = end
    return parts
