"""The MCP server on a loopback port, until the process is told to end.

Both protocol eras at once: sessions as of 2025-11-25, and requests that stand alone as of
2026-07-28. Ending cancels what is in flight, whose jobs the engine then stops, as closing stdin
does. Knows the SDK's transport; nothing of the tools.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
from mcp.server.transport_security import TransportSecuritySettings

from rune_engine.http_server import BACKLOG, http_server
from rune_mcp.http.door import PATH, Door
from rune_mcp.http.requests import Requests

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from rune_mcp.server import RuneServer

MAX_BODY_BYTES = 8 * 1024 * 1024
"""Of a request; the engine takes no larger one."""
MAX_SESSIONS = 256
SESSION_IDLE_SECONDS = 30 * 60.0
_END_SECONDS = 10.0
"""For the calls in flight to take their cancellation to the engine."""


def http_app(server: RuneServer) -> ASGIApp:
    """The SDK's own application; who may reach it is `Door`'s to say."""
    return server.streamable_http_app(
        streamable_http_path=PATH,
        max_request_body_size=MAX_BODY_BYTES,
        max_sessions=MAX_SESSIONS,
        session_idle_timeout=SESSION_IDLE_SECONDS,
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )


async def serve(server: RuneServer, token: str, listener: socket.socket) -> None:
    """Serve clients that show `token` on a bound socket until SIGTERM or SIGINT."""
    requests = Requests(Door(http_app(server), token))
    stopping = asyncio.Event()
    with _signalled() as ending:
        async with server.session_manager.run():
            web = http_server(requests, stopping)
            serving = asyncio.create_task(web.serve(sockets=[listener]))
            waiting = asyncio.create_task(ending.wait())
            await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            with anyio.move_on_after(_END_SECONDS):
                await requests.end()
            stopping.set()
            await serving


def listen(listener: socket.socket) -> str:
    """Open the socket, so that no client is turned away from now on, and say its address."""
    listener.listen(BACKLOG)
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{PATH}"


@contextmanager
def _signalled() -> Iterator[asyncio.Event]:
    """An event that the first SIGTERM or SIGINT within the block sets; a second one is not waited
    upon: it ends the process as it would any other."""
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()

    def let_go() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    def end() -> None:
        ending.set()
        let_go()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    try:
        yield ending
    finally:
        let_go()
