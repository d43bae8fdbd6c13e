"""What the server offers beside tools: resources, prompts, completions, subscriptions, the panel.

Each is a module of its own that is loaded at its first use, so that a start costs nothing for
them. What others put on the same server (`add_resource`, `@server.prompt()`) is offered too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from mcp.server import MCPServer
from mcp.server.apps import APP_MIME_TYPE, Apps
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.resources import FileResource
from mcp.server.subscriptions import InMemorySubscriptionBus
from mcp.types import (
    CompleteRequestParams,
    CompleteResult,
    EmptyResult,
    GetPromptResult,
    InputRequiredResult,
    Prompt,
    Resource,
    ResourceTemplate,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    UnsubscribeRequestParams,
)
from pydantic import AnyUrl

from rune_mcp.engine import Engine
from rune_mcp.panel import PANEL_FILE, PANEL_URI

if TYPE_CHECKING:
    from rune_mcp.watching import Watching

RequestContext = ServerRequestContext[Any, Any]


class OfferingServer(MCPServer[None]):
    """The SDK's server with Rune's resources, prompts, completions and subscriptions."""

    def __init__(self, engine: Engine, name: str, **options: Any) -> None:
        self._engine = engine
        self._bus = InMemorySubscriptionBus()
        self._watching: Watching | None = None
        self._lives = 0
        super().__init__(name, subscriptions=self._bus, extensions=[_panel()], **options)
        server = self._lowlevel_server
        listen = server.get_request_handler("subscriptions/listen")
        assert listen is not None
        self._stream = listen.handler
        add = server.add_request_handler
        add("subscriptions/listen", SubscriptionsListenRequestParams, self._listen)
        add("resources/subscribe", SubscribeRequestParams, self._subscribe)
        add("resources/unsubscribe", UnsubscribeRequestParams, self._unsubscribe)
        add("completion/complete", CompleteRequestParams, self._complete)

    @staticmethod
    @asynccontextmanager
    async def living(server: MCPServer[None]) -> AsyncIterator[None]:
        """While a transport runs; at the end of the last one the engine is let go of."""
        assert isinstance(server, OfferingServer)
        server._lives += 1
        try:
            yield
        finally:
            server._lives -= 1
            if not server._lives:
                await server._close()

    async def _close(self) -> None:
        if self._watching is not None:
            await self._watching.close()
        await self._engine.close()

    # --- resources ------------------------------------------------------------------------------

    async def list_resources(self) -> list[Resource]:
        from rune_mcp.resources import resources

        return [*resources(), *await super().list_resources()]

    async def list_resource_templates(self) -> list[ResourceTemplate]:
        from rune_mcp.resources import templates

        return [*templates(), *await super().list_resource_templates()]

    async def read_resource(
        self, uri: AnyUrl | str, context: Context[None, Any] | None = None
    ) -> Iterable[ReadResourceContents] | InputRequiredResult:
        from rune_mcp.resources import JSON, parse

        address = parse(str(uri))
        if address is None:
            return await super().read_resource(uri, context)
        from rune_mcp.reading import read

        return [ReadResourceContents(await read(self._engine, address), JSON)]

    # --- prompts and completions ----------------------------------------------------------------

    async def list_prompts(self) -> list[Prompt]:
        from rune_mcp.prompts import prompts

        return [*prompts(), *await super().list_prompts()]

    async def get_prompt(
        self,
        name: str,
        arguments: dict[str, Any] | None = None,
        context: Context[None, Any] | None = None,
    ) -> GetPromptResult | InputRequiredResult:
        from rune_mcp import prompts

        if prompts.has(name):
            return prompts.get(name, arguments or {})
        return await super().get_prompt(name, arguments, context)

    async def _complete(self, _: RequestContext, params: CompleteRequestParams) -> CompleteResult:
        from rune_mcp.completions import complete

        found = await complete(self._engine, params.ref, params.argument)
        return CompleteResult(completion=found)

    # --- subscriptions --------------------------------------------------------------------------

    async def _listen(
        self, context: RequestContext, params: SubscriptionsListenRequestParams
    ) -> Any:
        async with self._watch().listening(params.notifications.resource_subscriptions or ()):
            return await self._stream(context, params)

    async def _subscribe(
        self, context: RequestContext, params: SubscribeRequestParams
    ) -> EmptyResult:
        await self._watch().subscribe(context, str(params.uri))
        return EmptyResult()

    async def _unsubscribe(
        self, context: RequestContext, params: UnsubscribeRequestParams
    ) -> EmptyResult:
        self._watch().unsubscribe(context, str(params.uri))
        return EmptyResult()

    def _watch(self) -> Watching:
        if self._watching is None:
            from rune_mcp.watching import Watching

            self._watching = Watching(self._engine, self._bus)
        return self._watching


def _panel() -> Apps:
    apps = Apps()
    apps.add_resource(
        FileResource(
            uri=PANEL_URI,
            name="memory",
            title="Memory",
            description="Jobs, adapters and whether each helped, for hosts that show MCP Apps.",
            mime_type=APP_MIME_TYPE,
            encoding="utf-8",
            path=PANEL_FILE,
            meta={"ui": {"prefersBorder": True}},
        )
    )
    return apps
