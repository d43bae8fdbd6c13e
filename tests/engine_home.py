"""Fixtures of a home whose base model is scripted; its engine does not outlive the test."""

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
