"""Which adapters are on the server, and who is using them.

Fewer than the server keeps in its own cache, so that it reads no adapter a second time; the least
recently used one goes first, and none goes while somebody generates with it. Belongs to one event
loop.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from rune_engine.errors import BackendUnavailableError
from rune_engine.inference.adapter_files import adapter_key
from rune_engine.inference.provider import AdapterRef
from rune_engine.inference.vllm.server import VllmServer
from rune_engine.inference.vllm.staging import Staging

PREFIX = "rune-"


@dataclass(slots=True, eq=False)
class LoadedAdapter:
    """One adapter on the server: `copied` is what the server reads, `name` what it calls it."""

    copied: AdapterRef
    name: str
    users: int = 0


class LoadedAdapters:
    """A small least-recently-used cache whose far end is the server.

    Args:
        check: refuses a copied adapter that the server must not see; blocks.
        limit: how many are loaded at once.
    """

    def __init__(
        self,
        server: VllmServer,
        staging: Staging,
        check: Callable[[AdapterRef], None],
        limit: int,
    ) -> None:
        self._server = server
        self._staging = staging
        self._check = check
        self._limit = limit
        self._loaded: OrderedDict[str, LoadedAdapter] = OrderedDict()
        self._changing = asyncio.Lock()
        self._somebody_left = asyncio.Event()

    @property
    def entries(self) -> list[LoadedAdapter]:
        """Least recently used first."""
        return list(self._loaded.values())

    @asynccontextmanager
    async def using(self, adapter: AdapterRef) -> AsyncIterator[str]:
        """The adapter's name on the server, which stays loaded for the time of the block.

        Raises:
            AdapterCorruptedError: its files may not be loaded.
            AdapterUnsupportedError: vLLM cannot serve it.
            BackendUnavailableError: the server does not answer.
        """
        key = adapter_key(adapter)
        entry = self._loaded.get(key) or await self._load(key, adapter)
        # No other task has run since it was found or loaded: nobody can have evicted it.
        entry.users += 1
        if key in self._loaded:
            self._loaded.move_to_end(key)
        try:
            yield entry.name
        finally:
            entry.users -= 1
            self._somebody_left.set()

    def keep_only(self, names: Iterable[str]) -> None:
        """Forget adapters that the server does not list any more."""
        listed = set(names)
        for key, entry in list(self._loaded.items()):
            if entry.name not in listed:
                del self._loaded[key]
                self._staging.drop(entry.copied)

    async def reload(self, entry: LoadedAdapter) -> None:
        """Have the server read an adapter's copy again."""
        await self._server.unload(entry.name)
        await self._server.load(entry.name, str(entry.copied.path), entry.copied.id)

    async def clear(self) -> None:
        """Unload all of them; a server that is gone has none."""
        entries, self._loaded = self.entries, OrderedDict()
        for entry in entries:
            with suppress(BackendUnavailableError):
                await self._server.unload(entry.name)
            self._staging.drop(entry.copied)

    async def _load(self, key: str, adapter: AdapterRef) -> LoadedAdapter:
        async with self._changing:
            if found := self._loaded.get(key):
                return found
            await self._make_room()
            copied = await asyncio.to_thread(self._copy, adapter)
            entry = LoadedAdapter(copied, PREFIX + adapter_key(copied))
            try:
                await self._server.load(entry.name, str(copied.path), adapter.id)
            except BaseException:
                self._staging.drop(copied)
                raise
            self._loaded[key] = entry
            return entry

    def _copy(self, adapter: AdapterRef) -> AdapterRef:
        copied = self._staging.copy(adapter)
        try:
            self._check(copied)
        except BaseException:
            self._staging.drop(copied)
            raise
        return copied

    async def _make_room(self) -> None:
        while len(self._loaded) >= self._limit:
            idle = next((key for key, entry in self._loaded.items() if not entry.users), None)
            if idle is None:
                self._somebody_left.clear()
                await self._somebody_left.wait()
                continue
            entry = self._loaded.pop(idle)
            await self._server.unload(entry.name)
            self._staging.drop(entry.copied)
