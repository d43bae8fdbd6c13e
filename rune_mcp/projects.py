"""Which project a tool's caller means."""

from __future__ import annotations

import anyio.to_thread


async def project_id_of(given: str) -> str:
    """The id of a project that is given by its id, or by the path of a folder in it."""
    if not given.startswith("/"):
        return given
    from rune_engine.projects import identify

    return (await anyio.to_thread.run_sync(identify, given)).id
