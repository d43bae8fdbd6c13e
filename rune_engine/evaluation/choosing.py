"""Which tasks an adapter is judged by: never one that it was taught, or one nearly the same.

Held out are what was kept back when it was trained and what its project holds out; outside its
domain are other projects' such tasks, and generated ones. Knows what is stored; no model.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

from sqlalchemy import text

from rune_engine.database import Database
from rune_engine.errors import TrajectoryNotFoundError
from rune_engine.evaluation.near import near_any
from rune_engine.evaluation.suites import load_suite
from rune_engine.evaluation.tasks import HeldOutTask, distinct, task_of
from rune_engine.models import AdapterInfo, EvaluateParams, TaskGroup, Trajectory
from rune_engine.registry import AdapterRegistry
from rune_engine.trajectories import TrajectoryStore

_MOST_READ = 500

_ELSEWHERE = """
SELECT id FROM trajectories
WHERE test_suite <> '' AND outcome = 'success'
    AND (project_id <> :project_id OR (:domain IS NOT NULL AND domain <> :domain))
    AND (held_out = 1 OR EXISTS (
        SELECT 1 FROM adapter_trajectories
        WHERE trajectory_id = trajectories.id AND role = 'kept_back'
    ))
    AND NOT EXISTS (
        SELECT 1 FROM adapter_trajectories
        WHERE trajectory_id = trajectories.id AND role = 'trained' AND adapter_id = :adapter_id
    )
ORDER BY created_at DESC, id LIMIT :most
"""

Workspaces = Callable[[str], Path | None]
"""A project's folder that its tasks' code may import from, by the project's id."""


class Chooser:
    """Chooses among what one home holds."""

    def __init__(
        self, database: Database, registry: AdapterRegistry, trajectories: TrajectoryStore
    ) -> None:
        self._database = database
        self._registry = registry
        self._trajectories = trajectories

    def held_out(self, adapter: AdapterInfo, most: int) -> list[str]:
        """Ids of trajectories, one a task, of the adapter's own scope."""
        roles = self._registry.learnt_from(adapter.id)
        kept_back = self.existing(each for each, role in roles.items() if role == "kept_back")
        level = adapter.hierarchy_level
        held_out = self._trajectories.held_out(
            adapter.project_id,
            None if level == "project" else adapter.domain,
            adapter.task_type if level == "task" else None,
            limit=2 * most,
        )
        found = self.not_taught(adapter, [*kept_back, *held_out])
        return [str(task.trajectory_id) for task in islice(distinct(map(task_of, found)), most)]

    def named(self, ids: Iterable[str], most: int) -> list[str]:
        """Of these trajectories one a task, those without tests left out."""
        tasks = distinct(map(task_of, map(self._trajectories.get, ids)))
        return [str(task.trajectory_id) for task in islice(tasks, most)]

    def elsewhere(self, adapter: AdapterInfo, most: int) -> list[str]:
        """Ids of up to `most` trajectories of other projects and domains, one a task."""
        values = {
            "project_id": adapter.project_id,
            "domain": None if adapter.hierarchy_level == "project" else adapter.domain,
            "adapter_id": adapter.id,
            "most": _MOST_READ,
        }
        with self._database.reading() as session:
            rows = session.connection().execute(text(_ELSEWHERE), values)
            ids = list(rows.scalars())
        random.Random(0).shuffle(ids)
        found = self.not_taught(adapter, self.existing(ids[: 2 * most]))
        return [str(task.trajectory_id) for task in islice(distinct(map(task_of, found)), most)]

    def taught(self, adapter: AdapterInfo) -> list[Trajectory]:
        """What the adapter was trained on and is still stored."""
        roles = self._registry.learnt_from(adapter.id)
        return self.existing(each for each, role in roles.items() if role == "trained")

    def last_workspace(self, project_id: str) -> Path | None:
        """Where a project's code lies, as its newest trajectories say."""
        return self._trajectories.last_workspace(project_id)

    def tasks(
        self, ids: Iterable[str], group: TaskGroup, workspace_of: Workspaces
    ) -> list[HeldOutTask]:
        """The tasks of those trajectories that were not forgotten meanwhile."""
        return [task_of(t, workspace_of(t.project_id), group) for t in self.existing(ids)]

    def existing(self, ids: Iterable[str]) -> list[Trajectory]:
        """Those that are stored, in the order given."""
        return [found for found in map(self._find, ids) if found is not None]

    def not_taught(
        self, adapter: AdapterInfo, candidates: Sequence[Trajectory]
    ) -> list[Trajectory]:
        """Those whose task is near to none that the adapter was trained on."""
        taught = [trajectory.task_description for trajectory in self.taught(adapter)]
        near = near_any([each.task_description for each in candidates], taught)
        return [each for each, known in zip(candidates, near, strict=True) if not known]

    def _find(self, trajectory_id: str) -> Trajectory | None:
        try:
            return self._trajectories.get(trajectory_id)
        except TrajectoryNotFoundError:
            return None


def suite_tasks(params: EvaluateParams) -> list[HeldOutTask]:
    """The tasks of the suite that the parameters name.

    Raises:
        InvalidInputError: it cannot be read.
    """
    assert params.suite is not None
    workspace = None if params.workspace is None else Path(params.workspace)
    return [
        HeldOutTask(
            description=each.task_description,
            tests=each.test_suite,
            reference=each.reference_solution,
            workspace=workspace,
        )
        for each in load_suite(Path(params.suite), params.max_tasks)
    ]
