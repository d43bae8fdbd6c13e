"""Standard input as MCP lines, with an answer to the lines that cannot be read.

The SDK's own reader replaces bytes that are not UTF-8, so damaged text would be stored, and drops
lines that are not JSON, so their sender would wait for ever. Knows the wire, not the tools.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import BinaryIO

import anyio
import anyio.to_thread
import pydantic_core
from mcp.shared.message import SessionMessage
from mcp.types import INVALID_REQUEST, PARSE_ERROR, ErrorData, JSONRPCError

MAX_LINE_BYTES = 16 * 1024 * 1024
"""Longest message; the engine takes half of that."""
_LOOKED_AT = 200
_LONGEST_ID = 100
_ID = rb'"id"\s*:\s*(\d{1,18}|"[^"\\\x00-\x1f\x80-\xff]{1,100}")\s*'
_FIRST = re.compile(rb'\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?' + _ID + rb",")
_LAST = re.compile(rb"," + rb"\s*" + _ID + rb"\}\s*\Z")


class MessageLines:
    """An async iterator over the lines of `stream` that are JSON-RPC messages in UTF-8.

    Every other line is answered through `send` with a JSON-RPC error; none is too long or too deep
    for that.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.send: Callable[[SessionMessage], Awaitable[None]] | None = None

    async def __aiter__(self) -> AsyncIterator[str]:
        while raw := await self._line():
            if not raw.strip():
                continue
            problem = _problem(raw)
            if problem is None:
                yield raw.decode("utf-8")
            else:
                await self._refuse(raw, *problem)

    async def _line(self) -> bytes:
        """The next line; of one that is too long its beginning and its end."""
        raw = await anyio.to_thread.run_sync(self._stream.readline, MAX_LINE_BYTES + 1)
        head = raw[:_LOOKED_AT]
        while len(raw) > MAX_LINE_BYTES and not raw.endswith(b"\n"):
            more = await anyio.to_thread.run_sync(self._stream.readline, MAX_LINE_BYTES + 1)
            if not more:
                break
            raw = head + b" " * (MAX_LINE_BYTES + 1) + raw[-_LOOKED_AT:] + more
        return raw

    async def _refuse(self, raw: bytes, code: int, reason: str) -> None:
        answer = JSONRPCError(
            jsonrpc="2.0", id=_request_id(raw), error=ErrorData(code=code, message=reason)
        )
        if self.send is not None:
            await self.send(SessionMessage(answer))


def _problem(raw: bytes) -> tuple[int, str] | None:
    """What is wrong with a line, as a JSON-RPC error's code and message; None for a message."""
    if len(raw) > MAX_LINE_BYTES:
        return INVALID_REQUEST, (
            f"The message is longer than {MAX_LINE_BYTES // 1024**2} MiB. Nothing of it was used;"
            " send less: shorten long texts, or record fewer attempts at once."
        )
    try:
        message = pydantic_core.from_json(raw)
    except ValueError as error:
        return PARSE_ERROR, (
            f"The message is not JSON in UTF-8 ({error}). Nothing of it was used; "
            "send it again with its text encoded as UTF-8."
        )
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        return INVALID_REQUEST, (
            "The message is no JSON-RPC 2.0 object. Nothing of it was used; send one message a"
            ' line, with "jsonrpc": "2.0".'
        )
    return None


def take_stdin() -> BinaryIO:
    """Standard input for this server alone: child processes read nothing from descriptor 0."""
    private = os.dup(0)
    os.set_inheritable(private, False)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return os.fdopen(private, "rb")


def _request_id(raw: bytes) -> str | int | None:
    """The id of the request in a line that cannot be used, where enough of it can be read."""
    message = None
    if len(raw) <= MAX_LINE_BYTES:
        with suppress(ValueError, RecursionError):
            message = json.loads(raw.decode("utf-8", errors="replace"))
    if isinstance(message, dict):
        found = message.get("id")
    else:
        # Only where it is surely the message's own: right at its beginning, or at its very end.
        placed = _FIRST.match(raw[:_LOOKED_AT]) or _LAST.search(raw[-_LOOKED_AT:])
        found = json.loads(placed[1]) if placed else None
    usable = isinstance(found, str | int) and not isinstance(found, bool)
    return found if usable and len(str(found)) <= _LONGEST_ID else None
