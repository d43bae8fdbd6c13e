"""Evaluating an adapter through a real engine: kept-back tasks, both sides, written down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from adapter_files import draft as adapter_draft
from adapter_files import weights
from engine_support import ADD_TESTS, RIGHT, draft, finished, kill_engine, until_job

from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig
from rune_engine.database import open_database
from rune_engine.errors import (
    AdapterBaseModelMismatchError,
    AdapterNotFoundError,
    TrajectoryNotFoundError,
)
from rune_engine.events import EventLog
from rune_engine.models import Attempt, EvaluateParams, Job, LearntRole, TrajectoryDraft
from rune_engine.registry import AdapterRegistry
from rune_engine.trajectories import TrajectoryStore

WRONG = "```python\ndef add(a, b):\n    return a - b\n```"
ADAPTER = "judged"
OTHER = Attempt(generated_code="def add(*numbers): return sum(numbers)", tests_passed=True)


class Bench:
    """A home with one adapter, put there before its engine starts."""

    def __init__(self, config: RuneConfig) -> None:
        self.config = config
        self.roles: dict[str, LearntRole] = {}

    def script(self, **answers: list[dict[str, object]]) -> None:
        """What the scripted model answers to each task, by a word of it."""
        rules = [{"contains": word, **rule} for word, rules in answers.items() for rule in rules]
        Path(self.config.base_model.removeprefix("scripted:")).write_text(json.dumps(rules))

    @contextmanager
    def stores(self) -> Iterator[tuple[AdapterRegistry, TrajectoryStore, EventLog]]:
        database = open_database(self.config)
        try:
            registry = AdapterRegistry(database, self.config)
            yield registry, TrajectoryStore(database), EventLog(database)
        finally:
            database.close()

    def remember(self, *drafts: tuple[TrajectoryDraft, LearntRole | None]) -> list[str]:
        """Record trajectories, each with its role for the adapter, and store the adapter."""
        with self.stores() as (registry, trajectories, _):
            ids = [trajectories.record(draft)[0].id for draft, _ in drafts]
            roles = {
                key: role for key, (_, role) in zip(ids, drafts, strict=True) if role is not None
            }
            scope = {"project_id": "shop", "base_model_id": "scripted"}
            registry.store(adapter_draft(id=ADAPTER, **scope), weights(), learnt_from=roles)
        return ids


@pytest.fixture
def bench(config: RuneConfig) -> Bench:
    return Bench(config)


def task(word: str, **changes: object) -> TrajectoryDraft:
    given = {"task_description": f"Add, {word}.", "test_suite": ADD_TESTS}
    return draft(**{**given, **changes})


def answers(with_adapter: str, alone: str) -> list[dict[str, object]]:
    return [
        {"answers": [with_adapter], "adapter_id": ADAPTER},
        {"answers": [alone]},
    ]


async def evaluated(client: EngineClient, **params: object) -> Job:
    job = await client.evaluate(EvaluateParams.model_validate({"adapter_id": ADAPTER, **params}))
    return await finished(client, job)


async def test_an_adapter_is_judged_by_what_was_kept_back_and_held_out(
    bench: Bench, client: EngineClient
) -> None:
    kept, _, held_before, held, _, _ = bench.remember(
        (task("kept"), "kept_back"),
        (task("trained"), "trained"),
        (task("held", held_out=True), None),
        (task("held", held_out=True, attempts=[OTHER]), None),
        (task("untested", test_suite="", held_out=True), None),
        (task("trained", held_out=True, session_id="other"), None),
    )
    bench.script(
        kept=answers(RIGHT, WRONG), held=answers(RIGHT, RIGHT), trained=answers(WRONG, WRONG)
    )
    before = (await client.status()).trajectories
    job = await evaluated(client)
    assert job.result is not None, job.error
    assert job.project_id == "shop"
    per_task = {each["trajectory_id"]: each for each in job.result["per_task"]}
    assert len(per_task) == 2 and kept in per_task, "each task once, with tests, not trained on"
    assert held in per_task or held_before in per_task
    assert (per_task[kept]["with_adapter"], per_task[kept]["with_base"]) == ([True], [False])
    assert (job.result["pass_rate"], job.result["base_pass_rate"]) == (1.0, 0.5)
    assert (job.result["tasks"], job.result["undecided"]) == (2, 0)
    adapter = await client.get_adapter(ADAPTER)
    assert (adapter.pass_rate, adapter.fitness_score) == (1.0, 1.0)
    assert (await client.status()).trajectories == before, "what it generated is not stored"
    with bench.stores() as (_, _, events):
        event = events.newest(ADAPTER, "fitness_measured")
    assert event is not None and (event.caused_by, event.payload["tasks"]) == (job.id, 2)


async def test_named_trajectories_are_taken_instead(bench: Bench, client: EngineClient) -> None:
    one, other = bench.remember((task("one"), "trained"), (task("other"), None))
    bench.script(one=answers(RIGHT, WRONG), other=answers(WRONG, WRONG))
    job = await evaluated(client, trajectory_ids=[one, other])
    assert job.result is not None and job.result["pass_rate"] == 0.5


async def test_what_nobody_could_judge_is_no_failure(bench: Bench, client: EngineClient) -> None:
    """Without tests that can be run there is no verdict, and no number is made up."""
    bench.remember((task("untested", test_suite="   "), "kept_back"))
    job = await evaluated(client)
    assert job.status == "succeeded" and job.result is not None
    assert (job.result["tasks"], job.result["pass_rate"]) == (0, None)
    assert (await client.get_adapter(ADAPTER)).pass_rate is None


async def test_a_killed_evaluation_goes_on_with_the_task_it_was_at(
    bench: Bench, client: EngineClient, config: RuneConfig
) -> None:
    """The first task's verdict stands, though the model would answer otherwise by now."""
    ids = bench.remember((task("first"), "kept_back"), (task("second"), "kept_back"))
    slow: list[dict[str, object]] = [{"answers": [RIGHT], "delay_seconds": 600}]
    bench.script(first=answers(RIGHT, RIGHT), second=slow)
    params = EvaluateParams(adapter_id=ADAPTER, trajectory_ids=ids)
    job = await until_job(client, await client.evaluate(params), lambda seen: seen.progress >= 0.5)
    kill_engine(config)
    bench.script(first=answers(WRONG, WRONG), second=answers(RIGHT, WRONG))
    job = await finished(client, await client.get_job(job.id))
    assert job.result is not None, job.error
    assert (job.attempt, job.result["tasks"]) == (2, 2)
    verdicts = [(each["with_adapter"], each["with_base"]) for each in job.result["per_task"]]
    assert verdicts == [([True], [True]), ([True], [False])]


async def test_an_evaluation_that_could_only_fail_is_refused(
    bench: Bench, client: EngineClient, tmp_path: Path
) -> None:
    bench.remember((task("one"), "kept_back"))
    with pytest.raises(AdapterNotFoundError):
        await evaluated(client, adapter_id="nobody")
    with pytest.raises(TrajectoryNotFoundError):
        await evaluated(client, trajectory_ids=["nothing"])
    with bench.stores() as (registry, _, _):
        registry.store(adapter_draft(id="foreign", project_id="shop"), weights())
    with pytest.raises(AdapterBaseModelMismatchError):
        await evaluated(client, adapter_id="foreign")
    assert await client.list_jobs() == []
