"""One decision for a new adapter, carried out once, from what its measurements say."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from adapter_files import weights
from engine_support import ADD_TESTS, draft

from rune_engine.config import RuneConfig
from rune_engine.database import Database
from rune_engine.evaluation.conclusion import Weighing, conclude
from rune_engine.evaluation.records import EvaluationStore
from rune_engine.evaluation.tasks import task_of
from rune_engine.events import EventLog
from rune_engine.jobs.evolve import Evolve
from rune_engine.jobs.store import JobStore
from rune_engine.models import EvaluatedTask, EvaluateResult, EvolveParams, EvolveResult
from rune_engine.registry import AdapterDraft, AdapterRegistry
from rune_engine.trajectories import TrajectoryStore


class House:
    """Adapters, and what was measured of them."""

    def __init__(self, config: RuneConfig, database: Database) -> None:
        self.registry = AdapterRegistry(database, config)
        self.trajectories = TrajectoryStore(database)
        self.jobs = JobStore(database)
        self.evaluations = EvaluationStore(database)
        self.events = EventLog(database)
        drafts = [draft(number, test_suite=ADD_TESTS) for number in range(8)]
        self.tasks = [self.trajectories.record(each)[0].id for each in drafts]

    def adapter(self, name: str, *, trained: tuple[int, ...] = (), **changes: Any) -> str:
        given = {"project_id": "shop", "base_model_id": "tiny", "session_id": "s"} | changes
        learnt: dict[str, Any] = dict.fromkeys(self.tasks, "kept_back")
        learnt |= {self.tasks[number]: "trained" for number in trained}
        made = AdapterDraft(id=name, source="distillation", **given)
        return self.registry.store(made, weights(len(name)), learnt_from=learnt).id

    def measure(self, name: str, solved: int, base: int, tasks: int = 8) -> None:
        """A measurement by which an adapter, and the base model, solved the first tasks."""
        per_task = [
            EvaluatedTask(
                task=task_of(self.trajectories.get(task)).task,
                trajectory_id=task,
                with_adapter=[n < solved],
                with_base=[n < base],
            )
            for n, task in enumerate(self.tasks[:tasks])
        ]
        result = EvaluateResult(
            evaluation_id=str(uuid.uuid4()),
            adapter_id=name,
            base_model_id="tiny",
            per_task=per_task,
            **conclude(per_task, Weighing()),
        )
        with self.evaluations.writing() as session:
            self.evaluations.add(session, result)

    async def evolve(self, name: str) -> EvolveResult:
        job = self.jobs.enqueue("evolve", EvolveParams(adapter_id=name))
        work = Evolve(self.registry, self.trajectories, self.evaluations, self.events)
        return await work(job, lambda _fraction, _message: None)

    def in_use(self) -> set[str]:
        return {adapter.id for adapter in self.registry.list_all() if not adapter.is_archived}


@pytest.fixture
def house(config: RuneConfig, database: Database, tmp_path: Path) -> Iterator[House]:
    yield House(config, database)


async def test_the_better_one_replaces_its_incumbent(house: House) -> None:
    house.adapter("old")
    house.measure("old", solved=1, base=0)
    house.adapter("new")
    house.measure("new", solved=8, base=0)
    result = await house.evolve("new")
    assert result.archived == ["old"] and house.in_use() == {"new"}
    archived = house.events.newest("old", "adapter_archived")
    assert archived is not None and "7 only with new" in archived.payload["reason"]


async def test_one_that_does_not_beat_the_base_model_goes(house: House) -> None:
    house.adapter("new")
    house.measure("new", solved=3, base=3)
    assert (await house.evolve("new")).archived == ["new"]
    decision = house.events.newest("new", "consolidation_decided")
    assert decision is not None and decision.payload["decision"] == "archived"
    assert decision.payload["numbers"] == {"tasks": 8, "solved": 3, "base_solved": 3}


@pytest.mark.parametrize(
    "other",
    [{"project_id": "bank"}, {"base_model_id": "other"}, {"hierarchy_level": "domain"}],
    ids=str,
)
async def test_only_adapters_of_the_same_scope_are_compared(
    house: House, other: dict[str, Any]
) -> None:
    house.adapter("old", **other)
    house.measure("old", solved=0, base=0)
    house.adapter("new")
    house.measure("new", solved=8, base=0)
    assert (await house.evolve("new")).archived == []


async def test_tasks_that_one_of_them_was_trained_on_do_not_count(house: House) -> None:
    house.adapter("old", trained=(1, 2, 3, 4))
    house.measure("old", solved=0, base=0)
    house.adapter("new")
    house.measure("new", solved=8, base=0)
    assert (await house.evolve("new")).archived == []
    decision = house.events.newest("new", "consolidation_decided")
    assert decision is not None and decision.payload["numbers"]["incumbents"][0]["tasks"] == 4


async def test_what_was_never_measured_stays(house: House) -> None:
    house.adapter("new")
    assert (await house.evolve("new")).archived == []
    decision = house.events.newest("new", "consolidation_decided")
    assert decision is not None and decision.payload["numbers"] == {"tasks": 0}


async def test_what_was_decided_is_carried_out_and_not_decided_again(house: House) -> None:
    """As when an engine died after the decision: the numbers have changed since."""
    house.adapter("old")
    house.measure("old", solved=1, base=0)
    house.adapter("new")
    house.measure("new", solved=8, base=0)
    house.events.append(
        "consolidation_decided",
        "new",
        project_id="shop",
        caused_by="job-1",
        decision="kept",
        archive={"old": "It lost."},
        reason="It won.",
    )
    house.measure("new", solved=0, base=0)
    result = await house.evolve("new")
    assert (result.archived, result.reason) == (["old"], "It won.")
    assert house.in_use() == {"new"}
    assert await house.evolve("new") == result
    kinds = [event.kind for event in house.events.history(project_id="shop")]
    assert kinds.count("consolidation_decided") == kinds.count("adapter_archived") == 1
