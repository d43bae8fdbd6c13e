"""Training and a client's wishes: who asks waits and is told, and who leaves is forgotten.

The stand-in trainer hangs until its job is cancelled, with the accelerator all to itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from engine_support import WAIT_SECONDS, base_model_folder, draft, finished, until, until_job
from openai import AsyncOpenAI
from openai_support import events, store_adapter, user

from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig
from rune_engine.models import DistillParams, Job

ECHO = {"model": "rune", "messages": user("Echo"), "stream": True}
FOR_EVER = {"model": "rune", "messages": user("Think for ever")}


async def distilling(client: EngineClient, model: Path) -> Job:
    await client.record(draft())
    return await client.distill(DistillParams(project_id="shop", base_model=str(model)))


@asynccontextmanager
async def training(client: EngineClient, folder: Path) -> AsyncIterator[Job]:
    """A job that trains until the block ends."""
    model = base_model_folder(folder, "hang")
    job = await distilling(client, model)
    await until((model / "trainer.pid").exists, "the trainer runs")
    yield job
    await client.cancel_job(job.id)
    assert (await finished(client, job)).status == "cancelled"


async def test_a_stream_is_told_that_it_waits_and_is_answered_after(
    client: EngineClient, raw: httpx.AsyncClient, tmp_path: Path
) -> None:
    text = ""
    async with asyncio.timeout(WAIT_SECONDS):
        async with training(client, tmp_path) as job:
            stream = raw.stream("POST", "/v1/chat/completions", json=ECHO)
            response = await stream.__aenter__()
            chunks = response.aiter_text()
            text += await anext(chunks)
            assert response.status_code == 200 and "x-rune-adapter" not in response.headers
            assert text.startswith(": rune: waits") and job.id in text
            assert "data:" not in text
        text += "".join([chunk async for chunk in chunks])
        await stream.__aexit__(None, None, None)
    words = [e["choices"][0]["delta"].get("content", "") for e in events(text)]
    assert "".join(words) == "one two three four five"


async def test_others_wait_and_none_fails(
    client: EngineClient, sdk: AsyncOpenAI, tmp_path: Path
) -> None:
    ask = sdk.chat.completions.create

    async def streamed() -> str:
        stream = await ask(model="rune", messages=user("Echo"), stream=True)
        return "".join([c.choices[0].delta.content or "" async for c in stream])

    async def whole() -> str | None:
        answer = await ask(model="rune", messages=user("Echo"))
        return answer.choices[0].message.content

    async with asyncio.timeout(WAIT_SECONDS):
        async with training(client, tmp_path):
            asked = [asyncio.create_task(make()) for make in (streamed, whole) * 3]
            await asyncio.sleep(0.3)
            assert not any(task.done() for task in asked)
        assert set(await asyncio.gather(*asked)) == {"one two three four five"}


async def test_the_memory_is_chosen_when_the_training_is_over(
    config: RuneConfig, client: EngineClient, sdk: AsyncOpenAI, tmp_path: Path
) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        async with training(client, tmp_path):
            # Returns once the stream has begun: it was told that it waits.
            stream = await sdk.chat.completions.create(
                model="rune@late", messages=user("Which memory"), stream=True
            )
            adapter = await asyncio.to_thread(store_adapter, config, 5, project_id="late")
        chunks = [chunk async for chunk in stream]
    assert chunks[0].model == f"rune:{adapter.id}"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "a memory"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_ends_the_generation(
    client: EngineClient, raw: httpx.AsyncClient, tmp_path: Path, stream: bool
) -> None:
    """The generation would take ten minutes, and a training waits for its end."""
    asking = asyncio.create_task(
        raw.post("/v1/chat/completions", json={**FOR_EVER, "stream": stream})
    )
    await asyncio.sleep(1.0)  # it is sent long before, and has a head start of three calls
    job = await distilling(client, base_model_folder(tmp_path))
    await until_job(client, job, lambda seen: "in use" in seen.message)
    asking.cancel()
    await asyncio.wait([asking])
    assert (await finished(client, job)).status == "succeeded"


async def test_a_client_that_leaves_while_it_waits_is_forgotten(
    client: EngineClient, raw: httpx.AsyncClient, tmp_path: Path
) -> None:
    async with training(client, tmp_path):
        asking = asyncio.create_task(raw.post("/v1/chat/completions", json=FOR_EVER))
        await asyncio.sleep(0.3)
        asking.cancel()
        await asyncio.wait([asking])
    (tmp_path / "next").mkdir()
    job = await distilling(client, base_model_folder(tmp_path / "next"))
    assert (await finished(client, job)).status == "succeeded"
