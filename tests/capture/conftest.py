"""A home whose engine follows a folder of sessions of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from engine_support import end_engines, scripted_config

from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig

QUIET_SECONDS = 2.0


@pytest.fixture
def projects(tmp_path: Path) -> Path:
    folder = tmp_path / "projects"
    folder.mkdir()
    return folder


@pytest.fixture
def config(tmp_path: Path, projects: Path) -> Iterator[RuneConfig]:
    folders = {"claude-code": [str(projects)]}
    settings = {"folders": folders, "quiet_seconds": QUIET_SECONDS}
    config = scripted_config(tmp_path, capture=settings)
    yield config
    end_engines(config)


@pytest.fixture
async def client(config: RuneConfig) -> AsyncIterator[EngineClient]:
    async with EngineClient(config) as client:
        yield client
