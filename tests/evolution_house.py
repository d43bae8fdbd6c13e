"""A home with adapters and what was measured of them, by real rows, without any engine."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

from adapter_files import weights
from engine_support import ADD_TESTS, draft

from rune_engine.config import RuneConfig
from rune_engine.database import Database, utc_now
from rune_engine.evaluation.conclusion import Weighing, conclude
from rune_engine.evaluation.records import EvaluationStore
from rune_engine.evaluation.tasks import task_of
from rune_engine.events import EventLog
from rune_engine.jobs.evolve import Evolve
from rune_engine.jobs.store import JobStore
from rune_engine.jobs.undo import Undo
from rune_engine.models import (
    Attempt,
    EvaluatedTask,
    EvaluateResult,
    EvolveParams,
    EvolveResult,
    Job,
    LifecycleEvent,
)
from rune_engine.registry import AdapterDraft, AdapterRegistry
from rune_engine.trajectories import TrajectoryStore


class House:
    """Adapters, and what was measured of them on `tasks`."""

    def __init__(self, config: RuneConfig, database: Database, tasks: int = 8) -> None:
        self.config, self.database = config, database
        self.registry = AdapterRegistry(database, config)
        self.trajectories = TrajectoryStore(database)
        self.evaluations = EvaluationStore(database)
        self.jobs = JobStore(database)
        self.events = EventLog(database)
        self.undo = Undo(database)
        drafts = [draft(number, test_suite=ADD_TESTS) for number in range(tasks)]
        self.tasks = [self.trajectories.record(each)[0].id for each in drafts]

    def adapter(
        self, name: str, *, trained: tuple[int, ...] = (), seed: int | None = None, **changes: Any
    ) -> str:
        given = {"project_id": "shop", "base_model_id": "tiny", "session_id": "s"} | changes
        learnt: dict[str, Any] = dict.fromkeys(self.tasks, "kept_back")
        learnt |= {self.tasks[number]: "trained" for number in trained}
        made = AdapterDraft(id=name, source="distillation", **given)
        seed = sum(map(ord, name)) if seed is None else seed
        return self.registry.store(made, weights(seed), learnt_from=learnt).id

    def measure(
        self, name: str, solved: Iterable[int] | int, base: int = 0, tasks: int = 8
    ) -> None:
        """A measurement: the adapter solved these tasks, and the base model the first `base`."""
        won = set(range(solved) if isinstance(solved, int) else solved)
        per_task = [
            EvaluatedTask(
                task=task_of(self.trajectories.get(task)).task,
                trajectory_id=task,
                with_adapter=[n in won],
                with_base=[n < base],
            )
            for n, task in enumerate(self.tasks[:tasks])
        ]
        result = EvaluateResult(
            evaluation_id=str(uuid.uuid4()),
            adapter_id=name,
            base_model_id="tiny",
            created_at=utc_now(),
            per_task=per_task,
            **conclude(per_task, Weighing()),
        )
        with self.evaluations.writing() as session:
            self.evaluations.add(session, result)

    def live(self, adapter_id: str | None, solved: int, failed: int, **changes: Any) -> None:
        """Live tasks that the local model solved, or not, at the first attempt."""
        for number in range(solved + failed):
            passed = number < solved
            attempt = Attempt(generated_code=uuid.uuid4().hex, tests_passed=passed)
            given = {
                "test_suite": ADD_TESTS,
                "attempts": [attempt],
                "outcome": "success" if passed else "exhausted",
                "source": "agent_loop",
                "adapter_id": adapter_id,
            }
            self.trajectories.record(draft(1000 + number, **(given | changes)))

    def work(self, **changes: Any) -> Evolve:
        return Evolve(
            self.config.evolution,
            self.database,
            registry=self.registry,
            jobs=self.jobs,
            **changes,
        )

    async def evolve(self, name: str) -> EvolveResult:
        return await self._run(EvolveParams(adapter_id=name))

    async def evolve_project(self, name: str = "shop") -> EvolveResult:
        return await self._run(EvolveParams(project_id=name))

    async def _run(self, params: EvolveParams) -> EvolveResult:
        job: Job = self.jobs.enqueue("evolve", params)
        return await self.work()(job, lambda _fraction, _message: None)

    def in_use(self) -> set[str]:
        return {adapter.id for adapter in self.registry.list_all() if not adapter.is_archived}

    def decisions(self, kind: str = "evolution_decided") -> list[LifecycleEvent]:
        """The newest first."""
        return [event for event in self.events.history(limit=500) if event.kind == kind]
