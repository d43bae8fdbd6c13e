"""Tells whoever subscribed to a resource that it has changed, in both eras of the protocol.

The engine is asked what has changed, about once a second, only while somebody is subscribed; it is
never started for that, nor kept from ending. Several clients may be subscribed at once: those of
the 2026-07-28 era by `subscriptions/listen`, whose stream the SDK serves from a bus, older ones by
`resources/subscribe`. Loaded at the first subscription.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.session import ServerSession
from mcp.server.subscriptions import ResourceUpdated, SubscriptionBus
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS

from rune_engine.errors import RuneError
from rune_engine.models import ChangeCursor, Changes
from rune_mcp.engine import Engine
from rune_mcp.resources import Address, is_touched, parse

LOOK_SECONDS = 1.0
TELL_SECONDS = 5.0
MOST_SUBSCRIPTIONS = 1_000
"""Resources that one connection, or one stream, may be subscribed to."""


class Watching:
    """Follows the engine for the subscribers of one server; belongs to one event loop."""

    def __init__(self, engine: Engine, bus: SubscriptionBus) -> None:
        self._engine = engine
        self._bus = bus
        self._listened: Counter[str] = Counter()
        self._subscribed: dict[Connection, tuple[ServerSession, set[str]]] = {}
        self._following: asyncio.Task[None] | None = None
        self._cursor: ChangeCursor | None = None

    @asynccontextmanager
    async def listening(self, uris: Iterable[str]) -> AsyncIterator[None]:
        """While this block runs, a stream of the 2026-07-28 era listens to `uris`.

        Raises:
            MCPError: they are too many.
        """
        wanted = set(uris)
        _require_few(len(wanted))
        self._listened.update(wanted)
        try:
            await self._begin()
            yield
        finally:
            self._listened.subtract(wanted)
            self._listened += Counter()  # forgets those that nobody listens to any more

    async def subscribe(self, context: ServerRequestContext[Any, Any], uri: str) -> None:
        """Subscribe a client of an older era to `uri`, until it leaves.

        Raises:
            MCPError: it has subscribed to too many.
        """
        connection = _connection_of(context.session)
        if connection not in self._subscribed:
            self._subscribed[connection] = (context.session, set())
            connection.exit_stack.callback(self._subscribed.pop, connection, None)
        _, uris = self._subscribed[connection]
        _require_few(len(uris | {uri}))
        uris.add(uri)
        await self._begin()

    def unsubscribe(self, context: ServerRequestContext[Any, Any], uri: str) -> None:
        _, uris = self._subscribed.get(_connection_of(context.session), (None, set()))
        uris.discard(uri)

    async def close(self) -> None:
        """Follow no longer."""
        if self._following is not None:
            self._following.cancel()
            with suppress(asyncio.CancelledError):
                await self._following
            self._following = None

    def _wanted(self) -> dict[str, Address]:
        """Every resource of ours that somebody is subscribed to, by the URI they used."""
        uris = set(self._listened).union(*(uris for _, uris in self._subscribed.values()))
        found = {uri: parse(uri) for uri in uris}
        return {uri: address for uri, address in found.items() if address is not None}

    async def _begin(self) -> None:
        """Follow from now on: nothing that comes after this is missed."""
        if not self._wanted() or self._is_following():
            return
        now = await self._look()
        if not self._is_following():
            self._cursor = None if now is None else now.cursor
            self._following = asyncio.create_task(self._follow())

    def _is_following(self) -> bool:
        return self._following is not None and not self._following.done()

    async def _follow(self) -> None:
        while wanted := self._wanted():
            if (changes := await self._look()) is not None:
                # What an engine did that came up since the subscription is not known.
                missed = self._cursor is None
                touched = [u for u, a in wanted.items() if missed or is_touched(a, changes)]
                self._cursor = changes.cursor
                await self._tell(touched)
            await asyncio.sleep(LOOK_SECONDS)
        self._cursor = None

    async def _look(self) -> Changes | None:
        """What has changed since the last look; None while no engine answers."""
        try:
            return await self._engine.client.changes(self._cursor)
        except RuneError:
            return None

    async def _tell(self, uris: list[str]) -> None:
        for uri in uris:
            await self._bus.publish(ResourceUpdated(uri=uri))
            for session, subscribed in list(self._subscribed.values()):
                if uri in subscribed:
                    # One client that reads nothing must not keep the others waiting.
                    with anyio.move_on_after(TELL_SECONDS):
                        await session.send_resource_updated(uri)


def _connection_of(session: ServerSession) -> Connection:
    """The client's connection: the SDK hands out a session a request, and this outlives it."""
    return session._connection


def _require_few(number: int) -> None:
    if number > MOST_SUBSCRIPTIONS:
        raise MCPError(
            INVALID_PARAMS, f"At most {MOST_SUBSCRIPTIONS} resources can be subscribed to at once."
        )
