"""A plan of what to mine: which commits and units, none of them twice, and which are held out.

Plain data that a job can keep: ids, paths and names, no text. Reads the repository through
`History`, stores nothing, runs nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from rune_engine.mining.duplicates import Marks, doubles, marks
from rune_engine.mining.history import NO_UNIT, History, MinedCommit, Skipped, Target

MOST_BYTES_READ = 1024**3
LIMIT_REACHED = "the limit on bytes that are read was reached"
_TASK_SHOWN = 200


class PlannedUnit(BaseModel):
    path: str
    name: str
    task: str

    @property
    def key(self) -> str:
        return f"{self.path}\0{self.name}"


class PlannedCommit(BaseModel):
    id: str
    held_out: bool
    has_tests: bool
    units: list[PlannedUnit]


class Plan(BaseModel):
    """What to mine, newest first, and what was left out."""

    commits: list[PlannedCommit]
    looked_at: int
    skipped_commits: dict[str, int]
    skipped_files: dict[str, int]
    skipped_units: dict[str, int]


class Planner:
    """Gathers commits, newest first, and makes the plan once all are in."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._skipped = Skipped()
        self._looked_at = 0
        self._commits: list[tuple[PlannedCommit, int | None, list[Marks]]] = []

    def add(self, ids: Sequence[str]) -> None:
        """Look at the next commits of the history."""
        for commit_id in ids:
            self._looked_at += 1
            found = self._history.read(commit_id, self._skipped)
            if found is not None:
                issue = found.issue.number if found.issue else None
                planned = [marks(target) for target in found.targets]
                self._commits.append((_planned(found), issue, planned))

    def leave_out(self, reason: str, count: int) -> None:
        """Count commits that are not looked at."""
        self._skipped.commits[reason] += count

    def plan(self, held_out_share: float) -> Plan:
        self._drop_doubles()
        self._hold_out(held_out_share)
        return Plan(
            commits=[commit for commit, _, _ in self._commits],
            looked_at=self._looked_at,
            skipped_commits=dict(self._skipped.commits.most_common()),
            skipped_files=dict(self._skipped.files.most_common()),
            skipped_units=dict(self._skipped.units.most_common()),
        )

    def _drop_doubles(self) -> None:
        every = [mark for _, _, found in self._commits for mark in found]
        out, place = doubles(every), 0
        kept: list[tuple[PlannedCommit, int | None, list[Marks]]] = []
        for commit, issue, found in self._commits:
            units = []
            for unit in commit.units:
                if place not in out:
                    units.append(unit)
                place += 1
            if units:
                kept.append((commit.model_copy(update={"units": units}), issue, found))
            else:
                self._skipped.commits[NO_UNIT] += 1
        self._skipped.units.update(Counter(out.values()))
        self._commits = kept

    def _hold_out(self, share: float) -> None:
        """The newest commits; those for one issue stay together, on the side of the oldest."""
        edge = round(share * len(self._commits))
        taught = {issue for _, issue, _ in self._commits[edge:] if issue is not None}
        for place, (commit, issue, found) in enumerate(self._commits[:edge]):
            held_out = issue is None or issue not in taught
            changed = commit.model_copy(update={"held_out": held_out})
            self._commits[place] = (changed, issue, found)


def wanted(commit: MinedCommit, planned: PlannedCommit) -> list[Target]:
    """The targets of a commit, as it is read again, that the plan names."""
    keys = {unit.key for unit in planned.units}
    return [target for target in commit.targets if target.key in keys]


def _planned(commit: MinedCommit) -> PlannedCommit:
    units: list[dict[str, Any]] = [
        {"path": t.path, "name": t.unit.name, "task": commit.task(t)[:_TASK_SHOWN]}
        for t in commit.targets
    ]
    return PlannedCommit.model_validate(
        {"id": commit.id, "held_out": False, "has_tests": bool(commit.tests), "units": units}
    )
