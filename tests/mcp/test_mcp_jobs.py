"""Tasks handed to the local model: how they end, are followed, and are stopped."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from mcp_support import ADD_TESTS, in_memory, text_of, until

from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig
from rune_engine.models import FINISHED, Job

Arguments = dict[str, Any]


def _task(description: str, **more: Any) -> Arguments:
    return {"task_description": description, "test_suite": ADD_TESTS, **more}


@pytest.mark.parametrize(
    ("description", "outcome", "verdicts"),
    [
        ("right at once", "success", [True]),
        ("right at the second try", "success", [False, True]),
        ("never right", "exhausted", [False, False, False]),
    ],
)
async def test_run_task_returns_every_attempt_and_how_it_ended(
    rune_config: RuneConfig, description: str, outcome: str, verdicts: list[bool]
) -> None:
    async with in_memory(rune_config) as client:
        answer = await client.call_tool("run_task", _task(description))
        assert not answer.is_error, text_of(answer)
        assert answer.structured_content is not None
        assert answer.structured_content["status"] == "succeeded"
        result = answer.structured_content["result"]
        assert result["outcome"] == outcome
        assert [attempt["tests_passed"] for attempt in result["attempts"]] == verdicts
        assert result["tests_passed"] is (outcome == "success")
        assert "def add" in result["code"]
        job = await client.call_tool("get_job", {"job_id": answer.structured_content["job_id"]})
        assert job.structured_content is not None
        assert job.structured_content["result"] == result


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_progress_rises_and_says_what_is_done(rune_config: RuneConfig, mode: str) -> None:
    reports: list[tuple[float, float | None, str | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        reports.append((progress, total, message))

    async with in_memory(rune_config, mode) as client:
        await client.call_tool("run_task", _task("right at the second try"), progress_callback=note)
    values = [progress for progress, _, _ in reports]
    assert len(values) > 1
    assert values == sorted(set(values)) and values[-1] <= 1.0
    assert all(total == 1.0 and message for _, total, message in reports)


async def test_at_the_wait_limit_the_job_goes_on_and_can_be_asked_and_cancelled(
    rune_config: RuneConfig,
) -> None:
    async with in_memory(rune_config) as client:
        answer = await client.call_tool("run_task", _task("very slow", wait_seconds=0))
        assert not answer.is_error
        assert answer.structured_content is not None
        assert answer.structured_content["status"] in ("queued", "running")
        assert answer.structured_content["result"] is None
        assert "get_job" in answer.structured_content["message"]
        job = {"job_id": answer.structured_content["job_id"]}
        seen = await client.call_tool("get_job", job)
        assert seen.structured_content is not None
        assert seen.structured_content["status"] in ("queued", "running")
        await client.call_tool("cancel_job", job)
        ended = await _ended(rune_config, job["job_id"])
        assert ended.status == "cancelled"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_cancelling_the_call_cancels_the_job(rune_config: RuneConfig, mode: str) -> None:
    started = asyncio.Event()

    async def note(progress: float, total: float | None, message: str | None) -> None:
        started.set()

    async with in_memory(rune_config, mode) as client:
        call = asyncio.create_task(
            client.call_tool(
                "run_task",
                _task("very slow", project_id=f"cancelled-{mode}"),
                progress_callback=note,
            )
        )
        async with asyncio.timeout(60):
            await started.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        job = await _newest(rune_config)
        assert job.params["project_id"] == f"cancelled-{mode}"
        assert (await _ended(rune_config, job.id)).status == "cancelled"


async def test_a_job_that_somebody_cancels_says_so_to_who_waits_for_it(
    rune_config: RuneConfig,
) -> None:
    started = asyncio.Event()

    async def note(progress: float, total: float | None, message: str | None) -> None:
        started.set()

    async with in_memory(rune_config) as client, in_memory(rune_config) as other:
        call = asyncio.create_task(
            client.call_tool("run_task", _task("very slow"), progress_callback=note)
        )
        async with asyncio.timeout(60):
            await started.wait()
            job = await _newest(rune_config)
            await other.call_tool("cancel_job", {"job_id": job.id})
            answer = await call
    assert answer.structured_content is not None
    assert answer.structured_content["status"] == "cancelled"
    assert "Cancelled" in answer.structured_content["message"]


async def test_a_failed_job_is_a_tool_error_with_the_jobs_own_words(
    rune_config: RuneConfig,
) -> None:
    async with in_memory(rune_config) as client:
        answer = await client.call_tool("run_task", _task("the script has no rule for this"))
        assert answer.is_error
        job = await _newest(rune_config)
        assert job.status == "failed"
        assert job.error is not None
        assert job.error["message"] in text_of(answer)
        assert job.error["next_step"] in text_of(answer)
        report = await client.call_tool("get_job", {"job_id": job.id})
        assert not report.is_error
        assert report.structured_content is not None
        assert report.structured_content["error"] == job.error


async def test_distilling_a_project_without_trajectories_says_what_is_missing(
    rune_config: RuneConfig, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    arguments = {"project_id": "nothing-here", "base_model": str(tmp_path)}
    async with in_memory(rune_config) as client:
        answer = await client.call_tool("distill", arguments)
    assert answer.is_error
    assert "nothing-here" in text_of(answer)


async def _newest(config: RuneConfig) -> Job:
    async with EngineClient(config) as engine:
        return (await engine.list_jobs(limit=1))[0]


async def _ended(config: RuneConfig, job_id: str) -> Job:
    async with EngineClient(config) as engine:

        async def finished() -> bool:
            return (await engine.get_job(job_id)).status in FINISHED

        await until(finished)
        return await engine.get_job(job_id)
