"""Fixtures of a home whose base model is scripted; its engine does not outlive its tests.

`config` and `client` are a test's own. `shared_config` and `shared_client` are for tests that leave
a home as they find it, or write to a project of their own: one engine serves all of a module.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from engine_support import end_engines, scripted_config, stand_in_trainer_path

from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RuneConfig]:
    monkeypatch.setenv("PYTHONPATH", stand_in_trainer_path())
    config = scripted_config(tmp_path)
    yield config
    end_engines(config)


@pytest.fixture
async def client(config: RuneConfig) -> AsyncIterator[EngineClient]:
    async with EngineClient(config) as client:
        yield client


@pytest.fixture(scope="module")
def shared_config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuneConfig]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", stand_in_trainer_path())
        config = scripted_config(tmp_path_factory.mktemp("shared"))
        yield config
        end_engines(config)


@pytest.fixture
async def shared_client(shared_config: RuneConfig) -> AsyncIterator[EngineClient]:
    async with EngineClient(shared_config) as client:
        yield client
