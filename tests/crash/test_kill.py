"""`kill -9` at the worst moments: no orphan is left, no job is lost, and the next call works."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest
from engine_support import (
    base_model_folder,
    draft,
    finished,
    is_alive,
    kill_engine,
    until,
    until_job,
)
from stand_in.trainers.direct import RESUMED

from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig
from rune_engine.errors import EngineUnavailableError
from rune_engine.models import DistillParams, Job, RunTaskParams


def content(path: Path) -> Callable[[], str | bool]:
    return lambda: path.exists() and path.read_text()


def another_pid(folder: Path, pid: int) -> int:
    """The pid that a trainer has left, once it is another one than `pid`; else 0."""
    text = (folder / "tiny-base" / "trainer.pid").read_text()
    return int(text) if text and int(text) != pid else 0


def running(job: Job) -> bool:
    return job.status == "running"


async def hanging(client: EngineClient, folder: Path) -> tuple[Job, int]:
    """A distillation in the middle of its training, and the trainer's pid."""
    await client.record(draft())
    model = base_model_folder(folder, "hang")
    job = await client.distill(DistillParams(project_id="shop", base_model=str(model)))
    await until_job(client, job, lambda seen: seen.message == "half way")
    return job, int(await until(content(model / "trainer.pid"), "the trainer runs"))


async def test_a_task_is_run_again_after_its_engine_was_killed(
    client: EngineClient, config: RuneConfig
) -> None:
    job = await client.run_task(RunTaskParams(task_description="Think a while"))
    await until_job(client, job, running)
    kill_engine(config)
    job = await finished(client, await client.get_job(job.id))
    assert (job.status, job.attempt) == ("succeeded", 2)
    assert (await client.status()).trajectories == 1


async def test_a_distillation_is_run_again_and_its_trainer_does_not_outlive_the_engine(
    client: EngineClient, config: RuneConfig, tmp_path: Path
) -> None:
    job, trainer = await hanging(client, tmp_path)
    kill_engine(config)
    await until(lambda: not is_alive(trainer), "the trainer is gone")
    base_model_folder(tmp_path, "finish")
    job = await finished(client, await client.get_job(job.id))
    assert (job.status, job.attempt) == ("succeeded", 2), job.error
    assert job.result is not None and job.result["steps"] == RESUMED
    assert (await client.status()).adapters == 1


async def test_a_job_that_keeps_killing_engines_is_given_up(
    client: EngineClient, config: RuneConfig
) -> None:
    job = await client.run_task(RunTaskParams(task_description="Think for ever"))
    for _ in range(3):
        await until_job(client, await client.get_job(job.id), running)
        kill_engine(config)
    job = await client.get_job(job.id)
    assert job.status == "failed" and job.error is not None
    assert job.error["code"] == "engine_unavailable"


async def test_a_killed_trainer_is_started_again_on_what_it_had_learnt_from(
    client: EngineClient, config: RuneConfig, tmp_path: Path
) -> None:
    job, trainer = await hanging(client, tmp_path)
    await client.record(draft(1))
    base_model_folder(tmp_path, "finish")
    os.kill(trainer, signal.SIGKILL)
    job = await finished(client, job)
    assert (job.status, job.attempt, job.error) == ("succeeded", 2, None)
    assert job.result is not None
    assert (job.result["steps"], job.result["trajectories"]) == (RESUMED, 1)
    assert (await client.status()).adapters == 1
    await until(lambda: not list(config.jobs_path.iterdir()), "its folder is gone")


async def test_a_trainer_that_is_killed_each_time_fails_its_job_and_the_next_one_works(
    client: EngineClient, tmp_path: Path
) -> None:
    job, trainer = await hanging(client, tmp_path)
    for _ in range(2):
        os.kill(trainer, signal.SIGKILL)
        trainer = await until(partial(another_pid, tmp_path, trainer), "a new trainer runs")
    os.kill(trainer, signal.SIGKILL)
    job = await finished(client, job)
    assert (job.status, job.attempt) == ("failed", 3)
    assert job.error is not None and job.error["code"] == "trainer_died"
    assert "SIGKILL" in job.error["message"] and "hanging as told" in job.error["message"]
    model = base_model_folder(tmp_path, "finish")
    again = await client.distill(DistillParams(project_id="shop", base_model=str(model)))
    assert (await finished(client, again)).status == "succeeded"


async def test_a_cancelled_job_is_not_taken_up_again(
    client: EngineClient, config: RuneConfig, tmp_path: Path
) -> None:
    job, trainer = await hanging(client, tmp_path)
    os.kill(trainer, signal.SIGSTOP)  # so that ending it takes its time
    await client.cancel_job(job.id)
    kill_engine(config)
    os.kill(trainer, signal.SIGKILL)
    assert (await client.get_job(job.id)).status == "cancelled"


async def test_stopping_the_engine_ends_the_trainer_and_keeps_the_job(
    client: EngineClient, tmp_path: Path
) -> None:
    job, trainer = await hanging(client, tmp_path)
    child = int((tmp_path / "tiny-base" / "child.pid").read_text())
    assert await client.stop()
    assert not is_alive(trainer) and not is_alive(child)
    base_model_folder(tmp_path, "finish")
    job = await finished(client, await client.get_job(job.id))
    assert (job.status, job.attempt, job.max_attempts) == ("succeeded", 2, 4), "a stop is free"


async def test_a_killed_engine_leaves_no_scratch_folder_behind(
    client: EngineClient, config: RuneConfig, tmp_path: Path
) -> None:
    job, _ = await hanging(client, tmp_path)
    await client.cancel_job(job.id)
    kill_engine(config)
    await client.health()
    assert not list(config.jobs_path.iterdir())


async def test_an_interrupted_submission_is_reported_not_repeated(
    client: EngineClient, config: RuneConfig
) -> None:
    """The engine stands still when the request arrives, and dies with it."""
    pid = (await client.health()).pid
    psutil.Process(pid).suspend()
    submitting = asyncio.create_task(
        client.run_task(RunTaskParams(task_description="Add two numbers"))
    )
    await until(lambda: _queued(pid), "the request waits in the engine's socket")
    kill_engine(config)
    with pytest.raises(EngineUnavailableError, match="not known"):
        await submitting
    assert await client.list_jobs() == []


def _queued(pid: int) -> bool:
    """Whether somebody has connected to the suspended engine (a state 2 entry waits in accept)."""
    table = Path("/proc/net/unix")
    if not table.exists():
        pytest.skip("no /proc here")
    names = [line.split() for line in table.read_text().splitlines()[1:]]
    return any(row[5] == "02" and len(row) > 7 and row[7].endswith("engine.sock") for row in names)
