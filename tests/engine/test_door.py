"""What comes to the engine's door as bytes: refused with an envelope, and nothing changes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from engine_support import draft

from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig
from rune_engine.errors import InvalidInputError, InvalidTrajectoryError
from rune_engine.models import Attempt, MemoryStatus, TrajectoryDraft

JSON = {"content-type": "application/json"}


@pytest.fixture
async def raw(
    shared_config: RuneConfig, shared_client: EngineClient
) -> AsyncIterator[httpx.AsyncClient]:
    """Plain HTTP to a running engine."""
    await shared_client.health()
    transport = httpx.AsyncHTTPTransport(uds=str(shared_config.socket_path))
    async with httpx.AsyncClient(transport=transport, base_url="http://engine", timeout=60) as raw:
        yield raw


def stored(status: MemoryStatus) -> tuple[int, int, dict[str, int]]:
    return status.adapters, status.trajectories, status.jobs


VALID = draft().model_dump(mode="json")
BAD_BODIES: dict[str, tuple[str, bytes, str]] = {
    "not JSON": ("/trajectories", b"{", "JSON"),
    "nothing": ("/trajectories", b"", "body"),
    "not UTF-8": ("/trajectories", b'{"project_id": "\xff\xfe"}', "body"),
    "no object": ("/trajectories", b"[1, 2]", "body"),
    "deep nesting": ("/trajectories", b"[" * 100_000, "body"),
    "missing fields": ("/trajectories", b"{}", "task_description"),
    "unknown field": ("/trajectories", json.dumps({**VALID, "extra": 1}).encode(), "extra"),
    "no attempts": ("/trajectories", json.dumps({**VALID, "attempts": []}).encode(), "attempts"),
    "unknown outcome": ("/trajectories", json.dumps({**VALID, "outcome": "?"}).encode(), "outcome"),
    "path as project": (
        "/trajectories",
        json.dumps({**VALID, "project_id": "../../etc"}).encode(),
        "project_id",
    ),
    "lone surrogate": (
        "/trajectories",
        json.dumps({**VALID, "task_description": "\ud800"}).encode(),
        "task_description",
    ),
    "NUL": (
        "/trajectories",
        json.dumps({**VALID, "task_description": "a\0b"}).encode(),
        "task_description",
    ),
    "long text": (
        "/trajectories",
        json.dumps({**VALID, "test_suite": "x" * 1_000_001}).encode(),
        "test_suite",
    ),
    "no task": ("/jobs/run_task", b'{"task_description": ""}', "task_description"),
    "attempts": (
        "/jobs/run_task",
        b'{"task_description": "x", "max_attempts": 1000000}',
        "max_attempts",
    ),
    "rank": ("/jobs/distill", b'{"project_id": "shop", "rank": 0}', "rank"),
    "infinity": ("/jobs/distill", b'{"project_id": "shop", "learning_rate": Infinity}', ""),
    "text as number": ("/jobs/distill", b'{"project_id": "shop", "seed": "abc"}', "seed"),
}


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_a_bad_body_is_refused_by_its_field(
    raw: httpx.AsyncClient, shared_client: EngineClient, name: str
) -> None:
    before = stored(await shared_client.status())
    path, body, named = BAD_BODIES[name]
    response = await raw.post(path, content=body, headers=JSON)
    error = response.json()["error"]
    assert 400 <= response.status_code < 500, error
    assert error["code"] in ("invalid_input", "invalid_trajectory")
    assert named in error["message"] and len(error["message"]) < 2000
    assert stored(await shared_client.status()) == before


@pytest.mark.parametrize(
    "path",
    [
        "/adapters?limit=100000",
        "/adapters?offset=-1",
        "/adapters?limit=many",
        "/adapters?project_id=../x",
        "/adapters/%2e%2e%2fetc",
        "/jobs/x?timeout=100000",
        "/jobs/x?timeout=nan",
        "/jobs/x?after_revision=-1",
        "/jobs?limit=0",
        f"/adapters/{'a' * 5000}",
    ],
)
async def test_a_bad_query_is_refused(raw: httpx.AsyncClient, path: str) -> None:
    response = await raw.get(path)
    assert response.status_code in (404, 422)
    assert response.json()["error"]["code"] in ("invalid_input", "not_found", "invalid_id")


async def test_unknown_paths_and_methods_answer_with_envelopes(raw: httpx.AsyncClient) -> None:
    missing, wrong = await raw.get("/nowhere"), await raw.delete("/adapters")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "invalid_input")


@pytest.mark.parametrize("announced", [True, False])
async def test_fifty_megabytes_are_refused(
    raw: httpx.AsyncClient, shared_client: EngineClient, announced: bool
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b"x" * 1024**2

    before = stored(await shared_client.status())
    body: Any = b"x" * (50 * 1024**2) if announced else chunks()
    response = await raw.post("/trajectories", content=body, headers=JSON)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "invalid_input")
    assert stored(await shared_client.status()) == before


async def test_a_client_is_told_that_its_trajectory_is_too_large(
    shared_client: EngineClient,
) -> None:
    attempts = [Attempt(generated_code="x" * 900_000, tests_passed=True) for _ in range(20)]
    large = TrajectoryDraft(
        project_id="shop", task_description="Large", attempts=attempts, outcome="success"
    )
    with pytest.raises(InvalidInputError, match="larger than 8 MiB"):
        await shared_client.record(large)


async def test_a_contradiction_is_refused_as_the_store_refuses_it(
    shared_client: EngineClient,
) -> None:
    failed = [Attempt(generated_code="x", tests_passed=False)]
    with pytest.raises(InvalidTrajectoryError, match="did not pass"):
        await shared_client.record(draft(attempts=failed))


async def test_the_same_trajectory_is_recorded_once(shared_client: EngineClient) -> None:
    same = draft(project_id="twice")
    first, again = await shared_client.record(same), await shared_client.record(same)
    assert (first.duplicate, again.duplicate) == (False, True)
    assert first.trajectory_id == again.trajectory_id
    assert again.distillable_trajectories == 1
