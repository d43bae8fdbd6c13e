"""S10 on the wire: what is mined from a repository's history, and what came of it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from rune_engine.models.base import Model, Name
from rune_engine.models.trajectories import Outcome, TestEvidence

MOST_MINED_SHOWN = 200


def _is_date(text: str) -> str:
    datetime.fromisoformat(text)
    return text


Date = Annotated[str, StringConstraints(min_length=8, max_length=40), AfterValidator(_is_date)]
Branch = Annotated[str, StringConstraints(pattern=r"^[^-:\s\x00-\x1f][^:\s\x00-\x1f]{0,199}$")]
Glob = Annotated[str, StringConstraints(min_length=1, max_length=300)]


class MineParams(Model):
    """Which history becomes trajectories, and how much of it.

    `repository` is an absolute folder of a git repository, `issues` an absolute file. Of the
    commits that are taken, the newest `held_out_share` are kept back for evaluation.
    """

    repository: Annotated[str, StringConstraints(min_length=1, max_length=4096)]
    project_id: Name
    since: Date | None = Field(default=None, description="ISO 8601; only commits from then on.")
    limit: Annotated[int, Field(ge=1, le=20_000)] = 500
    branch: Branch | None = Field(default=None, description="What is checked out, when left out.")
    paths: Annotated[list[Glob], Field(max_length=50)] = Field(
        default_factory=list, description="Only files that match one of these; `*` matches `/` too."
    )
    issues: Annotated[str, StringConstraints(max_length=4096)] | None = Field(
        default=None, description="JSON or JSON Lines with `number`, `title` and `body`."
    )
    domain: Name = "general"
    held_out_share: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    trust: bool = Field(
        default=False,
        description="Learn from what was committed although no test tells that it is right.",
    )
    run_tests: bool = Field(default=True, description="In the sandbox, against both versions.")
    max_seconds: Annotated[float, Field(gt=0, le=86_400)] = 1800.0
    dry_run: bool = Field(default=False, description="Store nothing and run no tests.")


class MinedUnit(Model):
    """One change that becomes a trajectory; its outcome is null in a dry run."""

    commit_id: str
    path: str
    unit: str
    task: str
    held_out: bool
    has_tests: bool = Field(description="Whether the commit changes tests, too.")
    outcome: Outcome | None = None
    evidence: TestEvidence | None = None
    trajectory_id: str | None = None
    duplicate: bool = False


class MineResult(Model):
    """How a `mine` job ended. What was left out is counted by its reason."""

    commits: int = Field(description="That were looked at.")
    commits_taken: int
    units: int
    stored: int
    duplicates: int = Field(description="That were stored before.")
    successes: int
    trusted: int
    unknown: int
    held_out: int
    test_runs: int
    complete: bool = Field(description="False when the time was over before the end.")
    notes: list[str]
    skipped_commits: dict[str, int]
    skipped_files: dict[str, int]
    skipped_units: dict[str, int]
    mined: list[MinedUnit] = Field(description=f"The first {MOST_MINED_SHOWN}, newest first.")
