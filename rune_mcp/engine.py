"""The engine as the server knows it: a client that is made at the first call that needs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rune_engine.client import EngineClient


class Engine:
    """The engine's client, made at the first call that needs it; several editors may share it."""

    def __init__(self, client_factory: Callable[[], EngineClient]) -> None:
        self._client_factory = client_factory
        self._client: EngineClient | None = None

    @property
    def client(self) -> EngineClient:
        if self._client is None:
            self._client = self._client_factory()
        return self._client

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None


class EngineTools:
    """What every group of tools is made of: each method asks the engine one thing."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
