"""What who looks at the memory is shown: trajectories, what helped, and what has changed."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from rune_engine.models.adapters import HierarchyLevel
from rune_engine.models.base import Identifier, Model
from rune_engine.models.capture import Provenance, SourceState
from rune_engine.models.engine import MemoryStatus
from rune_engine.models.evaluation import Difference
from rune_engine.models.jobs import JobKind, JobStatus
from rune_engine.models.trajectories import Outcome, Trajectory

MOST_CHANGES = 500
"""Changes of each sort in one answer; what is left comes with the next."""


class TrajectorySummary(Model):
    """A trajectory in a list: what it was about and how it ended."""

    id: Identifier
    project_id: str
    session_id: str
    created_at: str
    task: str = Field(description="The beginning of its task's description; recorded text.")
    task_type: str
    domain: str
    outcome: Outcome
    attempts: int
    held_out: bool
    source: str = Field(description="`recorded`, `agent_loop` or `mined`.")
    agent_id: str | None


class TrajectoryListing(Model):
    """A page of trajectories, the newest first."""

    trajectories: list[TrajectorySummary]
    total: int
    offset: int
    next_offset: int | None = Field(
        description="Pass as `offset` for the next page; null at the end."
    )


class StoredTrajectory(Model):
    """A trajectory and where it came from."""

    trajectory: Trajectory
    captured: Provenance | None = Field(description="Set for one read from an agent's session.")
    source_state: SourceState | None = Field(
        description="Whether that agent's sessions may be read now; null if it was not captured."
    )


class AdapterStanding(Model):
    """An adapter and whether it helped, by its last measurement on held-out tasks."""

    adapter_id: str
    project_id: str
    level: HierarchyLevel
    domain: str
    task_type: str
    created_at: str
    fitness: float | None
    pass_rate: float | None = Field(default=None, description="Null: not measured.")
    base_pass_rate: float | None = None
    difference: Difference | None = None
    tasks: int = 0
    undecided: int = 0
    measured_at: str | None = None


class JobLine(Model):
    """A job in a list, without what it was asked and what it answered."""

    id: str
    kind: JobKind
    status: JobStatus
    progress: float
    message: str
    project_id: str | None
    created_at: str
    finished_at: str | None


class Overview(Model):
    """The memory on one page."""

    status: MemoryStatus
    adapters: list[AdapterStanding] = Field(description="Those in use, the newest first.")
    total_adapters: int
    jobs: list[JobLine] = Field(description="The newest first.")


Place = Annotated[list[str], Field(min_length=2, max_length=2)]
"""A time and an id: where in the order of rows the last look ended."""


class ChangeCursor(Model):
    """How far somebody has looked; a client keeps it and does not read it."""

    event: int = 0
    trajectory: Place
    job: Place
    unfinished: dict[str, int] = Field(description="Revision of each job that had not ended.")


class ChangesParams(Model):
    """What has changed since `cursor`; without one, where to begin."""

    cursor: ChangeCursor | None = None


class Changes(Model):
    """Ids of what has changed; `history` when there is a new entry, `erased` when text is gone."""

    cursor: ChangeCursor
    adapters: list[str]
    trajectories: list[str]
    projects: list[str]
    jobs: list[str]
    history: bool
    erased: bool
