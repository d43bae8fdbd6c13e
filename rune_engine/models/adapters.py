"""S1 on the wire: an adapter's metadata, pages of it, and what the router answers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from rune_engine.models.base import Identifier, Model, Name, Text

HierarchyLevel = Literal["project", "domain", "task"]
LearntRole = Literal["trained", "kept_back"]
"""What a trajectory was to an adapter: trained on, or kept back to judge it by."""
AdapterSource = Literal["distillation", "evolution", "manual"]


class AdapterInfo(Model):
    """An adapter's metadata: every column of `adapter_records`."""

    id: Identifier
    version: int
    task_type: str
    base_model_id: str
    rank: int
    created_at: str
    file_path: str
    file_hash: str
    file_size_bytes: int
    pass_rate: float | None
    fitness_score: float | None
    source: AdapterSource
    session_id: str
    is_archived: bool
    parent_ids: list[str]
    generation: int
    training_task_hash: str | None
    agent_id: str | None
    hierarchy_level: HierarchyLevel
    domain: str
    project_id: str
    forgotten_at: str | None = Field(
        default=None, description="Set once something it learnt from was forgotten; never served."
    )


class AdapterPage(Model):
    adapters: list[AdapterInfo]
    total: int
    offset: int
    next_offset: int | None = Field(
        description="Pass as `offset` for the next page; null at the end."
    )


UNNAMED_PROJECT = "default"
"""The project of sessions and tasks that name none."""
MAX_CANDIDATES = 5


class RetrieveParams(Model):
    """A question to the router: which memory suits this task?

    Without a project, or with the unnamed one where it has no adapter, the text alone decides, and
    only where it says clearly whose task it is.
    """

    project_id: Name | None = None
    domain: Name = "general"
    task_type: Name = "feature-impl"
    base_model: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = None
    task_description: Text | None = Field(
        default=None, description="What is to be done, as it was or would be asked."
    )


class RouteCandidate(Model):
    """What the router weighed: an adapter, or the base model alone (`adapter_id` null)."""

    adapter_id: str | None
    project_id: str | None = None
    level: HierarchyLevel | None = None
    fitness: float | None = Field(default=None, description="Null: not evaluated.")
    nearness: float | None = Field(
        default=None,
        description="Of the task's text to what the adapter was taught, 0 to 1; null: no text.",
    )
    score: float | None = Field(
        default=None, description="What it was ordered by within its level, higher first."
    )
    why: str


class RetrievedAdapter(Model):
    """The router's answer: the adapter for this task, or none, and why."""

    adapter: AdapterInfo | None
    reason: str
    candidates: list[RouteCandidate] = Field(
        default_factory=list,
        description="What was weighed, the chosen one first; the base model alone is among them.",
    )
