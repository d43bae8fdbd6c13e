"""Rune's own server over its own HTTP door, with the conformance suite's fixtures put on it.

    python tests/conformance/conformance_server.py

The suite cannot show a token, so it is added here to what comes; everything else is what
`rune-mcp --http` runs. Prints the address, and ends on SIGTERM.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Any

from conformance_contents import add_contents
from conformance_questions import add_questions
from mcp.server import MCPServer
from mcp.types import Completion

from rune_engine.http_server import loopback_socket
from rune_mcp.http import serving
from rune_mcp.http.door import Door
from rune_mcp.server import attach, build_server

TOKEN = "the-token-of-the-conformance-suite"


class ShowToken(Door):
    """The door, to which every request brings the token."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        shown = (b"authorization", f"Bearer {TOKEN}".encode())
        await super().__call__({**scope, "headers": [*scope["headers"], shown]}, receive, send)


def composed() -> MCPServer[None]:
    server = build_server(attach)
    add_contents(server)
    add_questions(server)
    if server._lowlevel_server.get_request_handler("completion/complete") is None:

        @server.completion()
        async def complete(*_: Any) -> Completion:
            return Completion(values=[])

    return server


async def main() -> None:
    serving.Door = ShowToken
    with loopback_socket(0, "") as listener:
        print(serving.listen(listener), flush=True)
        await serving.serve(composed(), TOKEN, listener)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    asyncio.run(main())
