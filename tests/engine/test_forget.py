"""Forgetting through the engine: running work ends, nothing that learnt is served, rebuilding."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_support import base_model_folder, draft, finished, until_job

from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig
from rune_engine.errors import AdapterForgottenError, NotFoundError
from rune_engine.models import DistillParams, ForgetParams, Job, RunTaskParams

PROJECT = ForgetParams(project_id="shop")


def homes_files_with(config: RuneConfig, words: str) -> list[str]:
    return [
        str(path)
        for path in config.home.rglob("*")
        if path.is_file() and words.encode() in path.read_bytes()
    ]


async def distilled(client: EngineClient, folder: Path, count: int = 2) -> Job:
    for number in range(count):
        await client.record(draft(number))
    model = base_model_folder(folder)
    job = await client.distill(DistillParams(project_id="shop", base_model=str(model)))
    return await finished(client, job)


async def test_a_forgotten_project_is_neither_found_nor_served(
    client: EngineClient, config: RuneConfig, tmp_path: Path
) -> None:
    job = await distilled(client, tmp_path)
    assert job.result is not None
    task = RunTaskParams(project_id="shop", task_description="Add two numbers, whispered.")
    await finished(client, await client.run_task(task))
    assert homes_files_with(config, "whispered")
    report = await client.forget(PROJECT)
    assert [a.adapter_id for a in report.adapters] == [job.result["adapter_id"]]
    assert report.proof is not None and report.proof.found_in == []
    assert homes_files_with(config, "whispered") == []
    assert homes_files_with(config, "Add two numbers") == []
    model = str(tmp_path / "tiny-base")
    assert (await client.retrieve("shop", base_model=model)).adapter is None
    named = {"adapter": job.result["adapter_id"], "base_model": model}
    with pytest.raises(AdapterForgottenError):
        await client.run_task(task.model_copy(update=named))


async def test_work_that_still_uses_it_is_ended_first(
    client: EngineClient, config: RuneConfig, tmp_path: Path
) -> None:
    await client.record(draft(0))
    model = str(base_model_folder(tmp_path, "hang"))
    training = await client.distill(DistillParams(project_id="shop", base_model=model))
    await until_job(client, training, lambda seen: seen.message == "half way")
    other = await client.run_task(RunTaskParams(task_description="Think a while"))
    report = await client.forget(PROJECT)
    assert report.cancelled_jobs == [training.id]
    assert homes_files_with(config, "Add two numbers, 0.") == []
    assert (await finished(client, other)).status == "succeeded"
    assert (await client.status()).adapters == 0


async def test_an_adapter_is_rebuilt_from_what_else_it_learnt(
    client: EngineClient, tmp_path: Path
) -> None:
    job = await distilled(client, tmp_path, count=3)
    assert job.result is not None
    params = ForgetParams(session_id="session-1", rebuild=True)
    (forgotten,) = (await client.forget(params)).adapters
    assert forgotten.adapter_id == job.result["adapter_id"] and forgotten.rebuild is not None
    rebuilt = await finished(client, await client.get_job(forgotten.rebuild))
    assert rebuilt.result is not None and rebuilt.result["trajectories"] == 2
    model = str(tmp_path / "tiny-base")
    found = (await client.retrieve("shop", base_model=model)).adapter
    assert found is not None and found.id == rebuilt.result["adapter_id"]


async def test_a_rebuilt_adapter_keeps_back_what_is_left_of_what_it_kept_back(
    client: EngineClient, tmp_path: Path
) -> None:
    ids = [(await client.record(draft(number))).trajectory_id for number in range(4)]
    model = str(base_model_folder(tmp_path))
    params = DistillParams(
        project_id="shop", base_model=model, trajectory_ids=ids[:2], kept_back_ids=ids[2:]
    )
    assert (await finished(client, await client.distill(params))).status == "succeeded"
    (forgotten,) = (
        await client.forget(ForgetParams(session_id="session-3", rebuild=True))
    ).adapters
    assert forgotten.rebuild is not None
    rebuilt = await finished(client, await client.get_job(forgotten.rebuild))
    assert rebuilt.status == "succeeded", rebuilt.error
    assert sorted(rebuilt.params["trajectory_ids"]) == sorted(ids[:2])
    assert rebuilt.params["kept_back_ids"] == [ids[2]]


async def test_nothing_to_forget_ends_no_job(client: EngineClient) -> None:
    job = await client.run_task(RunTaskParams(task_description="Think a while"))
    with pytest.raises(NotFoundError, match="Nothing is stored"):
        await client.forget(ForgetParams(session_id="nobody"))
    assert (await finished(client, job)).status == "succeeded"
