"""uvicorn as Rune uses it: on sockets that are bound already, ended by an event.

Knows nothing of what is served. Light until something is: clients of the engine import it, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rune_engine.errors import PortTakenError

if TYPE_CHECKING:
    import uvicorn

LOOPBACK = "127.0.0.1"
BACKLOG = 1024
_REQUESTS_END_SECONDS = 3
_KEEP_ALIVE_SECONDS = 65
"""Longer than clients keep an idle connection, so that none is closed as it is used again."""


def loopback_socket(port: int, next_step: str, host: str = LOOPBACK) -> socket.socket:
    """A socket bound to `port` of the loopback address `host`, not listening yet; 0: any free port.

    Raises:
        PortTakenError: it cannot be had; the error says to do `next_step`.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        # A port whose last connections are not quite gone yet is free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise PortTakenError(
            f"Port {port} of {host} cannot be listened on: {error.strerror or error}.",
            next_step=next_step,
        ) from error
    return listener


def http_server(app: Any, stopping: asyncio.Event) -> uvicorn.Server:
    """A server of `app` that ends, requests first, once `stopping` is set."""
    import uvicorn

    class Server(uvicorn.Server):
        async def main_loop(self) -> None:
            """Wait for the end. uvicorn's own loop wakes ten times a second, to look for it and to
            keep a Date header, which nobody on this machine needs."""
            await stopping.wait()

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Leave signals to the process: uvicorn would end it before its clean-up."""
            yield

    return Server(
        uvicorn.Config(
            app,
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_REQUESTS_END_SECONDS,
        )
    )
