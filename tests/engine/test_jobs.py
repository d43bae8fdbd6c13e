"""Jobs through a real engine: submitted, checked, run, followed and cancelled."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from engine_support import (
    ADD_TESTS,
    WAIT_SECONDS,
    base_model_folder,
    draft,
    finished,
    is_alive,
    until,
    until_job,
)

from rune_engine import errors
from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig
from rune_engine.models import AdapterInfo, DistillParams, RunTaskParams

SLOW = RunTaskParams(task_description="Think for ever")


async def distilled(client: EngineClient, folder: Path, **params: Any) -> AdapterInfo:
    """An adapter of project `shop`, made by a real job."""
    await client.record(draft())
    model = base_model_folder(folder)
    job = await client.distill(DistillParams(project_id="shop", base_model=str(model), **params))
    job = await finished(client, job)
    assert job.result is not None, job.error
    return await client.get_adapter(job.result["adapter_id"])


async def test_a_task_is_solved_and_remembered(client: EngineClient) -> None:
    params = RunTaskParams(
        task_description="Add two numbers", test_suite=ADD_TESTS, project_id="shop"
    )
    job = await finished(client, await client.run_task(params))
    assert job.result is not None, job.error
    assert (job.status, job.progress, job.attempt) == ("succeeded", 1.0, 1)
    assert job.result["tests_passed"] is True and job.result["adapter_id"] is None
    status = await client.status()
    assert status.trajectories == 1 and status.jobs == {"succeeded": 1}
    assert status.projects[0].distillable_trajectories == 1


async def test_a_task_the_model_cannot_answer_fails_with_its_error(
    shared_client: EngineClient,
) -> None:
    job = await shared_client.run_task(RunTaskParams(task_description="Nobody knows this"))
    job = await finished(shared_client, job)
    assert job.status == "failed" and job.error is not None
    assert job.error["code"] == "inference_error" and job.error["next_step"]


async def test_many_tasks_run_at_once(client: EngineClient) -> None:
    jobs = [await client.run_task(SLOW) for _ in range(9)]
    for job in jobs[:8]:
        await until_job(client, job, lambda seen: seen.status == "running")
    assert (await client.get_job(jobs[8].id)).status == "queued"
    await client.cancel_job(jobs[0].id)
    await until_job(client, jobs[8], lambda seen: seen.status == "running")


async def test_cancelling_a_running_task_ends_it(client: EngineClient) -> None:
    job = await client.run_task(SLOW)
    await until_job(client, job, lambda seen: seen.status == "running")
    await client.cancel_job(job.id)
    assert (await finished(client, job)).status == "cancelled"
    async with asyncio.timeout(WAIT_SECONDS):
        while (await client.health()).busy:  # noqa: ASYNC110 - until it has looked for another job
            await asyncio.sleep(0.02)
    assert (await client.status()).trajectories == 0


async def test_cancelling_what_has_ended_changes_nothing(shared_client: EngineClient) -> None:
    job = await finished(
        shared_client,
        await shared_client.run_task(RunTaskParams(task_description="Add two numbers")),
    )
    assert await shared_client.cancel_job(job.id) == job


async def test_waiting_returns_when_the_job_changes_or_time_is_up(
    shared_client: EngineClient,
) -> None:
    job = await shared_client.run_task(SLOW)
    job = await until_job(shared_client, job, lambda seen: "generating" in seen.message)
    same = await shared_client.wait_job(job.id, after_revision=job.revision, timeout=0.2)
    assert same.revision == job.revision
    waiting = asyncio.create_task(shared_client.wait_job(job.id, after_revision=job.revision))
    await shared_client.cancel_job(job.id)
    assert (await waiting).revision > job.revision


async def test_jobs_are_listed_newest_first(client: EngineClient) -> None:
    first, second = await client.run_task(SLOW), await client.run_task(SLOW)
    assert [job.id for job in await client.list_jobs()] == [second.id, first.id]
    assert [job.id for job in await client.list_jobs(limit=1)] == [second.id]


async def test_trajectories_become_an_adapter(client: EngineClient, tmp_path: Path) -> None:
    await client.record(draft(1))
    adapter = await distilled(client, tmp_path)
    assert (adapter.source, adapter.hierarchy_level, adapter.version) == (
        "distillation",
        "project",
        1,
    )
    assert adapter.base_model_id == "tiny-base" and adapter.agent_id is None
    assert adapter.session_id == "session-0", "the newest trajectory's"
    assert adapter.training_task_hash is not None and len(adapter.training_task_hash) == 64
    assert Path(adapter.file_path).is_file()
    model = str(tmp_path / "tiny-base")
    found = await client.retrieve("shop", base_model=model)
    assert found.adapter == adapter
    assert (await client.list_adapters(project_id="shop")).adapters == [adapter]


async def test_a_distillation_leaves_no_files_behind(
    client: EngineClient, config: RuneConfig, tmp_path: Path
) -> None:
    await distilled(client, tmp_path)
    await until(lambda: not list(config.jobs_path.iterdir()), "the job's folder is gone")


async def test_versions_and_levels_follow_what_was_asked(
    client: EngineClient, tmp_path: Path
) -> None:
    first = await distilled(client, tmp_path)
    second = await distilled(client, tmp_path, seed=1)
    task = await distilled(client, tmp_path, task_type="feature-impl")
    domain = await distilled(client, tmp_path, domain="general")
    levels = [(a.hierarchy_level, a.version) for a in (first, second, task, domain)]
    assert levels == [("project", 1), ("project", 2), ("task", 1), ("domain", 1)]
    assert first.training_task_hash == second.training_task_hash


async def test_distillations_run_one_at_a_time(client: EngineClient, tmp_path: Path) -> None:
    await client.record(draft())
    model = base_model_folder(tmp_path, "hang")
    params = DistillParams(project_id="shop", base_model=str(model))
    first, second = await client.distill(params), await client.distill(params)
    await until_job(client, first, lambda seen: seen.message == "half way")
    assert (await client.get_job(second.id)).status == "queued"
    base_model_folder(tmp_path, "finish")
    await client.cancel_job(first.id)
    assert (await finished(client, second)).status == "succeeded"


async def test_cancelling_a_distillation_ends_the_trainer_and_its_children(
    client: EngineClient, config: RuneConfig, tmp_path: Path
) -> None:
    await client.record(draft())
    model = base_model_folder(tmp_path, "hang")
    job = await client.distill(DistillParams(project_id="shop", base_model=str(model)))
    trainer = int(await until(_content(model / "trainer.pid"), "the trainer runs"))
    child = int(await until(_content(model / "child.pid"), "its child runs"))
    await client.cancel_job(job.id)
    assert (await finished(client, job)).status == "cancelled"
    assert not is_alive(trainer)
    await until(lambda: not is_alive(child), "the trainer's child is gone")
    assert (await client.status()).adapters == 0
    await until(lambda: not list(config.jobs_path.iterdir()), "the job's folder is gone")


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [("refuse", "The loss is not finite."), ("babble", "not in its protocol")],
)
async def test_a_trainer_that_fails_fails_its_job(
    shared_client: EngineClient, tmp_path: Path, behaviour: str, message: str
) -> None:
    await shared_client.record(draft())
    model = base_model_folder(tmp_path, behaviour)
    job = await shared_client.distill(DistillParams(project_id="shop", base_model=str(model)))
    job = await finished(shared_client, job)
    assert job.error is not None and job.error["code"] == "training_error"
    assert message in job.error["message"]
    await distilled(shared_client, tmp_path)


BAD_TASKS: dict[str, tuple[dict[str, Any], type[errors.RuneError]]] = {
    "unknown adapter": ({"adapter": "no-such-adapter"}, errors.AdapterNotFoundError),
    "unknown model": ({"base_model": "no-such-model"}, errors.BaseModelNotFoundError),
    "no such script": ({"base_model": "scripted:/nowhere"}, errors.BaseModelNotFoundError),
    "relative workspace": ({"workspace": "some/folder"}, errors.InvalidInputError),
    "missing workspace": ({"workspace": "/no/such/folder"}, errors.InvalidInputError),
    "file as workspace": ({"workspace": "/etc/hosts"}, errors.InvalidInputError),
    "NUL in workspace": ({"workspace": "/tmp\0"}, errors.InvalidInputError),
}


@pytest.mark.parametrize("name", BAD_TASKS)
async def test_a_task_that_could_only_fail_is_refused(
    shared_client: EngineClient, name: str
) -> None:
    changes, expected = BAD_TASKS[name]
    before = await shared_client.list_jobs()
    with pytest.raises(expected) as refused:
        await shared_client.run_task(RunTaskParams(task_description="Add two numbers", **changes))
    assert type(refused.value) is expected and refused.value.next_step
    assert await shared_client.list_jobs() == before


async def test_an_adapter_for_another_base_model_is_refused(
    client: EngineClient, tmp_path: Path
) -> None:
    adapter = await distilled(client, tmp_path)
    task = RunTaskParams(task_description="Add two numbers", adapter=adapter.id)
    with pytest.raises(errors.AdapterBaseModelMismatchError, match="tiny-base"):
        await client.run_task(task)
    assert len(await client.list_jobs()) == 1


BAD_DISTILLATIONS: dict[str, tuple[dict[str, Any], type[errors.RuneError]]] = {
    "empty project": ({"project_id": "empty"}, errors.NothingToDistillError),
    "empty domain": ({"domain": "other"}, errors.NothingToDistillError),
    "unknown trajectory": ({"trajectory_ids": ["nope"]}, errors.TrajectoryNotFoundError),
    "scripted model": ({"base_model": None}, errors.BaseModelNotFoundError),
    "unknown model": ({"base_model": "no-such"}, errors.BaseModelNotFoundError),
}


@pytest.mark.parametrize("name", BAD_DISTILLATIONS)
async def test_a_distillation_that_could_only_fail_is_refused(
    shared_client: EngineClient, tmp_path: Path, name: str
) -> None:
    changes, expected = BAD_DISTILLATIONS[name]
    await shared_client.record(draft())
    await shared_client.record(draft(1, held_out=True, project_id="empty"))
    jobs, adapters = await shared_client.list_jobs(), (await shared_client.status()).adapters
    given = {"project_id": "shop", "base_model": str(base_model_folder(tmp_path))}
    with pytest.raises(expected) as refused:
        await shared_client.distill(DistillParams.model_validate({**given, **changes}))
    assert type(refused.value) is expected and refused.value.next_step
    assert await shared_client.list_jobs() == jobs
    assert (await shared_client.status()).adapters == adapters


@pytest.mark.parametrize("call", ["get_job", "cancel_job", "wait_job"])
async def test_an_unknown_job_is_not_found(shared_client: EngineClient, call: str) -> None:
    with pytest.raises(errors.JobNotFoundError):
        await getattr(shared_client, call)("no-such-job")


def _content(path: Path) -> Any:
    return lambda: path.exists() and path.read_text()
