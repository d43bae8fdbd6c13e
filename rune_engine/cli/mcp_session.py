"""A real MCP session over stdio with a `rune-mcp` server of our own, as an editor has one.

The demo and `rune run` go through it, so they use nothing an editor could not.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rune_engine.errors import RuneError

if TYPE_CHECKING:
    from mcp import Client

_WAIT_SECONDS = 50
_POLL_SECONDS = 0.5
OnProgress = Callable[[float, str], None]


class McpSession:
    """Rune's tools as plain calls: structured results in, `RuneError` out."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def call(
        self, tool: str, on_progress: OnProgress | None = None, **arguments: Any
    ) -> dict[str, Any]:
        """Call a tool and return its structured result.

        Raises:
            RuneError: the tool answered with an error; the text is the server's.
        """

        async def report(progress: float, total: float | None, message: str | None) -> None:
            if on_progress is not None:
                on_progress(progress / (total or 1.0), message or "")

        from mcp.types import TextContent

        result = await self._client.call_tool(tool, arguments, progress_callback=report)
        if result.is_error or not isinstance(result.structured_content, dict):
            raise RuneError(
                " ".join(part.text for part in result.content if isinstance(part, TextContent))
            )
        return result.structured_content

    async def job(
        self, tool: str, on_progress: OnProgress | None = None, **arguments: Any
    ) -> dict[str, Any]:
        """Call a tool that starts a job and wait until the job ended; return the job's result.

        Raises:
            RuneError: the job failed or was cancelled.
        """
        answer = await self.call(tool, on_progress, wait_seconds=_WAIT_SECONDS, **arguments)
        while answer["status"] in ("queued", "running"):
            await asyncio.sleep(_POLL_SECONDS)
            answer = await self.call("get_job", job_id=answer["job_id"])
            if on_progress is not None:
                on_progress(answer["progress"], answer["message"])
        if answer["status"] != "succeeded":
            error = answer.get("error") or {}
            raise RuneError(
                f"Job {answer['job_id']} {answer['status']}: {error.get('message', '')}",
                next_step=error.get("next_step", ""),
            )
        result: dict[str, Any] = answer["result"]
        return result


@asynccontextmanager
async def mcp_session(home: Path, **settings: str) -> AsyncIterator[McpSession]:
    """Start `rune-mcp` on this home and talk to it; `settings` become RUNE_... variables."""
    from mcp import Client, StdioServerParameters  # half a second that other commands save

    environment = {
        **os.environ,
        "RUNE_HOME": str(home),
        **{f"RUNE_{name.upper()}": value for name, value in settings.items()},
    }
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "rune_mcp.server"], env=environment
    )
    async with Client(server) as client:
        yield McpSession(client)
