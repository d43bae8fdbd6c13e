"""uvicorn as the engine uses it: on sockets that are bound already, ended by an event.

Knows nothing of what is served.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import uvicorn

BACKLOG = 1024
_REQUESTS_END_SECONDS = 3
_KEEP_ALIVE_SECONDS = 65
"""Longer than clients keep an idle connection, so that none is closed as it is used again."""


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
            """Leave signals to the engine: uvicorn would end the process before its clean-up."""
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
