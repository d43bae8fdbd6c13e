"""The `mine` job: a git history becomes trajectories, commit by commit.

The plan is one step and each commit is another, so that a job which was interrupted goes on with
the commit that it was at. Nothing is written to the repository. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import Counter
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from rune_engine.config import RuneConfig
from rune_engine.errors import (
    InvalidTrajectoryError,
    TrajectoryForgottenError,
    TrajectoryNotFoundError,
)
from rune_engine.jobs.progress import Report
from rune_engine.jobs.store import JobStore
from rune_engine.jobs.submission import check_mine
from rune_engine.mining import planning
from rune_engine.mining.drafts import draft, id_with_tests, trajectory_id
from rune_engine.mining.evidence import Examiner
from rune_engine.mining.history import UNREADABLE, History, MinedCommit, Rules, Skipped, Target
from rune_engine.mining.issues import read_issues
from rune_engine.mining.planning import Plan, PlannedCommit, Planner
from rune_engine.mining.repository import Repository
from rune_engine.mining.trees import Tree
from rune_engine.models import Job, Trajectory, TrajectoryDraft
from rune_engine.models.mining import MOST_MINED_SHOWN, MinedUnit, MineParams, MineResult
from rune_engine.sandbox.sandbox import Sandbox
from rune_engine.trajectories import TrajectoryStore

TIME_OVER = "the time was over"
FORGOTTEN = "forgotten, and stays so"
REFUSED = "cannot be stored"

_COMMITS_AT_ONCE = 20
_PLANNING_SHARE = 0.2
_TASK_SHOWN = 200


class Mine:
    """Runs `mine` jobs, with `config.jobs_path / job.id` for what the sandbox copies."""

    def __init__(
        self, config: RuneConfig, trajectories: TrajectoryStore, sandbox: Sandbox, jobs: JobStore
    ) -> None:
        self._config = config
        self._trajectories = trajectories
        self._sandbox = sandbox
        self._jobs = jobs

    async def __call__(self, job: Job, report: Report) -> MineResult:
        params = MineParams.model_validate(job.params)
        await asyncio.to_thread(check_mine, params)
        until = time.monotonic() + params.max_seconds
        scratch = self._config.jobs_path / job.id / "tree"
        repository = Repository(Path(params.repository))
        try:
            mining = _Mining(
                params, repository, self._trajectories, Examiner(self._sandbox, scratch), until
            )
            steps = self._jobs.steps(job)
            kept = await steps.run("plan", partial(mining.plan, report))
            plan, told = Plan.model_validate(kept), _Told(params)
            for number, commit in enumerate(plan.commits):
                report(_fraction(number, len(plan.commits)), told.line(number, plan))
                if params.dry_run:
                    told.planned(commit)
                elif time.monotonic() > until:
                    told.left_out(commit)
                else:
                    told.done(await steps.run(commit.id, partial(mining.mine, commit)))
            return told.result(plan, mining.problem)
        finally:
            repository.close()
            await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)


class _Mining:
    """One run over one repository."""

    def __init__(
        self,
        params: MineParams,
        repository: Repository,
        trajectories: TrajectoryStore,
        examiner: Examiner,
        until: float,
    ) -> None:
        self._params = params
        self._repository = repository
        self._trajectories = trajectories
        self._examiner = examiner
        self._until = until
        self._rules: Rules | None = None

    @property
    def problem(self) -> str | None:
        return self._examiner.problem

    async def plan(self, report: Report) -> dict[str, Any]:
        """What there is to mine; reading a history of thousands of commits takes a while."""
        planner = Planner(await asyncio.to_thread(self._history))
        ids = await asyncio.to_thread(self._ids)
        for at in range(0, len(ids), _COMMITS_AT_ONCE):
            report(_PLANNING_SHARE * at / len(ids), f"reading commit {at + 1} of {len(ids)}")
            if time.monotonic() > self._until:
                planner.leave_out(TIME_OVER, len(ids) - at)
                break
            if self._repository.bytes_read > planning.MOST_BYTES_READ:
                planner.leave_out(planning.LIMIT_REACHED, len(ids) - at)
                break
            await asyncio.to_thread(planner.add, ids[at : at + _COMMITS_AT_ONCE])
        plan = await asyncio.to_thread(planner.plan, self._params.held_out_share)
        return plan.model_dump()

    async def mine(self, planned: PlannedCommit) -> dict[str, Any]:
        """Examine and store one commit's units."""
        runs = self._examiner.runs
        commit = await asyncio.to_thread(self._read, planned)
        if commit is None:
            return {"units": [], "skipped": {UNREADABLE: len(planned.units)}, "runs": 0}
        known, targets = await asyncio.to_thread(self._known, commit, planned)
        evidence = {}
        if targets and self._params.run_tests and self._examiner.problem is None:
            tree = await asyncio.to_thread(Tree, self._repository, commit)
            evidence = await self._examiner.examine(commit, targets, tree)
        drafts = [
            draft(commit, each, evidence.get(each.key), self._params, held_out=planned.held_out)
            for each in targets
        ]
        units, skipped = await asyncio.to_thread(self._store, drafts, bool(commit.tests))
        return {"units": [*known, *units], "skipped": skipped, "runs": self._examiner.runs - runs}

    def _known(
        self, commit: MinedCommit, planned: PlannedCommit
    ) -> tuple[list[dict[str, Any]], list[Target]]:
        """Units that tests spoke for in an earlier mining, and the targets that are left."""
        known, left = [], []
        for target in planning.wanted(commit, planned):
            try:
                wanted = id_with_tests(self._params.project_id, commit, target)
                stored = self._trajectories.get(wanted)
                known.append(_mined(stored, bool(commit.tests), known=True))
            except TrajectoryNotFoundError:
                left.append(target)
        return known, left

    def _ids(self) -> list[str]:
        newest = self._repository.resolve(self._params.branch)
        since = _seconds(self._params.since) if self._params.since is not None else None
        return self._repository.newest(newest, limit=self._params.limit, since=since)

    def _history(self) -> History:
        if self._rules is None:
            issues = read_issues(Path(self._params.issues)) if self._params.issues else {}
            self._rules = Rules(tuple(self._params.paths), issues)
        return History(self._repository, self._rules)

    def _read(self, planned: PlannedCommit) -> MinedCommit | None:
        return self._history().read(planned.id, Skipped())

    def _store(
        self, drafts: list[TrajectoryDraft], has_tests: bool
    ) -> tuple[list[dict[str, Any]], dict[str, int]]:
        units, skipped = [], Counter[str]()
        for each in drafts:
            try:
                stored, known = self._trajectories.record(each, trajectory_id=trajectory_id(each))
            except TrajectoryForgottenError:
                skipped[FORGOTTEN] += 1
            except InvalidTrajectoryError:
                skipped[REFUSED] += 1
            else:
                units.append(_mined(stored, has_tests, known=known))
        return units, dict(skipped)


def _mined(stored: Trajectory, has_tests: bool, *, known: bool) -> dict[str, Any]:
    source = stored.provenance
    return MinedUnit(
        commit_id=source.commit_id if source else "",
        path=source.path if source else "",
        unit=source.unit if source else "",
        task=stored.task_description[:_TASK_SHOWN],
        held_out=stored.held_out,
        has_tests=has_tests,
        outcome=stored.outcome,
        evidence=source.evidence if source else None,
        trajectory_id=stored.id,
        duplicate=known,
    ).model_dump()


class _Told:
    """What a job has done so far, for its result."""

    def __init__(self, params: MineParams) -> None:
        self._params = params
        self._units: list[MinedUnit] = []
        self._skipped = Counter[str]()
        self._runs = 0
        self._left_out = 0

    def line(self, number: int, plan: Plan) -> str:
        found = sum(unit.evidence == "tests" for unit in self._units)
        return f"commit {number + 1} of {len(plan.commits)}, {found} with evidence"

    def planned(self, commit: PlannedCommit) -> None:
        self._units += [
            MinedUnit(
                commit_id=commit.id,
                path=unit.path,
                unit=unit.name,
                task=unit.task,
                held_out=commit.held_out,
                has_tests=commit.has_tests,
            )
            for unit in commit.units
        ]

    def done(self, step: dict[str, Any]) -> None:
        self._units += [MinedUnit.model_validate(unit) for unit in step["units"]]
        self._skipped.update(step["skipped"])
        self._runs += step["runs"]

    def left_out(self, commit: PlannedCommit) -> None:
        self._left_out += 1
        self._skipped[TIME_OVER] += len(commit.units)

    def result(self, plan: Plan, problem: str | None) -> MineResult:
        new = [unit for unit in self._units if unit.trajectory_id and not unit.duplicate]
        complete = not self._left_out and TIME_OVER not in plan.skipped_commits
        return MineResult(
            commits=plan.looked_at,
            commits_taken=len(plan.commits) - self._left_out,
            units=len(self._units),
            stored=len(new),
            duplicates=sum(unit.duplicate for unit in self._units),
            successes=sum(unit.evidence == "tests" for unit in new),
            trusted=sum(unit.evidence == "trusted" for unit in new),
            unknown=sum(unit.outcome == "unknown" for unit in new),
            held_out=sum(unit.held_out for unit in self._units),
            test_runs=self._runs,
            complete=complete and planning.LIMIT_REACHED not in plan.skipped_commits,
            notes=[f"No tests could be run: {problem}"] if problem else [],
            skipped_commits=plan.skipped_commits,
            skipped_files=plan.skipped_files,
            skipped_units=dict(Counter(plan.skipped_units) + self._skipped),
            mined=self._units[:MOST_MINED_SHOWN],
        )


def _fraction(number: int, count: int) -> float:
    return _PLANNING_SHARE + (1 - _PLANNING_SHARE) * number / count


def _seconds(date: str) -> int:
    """Since 1970; a date without a zone is in UTC."""
    moment = datetime.fromisoformat(date)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
