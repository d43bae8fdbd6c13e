"""Importing a file of trajectories: what is good is stored, what is bad is named by its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_support import draft, finished, kill_engine, until_job

from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig
from rune_engine.errors import InvalidInputError
from rune_engine.jobs.import_file import MAX_LINE_BYTES, MAX_REPORTED
from rune_engine.models import Attempt, ImportParams, Job


def line(number: int, **changes: object) -> str:
    return draft(number, **changes).model_dump_json()


async def imported(client: EngineClient, file: Path) -> Job:
    return await finished(client, await client.import_file(ImportParams(path=str(file))))


async def test_good_lines_are_stored_and_bad_ones_named(
    client: EngineClient, config: RuneConfig, tmp_path: Path
) -> None:
    bad = draft(9).model_copy(update={"outcome": "exhausted"}).model_dump_json()
    lines = [line(0), "no json", line(1), "", line(0), bad, '{"project_id": "shop"}', line(2)]
    file = tmp_path / "sessions.jsonl"
    file.write_bytes("\n".join(lines).encode() + b"\n\xff\xfe\n" + b"x" * (MAX_LINE_BYTES + 9))
    job = await imported(client, file)
    assert job.result is not None, job.error
    refused = {each["line"]: each["reason"] for each in job.result["refused_lines"]}
    assert (job.result["stored"], job.result["duplicates"], job.result["refused"]) == (3, 1, 5)
    assert sorted(refused) == [2, 6, 7, 9, 10]
    assert "exhausted" in refused[6] and "longer than" in refused[10]
    assert "task_description" in refused[7]
    status = await client.status()
    assert (status.trajectories, status.jobs) == (3, {"succeeded": 1})
    again = await imported(client, file)
    assert again.result is not None
    assert (again.result["stored"], again.result["duplicates"]) == (0, 4)
    assert not (config.jobs_path / job.id).exists()


async def test_only_the_first_refusals_are_told(
    shared_client: EngineClient, tmp_path: Path
) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text("bad\n" * 500)
    job = await imported(shared_client, file)
    assert job.result is not None
    assert (job.result["stored"], job.result["refused"]) == (0, 500)
    assert [r["line"] for r in job.result["refused_lines"]] == list(range(1, MAX_REPORTED + 1))


async def test_an_empty_file_holds_nothing(shared_client: EngineClient, tmp_path: Path) -> None:
    file = tmp_path / "empty.jsonl"
    file.touch()
    job = await imported(shared_client, file)
    assert job.result is not None and job.result["stored"] == 0


LINES = 1500
"""Some 35 batches: the kill comes long before the last."""


async def test_a_killed_import_goes_on_and_stores_each_once(
    client: EngineClient, config: RuneConfig, tmp_path: Path
) -> None:
    long = [Attempt(generated_code="x = 1\n" * 1000, tests_passed=True)]
    file = tmp_path / "many.jsonl"
    file.write_text("".join(f"{line(n, attempts=long)}\n" for n in range(LINES)))
    job = await client.import_file(ImportParams(path=str(file)))
    await until_job(client, job, lambda seen: seen.progress > 0)
    kill_engine(config)
    file.write_text("the file has changed meanwhile")
    job = await finished(client, await client.get_job(job.id))
    assert job.result is not None, job.error
    assert (job.attempt, job.result["refused"]) == (2, 0)
    assert job.result["stored"] + job.result["duplicates"] == LINES
    assert job.result["stored"] < LINES or job.result["duplicates"] == 0
    assert (await client.status()).trajectories == LINES


@pytest.mark.parametrize("path", ["relative.jsonl", "/no/such/file", "/tmp", "/tmp\0"])
async def test_what_is_no_file_is_refused(shared_client: EngineClient, path: str) -> None:
    before = await shared_client.list_jobs()
    with pytest.raises(InvalidInputError):
        await shared_client.import_file(ImportParams(path=path))
    assert await shared_client.list_jobs() == before
