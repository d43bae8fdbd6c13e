"""The endpoint's port: on the loopback interface, open while its engine runs, off unless set."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rune_engine.errors import RuneError
from rune_engine.http_server import BACKLOG, LOOPBACK, http_server, loopback_socket
from rune_engine.models import OpenAIStatus
from rune_engine.service.engine import Engine
from rune_engine.service.openai.key import api_key

log = logging.getLogger(__name__)

_NEXT_STEP = "Choose another port: `rune serve --port`, or openai_port in config.toml."


@asynccontextmanager
async def openai_server(engine: Engine, stopping: asyncio.Event) -> AsyncIterator[OpenAIStatus]:
    """Serve the endpoint within the block, if a port is configured; `stopping` ends it.

    A port that cannot be had is told by the status, and logged: the memory works without it.
    """
    port = engine.config.openai_port
    if port is None:
        yield OpenAIStatus(base_url=None, detail="It is off: openai_port is not set.")
        return
    try:
        key = api_key(engine.config)
        listener = loopback_socket(port, _NEXT_STEP)
    except RuneError as error:
        log.error("The OpenAI endpoint is not served: %s", error)
        yield OpenAIStatus(base_url=None, detail=str(error))
        return
    # Loaded here: whoever has no port pays nothing for it.
    from rune_engine.service.openai.app import create_openai_app

    with listener:
        server = http_server(create_openai_app(engine, key), stopping)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        listener.listen(BACKLOG)
        address = f"http://{LOOPBACK}:{listener.getsockname()[1]}/v1"
        try:
            yield OpenAIStatus(base_url=address, detail=f"It listens at {address}.")
        finally:
            stopping.set()
            await serving
