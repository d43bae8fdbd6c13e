"""One engine a module whose OpenAI endpoint is open, on any free port, and clients it lets in."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from engine_support import SCRIPT, end_engines, scripted_config, stand_in_trainer_path
from openai import AsyncOpenAI
from openai_support import MORE_SCRIPT, Endpoint, reach

from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuneConfig]:
    folder = tmp_path_factory.mktemp("endpoint")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", stand_in_trainer_path())
        config = scripted_config(folder, openai_port=0, exclusive="always")
        (folder / "script.json").write_text(json.dumps([*MORE_SCRIPT, *SCRIPT]), encoding="utf-8")
        yield config
        end_engines(config)


@pytest.fixture
async def client(config: RuneConfig) -> AsyncIterator[EngineClient]:
    async with EngineClient(config) as client:
        yield client


@pytest.fixture
async def endpoint(config: RuneConfig, client: EngineClient) -> Endpoint:
    return await reach(config, client)


@pytest.fixture
async def sdk(endpoint: Endpoint) -> AsyncIterator[AsyncOpenAI]:
    async with endpoint.sdk() as sdk:
        yield sdk


@pytest.fixture
async def raw(endpoint: Endpoint) -> AsyncIterator[httpx.AsyncClient]:
    async with endpoint.raw() as raw:
        yield raw
