"""What a model has read, as keys and values: grown in place, put together, kept for later.

Rows of a cache stand right-aligned: a shorter one has padding on its left, which a mask hides.
Every layer keeps all columns, in models with sliding windows as well; their masks hide the rest.
Runs in the worker process only; knows torch and Transformers' caches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

_ROOM = 256
"""Columns that a cache has more than it needs, so that a token is written and nothing copied."""

Kept = list[tuple[torch.Tensor, torch.Tensor]]
"""One row's keys and values by layer, each [heads, columns, width]."""


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values, each [rows, heads, columns, width]."""

    def __init__(self) -> None:
        super().__init__()
        self._rooms: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: Any, **_kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append columns; returns all of them."""
        start = self.get_seq_length()
        end = start + key_states.shape[2]
        if self._rooms is None or end > self._rooms[0].shape[2]:
            self._grow(key_states, value_states, start, end)
        assert self._rooms is not None
        keys, values = self._rooms
        keys[:, :, start:end] = key_states
        values[:, :, start:end] = value_states
        self.keys, self.values = keys[:, :, :end], values[:, :, :end]
        return self.keys, self.values

    def fill(self, keys: torch.Tensor, values: torch.Tensor, columns: int) -> None:
        """Start with the first `columns` of these rooms."""
        self.dtype, self.device = keys.dtype, keys.device
        self._rooms, self.is_initialized = (keys, values), True
        self.keys, self.values = keys[:, :, :columns], values[:, :, :columns]

    def _grow(self, keys: torch.Tensor, values: torch.Tensor, start: int, end: int) -> None:
        room = [
            like.new_empty(*like.shape[:2], end + _ROOM, like.shape[3]) for like in (keys, values)
        ]
        if start:
            room[0][:, :, :start] = self.keys
            room[1][:, :, :start] = self.values
        self.fill(room[0], room[1], start)


@dataclass(frozen=True, slots=True)
class Source:
    """Rows of a cache, and where in a new one they go."""

    cache: Cache
    rows: list[int]
    places: list[int]


def can_be_composed(config: Any) -> bool:
    """Whether all that a model of this configuration remembers are keys and values."""
    layers = DynamicCache(config=config).layers
    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)


def new_cache() -> Cache:
    """A cache that has read nothing."""
    return Cache(layer_class_to_replicate=GrowingLayer)


def compose(sources: Sequence[Source], columns: int) -> Cache:
    """A new cache of the sources' rows, of which none has more than `columns` that count."""
    layers = []
    for index in range(len(sources[0].cache.layers)):
        keys = _composed([(s.cache.layers[index].keys, s) for s in sources], columns)
        values = _composed([(s.cache.layers[index].values, s) for s in sources], columns)
        layer = GrowingLayer()
        layer.fill(keys, values, columns)
        layers.append(layer)
    return Cache(layers=layers)


def row_of(cache: Cache, row: int, columns: int) -> Kept:
    """A copy of the last `columns` of one row."""
    start = cache.get_seq_length() - columns
    return [
        (layer.keys[row, :, start:].clone(), layer.values[row, :, start:].clone())
        for layer in cache.layers
    ]


def restored(kept: Kept, columns: int) -> Cache:
    """A cache of one row that has read the first `columns` of what was kept."""
    layers = []
    for pair in kept:
        rooms = []
        for tensor in pair:
            heads, _, width = tensor.shape
            room = tensor.new_empty(1, heads, columns + _ROOM, width)
            room[0, :, :columns] = tensor[:, :columns]
            rooms.append(room)
        layer = GrowingLayer()
        layer.fill(rooms[0], rooms[1], columns)
        layers.append(layer)
    return Cache(layers=layers)


def _composed(parts: Sequence[tuple[torch.Tensor, Source]], columns: int) -> torch.Tensor:
    like = parts[0][0]
    rows = sum(len(source.rows) for _, source in parts)
    room = like.new_empty(rows, like.shape[1], columns + _ROOM, like.shape[3])
    for tensor, source in parts:
        missing = max(0, columns - tensor.shape[2])
        places = torch.tensor(source.places, device=like.device)
        # What a mask hides must be finite all the same: nothing times no number is no number.
        if missing:
            room[places, :, :missing] = 0
        chosen = tensor[source.rows, :, tensor.shape[2] - columns + missing :]
        room[places, :, missing:columns] = chosen
    return room
