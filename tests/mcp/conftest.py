"""Homes for the MCP server's tests; their engines are stopped at the end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from mcp_support import REPOSITORY, scripted_config

from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig


@pytest.fixture(scope="module")
def rune_config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuneConfig]:
    """A home with an engine that the tests of one module share."""
    config = scripted_config(tmp_path_factory.mktemp("rune") / "home")
    yield config
    asyncio.run(_stop(config))


async def _stop(config: RuneConfig) -> None:
    async with EngineClient(config) as engine:
        await engine.stop()


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a server process with a home of its own; its engine is stopped."""
    config = scripted_config(tmp_path / "home", idle_seconds=5.0)
    yield {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "RUNE_HOME": str(config.home),
        "RUNE_BASE_MODEL": config.base_model,
        "RUNE_IDLE_SECONDS": str(config.idle_seconds),
    }
    asyncio.run(_stop(config))
