"""Standard input as MCP lines, with an answer to the lines that cannot be read.

The SDK's own reader replaces bytes that are not UTF-8, so damaged text would be stored, and drops
lines that are not JSON, so their sender would wait for ever. Knows the wire, not the tools.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import BinaryIO

import anyio
import pydantic_core
from mcp.shared.message import SessionMessage
from mcp.types import PARSE_ERROR, ErrorData, JSONRPCError


class MessageLines:
    """An async iterator over the lines of `stream` that are JSON in UTF-8.

    Every other line is answered through `send` with a JSON-RPC parse error.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = anyio.wrap_file(stream)
        self.send: Callable[[SessionMessage], Awaitable[None]] | None = None

    async def __aiter__(self) -> AsyncIterator[str]:
        async for raw in self._stream:
            if not raw.strip():
                continue
            try:
                pydantic_core.from_json(raw)
            except ValueError as error:
                await self._refuse(raw, str(error))
            else:
                yield raw.decode("utf-8")

    async def _refuse(self, raw: bytes, reason: str) -> None:
        error = ErrorData(
            code=PARSE_ERROR,
            message=f"The message is not JSON in UTF-8 ({reason}). Nothing of it was used; "
            "send it again with its text encoded as UTF-8.",
        )
        answer = JSONRPCError(jsonrpc="2.0", id=_request_id(raw), error=error)
        if self.send is not None:
            await self.send(SessionMessage(answer))


def take_stdin() -> BinaryIO:
    """Standard input for this server alone: child processes read nothing from descriptor 0."""
    private = os.dup(0)
    os.set_inheritable(private, False)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return os.fdopen(private, "rb")


def _request_id(raw: bytes) -> str | int | None:
    """The id of the request in a damaged line, where enough of it can be read."""
    try:
        message = json.loads(raw.decode("utf-8", errors="replace"))
    except ValueError:
        return None
    found = message.get("id") if isinstance(message, dict) else None
    return found if isinstance(found, str | int) and not isinstance(found, bool) else None
