"""A real engine that trains while requests arrive: they wait, and none of them fails."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from engine_support import (
    ADD_TESTS,
    base_model_folder,
    draft,
    finished,
    is_alive,
    kill_engine,
    scripted_config,
    until,
    until_job,
)

from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig
from rune_engine.models import DistillParams, Job, RunTaskParams

REQUESTS = 10


@pytest.fixture
def config(config: RuneConfig, tmp_path: Path) -> RuneConfig:
    """The usual home, where training and serving take turns."""
    return scripted_config(tmp_path, exclusive="always")


async def train(client: EngineClient, model: Path) -> tuple[Job, int]:
    """A distillation whose trainer has begun and hangs, and the trainer's pid."""
    await client.record(draft())
    job = await client.distill(DistillParams(project_id="shop", base_model=str(model)))
    pid = await until(lambda: _pid(model / "trainer.pid"), "the trainer has begun")
    return job, pid


def _pid(file: Path) -> int:
    return int(file.read_text() or 0) if file.exists() else 0


async def ask(client: EngineClient, number: int) -> Job:
    params = RunTaskParams(
        task_description=f"Add two numbers, {number}.", test_suite=ADD_TESTS, project_id="shop"
    )
    return await client.run_task(params)


async def told(client: EngineClient) -> list[str]:
    page = await client.history()
    kinds = [entry.kind for entry in reversed(page.entries)]
    return [kind for kind in kinds if kind.startswith("serving_")]


async def test_requests_wait_while_a_job_trains_and_a_killed_trainer_lets_them_go(
    config: RuneConfig, client: EngineClient, tmp_path: Path
) -> None:
    model = base_model_folder(tmp_path, "hang")
    training, trainer = await train(client, model)
    asked = [await ask(client, number) for number in range(REQUESTS)]
    waiting = await until_job(client, asked[0], lambda job: "waits" in job.message)
    assert training.id in waiting.message
    assert not any([(await client.get_job(job.id)).finished_at for job in asked])
    (model / "behaviour").write_text("finish")
    os.kill(trainer, signal.SIGKILL)
    ended = await asyncio.gather(*(finished(client, job) for job in [*asked, training]))
    assert [job.status for job in ended] == ["succeeded"] * (REQUESTS + 1)
    assert all(job.result and job.result["tests_passed"] for job in ended[:-1])
    assert await told(client) == ["serving_slept", "serving_woke"] * 2


async def test_an_engine_killed_while_serving_slept_leaves_nobody_waiting(
    config: RuneConfig, client: EngineClient, tmp_path: Path
) -> None:
    model = base_model_folder(tmp_path, "hang")
    training, trainer = await train(client, model)
    request = await ask(client, 0)
    assert await told(client) == ["serving_slept"]
    kill_engine(config)
    await until(lambda: not is_alive(trainer), "the trainer went with its engine")
    (model / "behaviour").write_text("finish")
    ended = [await finished(client, await client.get_job(job.id)) for job in (request, training)]
    assert [job.status for job in ended] == ["succeeded"] * 2
    kinds = await told(client)
    assert kinds[:2] == ["serving_slept", "serving_woke"] and kinds[-1] == "serving_woke"
