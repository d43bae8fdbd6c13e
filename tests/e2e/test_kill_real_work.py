"""`kill -9` in the middle of real work: a real trainer, a real model worker, a real engine.

After each: the registry is readable, the job says what became of it, and the next call works.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest
from engine_support import end_engines, engines, is_alive, kill_engine, until
from nano_support import nano

from project_worlds import make_project, make_sessions
from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig, load_config
from rune_engine.models import (
    FINISHED,
    Attempt,
    DistillParams,
    Job,
    RunTaskParams,
    TrajectoryDraft,
)

pytest.importorskip("torch")
BOUND_SECONDS = 240.0
PROJECT = make_project(21)
LONG_TASK = RunTaskParams(
    task_description="Keep the even numbers, then sum them.",
    test_suite="assert solve([1, 2]) == 3  # never holds, so every attempt is used",
    max_attempts=10,
    max_tokens=160,
    temperature=1.5,
)


@pytest.fixture
def config(tmp_path: Path) -> Iterator[RuneConfig]:
    base = nano(tmp_path / "nano", batch_size=4, rehearsal=2, finish_steps=4)
    config = load_config(
        home=tmp_path / "home", base_model=str(base), idle_seconds=60.0, checkpoint_seconds=0.2
    )
    yield config
    end_engines(config)


@pytest.fixture
async def client(config: RuneConfig) -> AsyncIterator[EngineClient]:
    async with EngineClient(config) as client:
        for number, session in enumerate(make_sessions(PROJECT, 8)):
            await client.record(
                TrajectoryDraft(
                    project_id=PROJECT.name,
                    task_description=session.task.description,
                    attempts=[Attempt(generated_code=session.task.solution, tests_passed=True)],
                    outcome="success",
                    session_id=f"s{number}",
                )
            )
        yield client


def descendants(config: RuneConfig, module: str) -> list[psutil.Process]:
    """The engine's living descendants that run `module`."""
    children = [c for engine in engines(config) for c in engine.children(recursive=True)]
    return [child for child in children if module in " ".join(child.cmdline())]


async def ended(client: EngineClient, job_id: str) -> Job:
    deadline = time.monotonic() + BOUND_SECONDS
    job = await client.get_job(job_id)
    while job.status not in FINISHED:
        assert time.monotonic() < deadline, f"still {job}"
        job = await client.wait_job(job_id, after_revision=job.revision, timeout=5)
    return job


async def training(client: EngineClient, config: RuneConfig) -> tuple[Job, psutil.Process]:
    """A distillation that has begun to train, and its trainer."""
    job = await client.distill(DistillParams(project_id=PROJECT.name, max_steps=40))
    deadline = time.monotonic() + BOUND_SECONDS
    while not job.message.startswith("step"):
        assert job.status not in FINISHED and time.monotonic() < deadline, job
        job = await client.wait_job(job.id, after_revision=job.revision, timeout=5)
    [trainer] = await asyncio.to_thread(descendants, config, "-m trainers ")
    return job, trainer


async def adapters_of(client: EngineClient) -> int:
    return (await client.list_adapters(project_id=PROJECT.name)).total


async def test_a_killed_trainer_is_started_again_and_its_job_succeeds(
    client: EngineClient, config: RuneConfig
) -> None:
    job, trainer = await training(client, config)
    kept = config.jobs_path / job.id / "checkpoints"
    await until(lambda: kept.is_dir() and any(kept.glob("0*")), "a checkpoint is there")
    trainer.kill()
    again = await ended(client, job.id)
    assert (again.status, again.attempt, again.error) == ("succeeded", 2, None)
    assert await adapters_of(client) == 1
    await until(lambda: not kept.exists(), "the job's folder is gone")


async def test_killing_the_engine_while_it_distills(
    client: EngineClient, config: RuneConfig
) -> None:
    job, trainer = await training(client, config)
    kill_engine(config)
    await until(lambda: not is_alive(trainer.pid), "the trainer has followed its engine")
    again = await ended(client, job.id)
    assert (again.status, again.attempt) == ("succeeded", 2), again.error
    assert await adapters_of(client) == 1


async def test_a_task_is_started_again_when_its_model_worker_was_killed(
    client: EngineClient, config: RuneConfig
) -> None:
    job = await client.run_task(LONG_TASK)
    [worker] = await until(
        lambda: descendants(config, "rune_engine.inference.worker"), "the worker runs"
    )
    worker.kill()
    again = await ended(client, job.id)
    assert (again.status, again.attempt, again.error) == ("succeeded", 2, None)


async def test_killing_the_engine_in_the_middle_of_a_task(
    client: EngineClient, config: RuneConfig
) -> None:
    job = await client.run_task(LONG_TASK)
    [worker] = await until(
        lambda: descendants(config, "rune_engine.inference.worker"), "the worker runs"
    )
    kill_engine(config)
    await until(lambda: not is_alive(worker.pid), "the worker has followed its engine")
    again = await ended(client, job.id)
    assert (again.status, again.attempt) == ("succeeded", 2), again.error


async def test_an_idle_engine_leaves_no_worker(tmp_path: Path) -> None:
    config = load_config(home=tmp_path / "home", idle_seconds=1.0)
    try:
        async with EngineClient(config) as client:
            job = await client.run_task(LONG_TASK.model_copy(update={"max_attempts": 1}))
            await ended(client, job.id)
            [worker] = descendants(config, "rune_engine.inference.worker")
        await until(lambda: not engines(config), "the engine has ended by itself")
        assert not is_alive(worker.pid)
    finally:
        end_engines(config)
