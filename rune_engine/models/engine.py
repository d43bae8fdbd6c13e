"""What the engine says of itself, of its projects and of its schedule."""

from __future__ import annotations

from pydantic import Field

from rune_engine.models.base import Model, Name


class EngineHealth(Model):
    """The engine's first answer to a client; `busy` while a job is queued or running."""

    version: str
    pid: int
    busy: bool
    stays: bool = Field(default=False, description="Whether it goes on when it is idle.")


class OpenAIStatus(Model):
    """The engine's OpenAI-compatible endpoint."""

    base_url: str | None = Field(description="What clients are given; null while it is off.")
    detail: str = Field(description="A sentence: where it is, or why it is off.")


class ProjectStatus(Model):
    project_id: str
    trajectories: int
    distillable_trajectories: int
    held_out_trajectories: int
    unknown_trajectories: int = Field(
        default=0, description="Nothing tells whether these succeeded; they teach nothing."
    )
    adapters: int


class MemoryStatus(Model):
    """What Rune holds and what it is doing."""

    home: str
    version: str
    base_model_id: str
    provider: str
    sandbox: str
    engine_pid: int
    worker_pids: list[int]
    adapters: int
    archived_adapters: int
    trajectories: int
    projects: list[ProjectStatus] = Field(description="The largest ones first, at most 50.")
    total_projects: int
    jobs: dict[str, int] = Field(description="Number of jobs by status.")


class ConsolidationStatus(Model):
    """What the schedule would do, and what keeps it from doing it."""

    enabled: bool
    stays: bool = Field(description="Whether the engine goes on when it is idle.")
    state: str = Field(description="A sentence: idle, at work, or why it waits.")
    due: list[str] = Field(description="Scopes to distill, the first one first.")
    resting: list[str] = Field(description="Scopes whose last try failed, why, and until when.")


class ProjectState(ProjectStatus):
    """What Rune holds of one project, and whether it may record more."""

    recorded: bool = Field(description="False once its user has turned recording off.")


class RecordingParams(Model):
    """A project's switch."""

    project_id: Name
    recorded: bool
