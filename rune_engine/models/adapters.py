"""S1 on the wire: an adapter's metadata, pages of it, and what the router answers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from rune_engine.models.base import Identifier, Model, Name

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


class RetrieveParams(Model):
    """A question to the router: which memory suits this task?"""

    project_id: Name
    domain: Name = "general"
    task_type: Name = "feature-impl"
    base_model: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = None


class RetrievedAdapter(Model):
    """The router's answer: the adapter for this task, or none, and why."""

    adapter: AdapterInfo | None
    reason: str
