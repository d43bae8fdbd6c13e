"""A real vLLM server that sleeps, forgets, refuses and is started by `rune vllm serve`."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from inference_support import BASE_MODEL_ID, MakeAdapter, ask

from rune_engine.errors import (
    AdapterUnsupportedError,
    BackendUnavailableError,
    InferenceError,
)
from rune_engine.inference.provider import AdapterRef
from rune_engine.inference.vllm.provider import VllmProvider
from rune_engine.inference.vllm.server import VllmServer
from rune_engine.inference.vllm.staging import Staging

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def server(url: str) -> AsyncIterator[VllmServer]:
    server = VllmServer(url, 60)
    yield server
    await server.close()


async def adapters_on(server: VllmServer) -> list[str]:
    return [model.name for model in await server.models() if model.parent]


@pytest.fixture(scope="session")
def too_high(make_adapter: MakeAdapter) -> AdapterRef:
    return make_adapter("too-high", seed=11, rank=16)


async def test_it_sleeps_and_answers_as_before(
    provider: VllmProvider, server: VllmServer, adapter_a: AdapterRef
) -> None:
    request = ask("add", logprobs=True)
    before = [await provider.generate([request], adapter=a) for a in (None, adapter_a)]
    await provider.sleep()
    assert await server.is_sleeping()
    assert not provider.status().loaded
    await provider.sleep()
    await provider.wake()
    assert not await server.is_sleeping()
    assert [await provider.generate([request], adapter=a) for a in (None, adapter_a)] == before


async def test_a_call_wakes_it(provider: VllmProvider, adapter_a: AdapterRef) -> None:
    before = await provider.generate([ask("add")], adapter=adapter_a)
    await provider.sleep()
    assert await provider.generate([ask("add")], adapter=adapter_a) == before


async def test_one_that_was_left_asleep_is_woken(
    provider: VllmProvider, server: VllmServer
) -> None:
    await server.sleep()
    assert len(await provider.generate([ask("add")])) == 1


async def test_an_adapter_that_was_lost_in_its_sleep_is_loaded_again(
    provider: VllmProvider, server: VllmServer, adapter_a: AdapterRef
) -> None:
    before = await provider.generate([ask("add")], adapter=adapter_a)
    await provider.sleep()
    for name in await adapters_on(server):
        await server.unload(name)
    await provider.wake()
    assert await provider.generate([ask("add")], adapter=adapter_a) == before


async def test_an_adapter_that_answers_otherwise_is_loaded_again(
    provider: VllmProvider,
    server: VllmServer,
    direct: httpx.AsyncClient,
    adapter_a: AdapterRef,
    adapter_b: AdapterRef,
) -> None:
    before = await provider.generate([ask("add", logprobs=True)], adapter=adapter_a)
    await provider.sleep()
    await replace_on_server(server, direct, adapter_b)
    await provider.wake()
    assert await provider.generate([ask("add", logprobs=True)], adapter=adapter_a) == before


async def test_it_refuses_to_serve_what_stays_otherwise(
    provider: VllmProvider,
    server: VllmServer,
    direct: httpx.AsyncClient,
    staging: Path,
    adapter_a: AdapterRef,
    adapter_b: AdapterRef,
) -> None:
    before = await provider.generate([ask("add")], adapter=adapter_a)
    await provider.sleep()
    [copy] = staging.glob("serving-*/*-*/adapter_model.safetensors")
    shutil.copyfile(adapter_b.path / copy.name, copy)
    await replace_on_server(server, direct, adapter_b)
    with pytest.raises(InferenceError, match="otherwise than before"):
        await provider.wake()
    with pytest.raises(InferenceError, match="otherwise than before"):
        await provider.generate([ask("add")])
    await provider.close()
    assert await provider.generate([ask("add")], adapter=adapter_a) == before


async def replace_on_server(server: VllmServer, direct: httpx.AsyncClient, by: AdapterRef) -> None:
    """What a bug of waking does: the one loaded adapter's name now means other weights."""
    [name] = await adapters_on(server)
    body = {"lora_name": name, "lora_path": str(by.path), "load_inplace": True}
    (await direct.post("/v1/load_lora_adapter", json=body)).raise_for_status()


async def test_an_adapter_that_somebody_unloaded_is_loaded_again(
    provider: VllmProvider, server: VllmServer, adapter_a: AdapterRef
) -> None:
    before = await provider.generate([ask("add")], adapter=adapter_a)
    for name in await adapters_on(server):
        await server.unload(name)
    assert await provider.generate([ask("add")], adapter=adapter_a) == before
    for name in await adapters_on(server):
        await server.unload(name)
    *_, last = [item async for item in provider.stream(ask("add"), adapter=adapter_a)]
    assert [last] == before


async def test_nothing_is_left_once_it_is_closed(
    provider: VllmProvider, server: VllmServer, staging: Path, adapter_a: AdapterRef
) -> None:
    await provider.generate([ask("add")], adapter=adapter_a)
    assert len(await adapters_on(server)) == 1
    await provider.close()
    assert await adapters_on(server) == []
    assert list(staging.iterdir()) == []


async def test_what_a_killed_process_left_is_cleared(
    provider: VllmProvider, server: VllmServer, staging: Path, adapter_a: AdapterRef
) -> None:
    dead = Staging.open(staging)
    copy = dead.copy(adapter_a)
    await server.load("rune-left-over", str(copy.path), adapter_a.id)
    os.close(dead._lock)  # as the kernel does for a process that dies
    await provider.generate([ask("add")])
    assert await adapters_on(server) == []
    assert not copy.path.exists()


async def test_a_rank_above_the_servers_is_refused_before_it_is_sent(
    provider: VllmProvider, server: VllmServer, too_high: AdapterRef
) -> None:
    with pytest.raises(AdapterUnsupportedError, match="rank 16 is above the server's 8"):
        await provider.generate([ask("add")], adapter=too_high)
    assert await adapters_on(server) == []


async def test_the_servers_own_refusals_are_errors_of_ours(
    server: VllmServer, too_high: AdapterRef, adapter_a: AdapterRef, tmp_path: Path
) -> None:
    with pytest.raises(AdapterUnsupportedError, match="max_lora_rank"):
        await server.load("too-high", str(too_high.path), "too-high")
    shutil.copytree(adapter_a.path, tmp_path / "dora")
    config = tmp_path / "dora" / "adapter_config.json"
    config.write_text(config.read_text().replace('"use_dora": false', '"use_dora": true'))
    with pytest.raises(AdapterUnsupportedError, match="DoRA"):
        await server.load("dora", str(tmp_path / "dora"), "dora")
    with pytest.raises(InferenceError, match="cannot read the files"):
        await server.load("nowhere", str(tmp_path / "nowhere"), "nowhere")


async def test_a_server_that_cannot_sleep_says_how_to_start_one(url: str) -> None:
    server = VllmServer(f"{url}/nothing-is-here", 60)
    with pytest.raises(InferenceError, match="not started to sleep") as raised:
        await server.sleep()
    assert "rune vllm serve" in raised.value.next_step
    await server.close()


async def test_a_server_of_another_base_model_is_not_used(
    url: str, base_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / BASE_MODEL_ID
    shutil.copytree(base_folder, folder)
    config = folder / "config.json"
    config.write_text(
        config.read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 3')
    )
    for base_model_id in (BASE_MODEL_ID, "another"):
        provider = VllmProvider(base_model_id, folder, url, staging=tmp_path / "staging")
        with pytest.raises(BackendUnavailableError, match=f"not the base model '{base_model_id}'"):
            await provider.generate([ask("add")])
        await provider.close()
