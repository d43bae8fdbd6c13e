"""Which adapters are in memory: as many as a budget of bytes holds, those in use always.

The cheaper tier below is the system's page cache: an adapter that was let go is read from its file
again, without being hashed again. Runs in the worker process only.
"""

from __future__ import annotations

from collections import Counter, OrderedDict

from rune_engine.inference.adapter_files import AdapterReader, adapter_key, corrupted
from rune_engine.inference.lora import LoraLayers
from rune_engine.inference.provider import AdapterRef


class AdapterStore:
    """The adapters loaded on one model; the least recently used goes first.

    Args:
        layers: where their weights are put.
        budget: bytes that adapters may take while none of them is in use.
    """

    def __init__(self, layers: LoraLayers, budget: int) -> None:
        self._layers = layers
        self._budget = budget
        self._reader = AdapterReader()
        self._ids: OrderedDict[str, str] = OrderedDict()
        self._bytes: dict[str, int] = {}
        self._users: Counter[str] = Counter()

    @property
    def ids(self) -> list[str]:
        """The loaded adapters, least recently used first."""
        return list(self._ids.values())

    def acquire(self, adapter: AdapterRef) -> str:
        """Have `adapter` in memory until it is released; returns its key.

        Raises:
            AdapterCorruptedError: it may not be loaded, or does not fit the model.
        """
        key = adapter_key(adapter)
        if key not in self._ids:
            file = self._reader.read(adapter)
            if problem := self._layers.problem(file):
                raise corrupted(adapter, problem)
            self._bytes[key] = self._layers.load(key, file)
        self._ids[key] = adapter.id
        self._ids.move_to_end(key)
        self._users[key] += 1
        self._make_room()
        return key

    def release(self, key: str) -> None:
        """One user less."""
        self._users[key] -= 1
        if self._users[key] <= 0:
            del self._users[key]
            self._make_room()

    def _make_room(self) -> None:
        for key in list(self._ids):
            if sum(self._bytes.values()) <= self._budget:
                return
            if not self._users[key]:
                self._layers.unload(key)
                del self._ids[key], self._bytes[key]
