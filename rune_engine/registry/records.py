"""The `adapter_records` table, what goes into it, and what it is asked for. Knows no file."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field as ModelField
from pydantic import StringConstraints, TypeAdapter, ValidationError
from sqlalchemy import Text
from sqlmodel import Field, SQLModel

from rune_engine.errors import InvalidIdError
from rune_engine.models import (
    AdapterInfo,
    AdapterSource,
    HierarchyLevel,
    Identifier,
    Model,
    Name,
)

_IDENTIFIER: TypeAdapter[str] = TypeAdapter(Identifier)


def check_id(adapter_id: str) -> str:
    """Refuse what is not an adapter id, before it gets near a path.

    Raises:
        InvalidIdError: it could spell a path, or is too long or empty.
    """
    try:
        return _IDENTIFIER.validate_python(adapter_id)
    except ValidationError as error:
        raise InvalidIdError(
            f"{adapter_id[:100]!r} is not an adapter id.",
            next_step="Ids are up to 80 letters, digits, '-' and '_', as list_all gives them.",
        ) from error


class AdapterDraft(Model):
    """An adapter's metadata as its maker knows it; the registry adds what it measures itself.

    `version` and `generation` left out follow from the parents: one more than the highest.
    """

    id: str = ModelField(default_factory=lambda: str(uuid.uuid4()))
    project_id: Name
    base_model_id: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    session_id: str
    source: AdapterSource
    task_type: Name = "feature-impl"
    domain: Name = "general"
    hierarchy_level: HierarchyLevel = "project"
    version: Annotated[int, ModelField(ge=1)] | None = None
    generation: Annotated[int, ModelField(ge=0)] | None = None
    parent_ids: list[Identifier] = ModelField(default_factory=list)
    training_task_hash: str | None = None
    agent_id: Name | None = None


class AdapterRecord(SQLModel, table=True):
    """One row an adapter. Only `pass_rate`, `fitness_score`, `is_archived` and
    `forgotten_at` ever change, each with a lifecycle event in the same transaction."""

    __tablename__ = "adapter_records"

    id: str = Field(primary_key=True, sa_type=Text)
    version: int
    task_type: str = Field(sa_type=Text)
    base_model_id: str = Field(sa_type=Text)
    rank: int
    created_at: str = Field(sa_type=Text)
    file_path: str = Field(sa_type=Text, description="Relative to the home, so that it can move.")
    file_hash: str = Field(sa_type=Text)
    file_size_bytes: int
    config_hash: str = Field(sa_type=Text)
    pass_rate: float | None = None
    fitness_score: float | None = None
    source: str = Field(sa_type=Text)
    session_id: str = Field(sa_type=Text)
    is_archived: bool = False
    parent_ids: str = Field(default="[]", sa_type=Text, description="A JSON list.")
    generation: int = 0
    training_task_hash: str | None = Field(default=None, sa_type=Text)
    agent_id: str | None = Field(default=None, sa_type=Text)
    hierarchy_level: str = Field(sa_type=Text)
    domain: str = Field(sa_type=Text)
    project_id: str = Field(sa_type=Text)
    forgotten_at: str | None = Field(default=None, sa_type=Text)

    def to_info(self, home: Path) -> AdapterInfo:
        """The row as other processes see it, with an absolute path."""
        data: dict[str, Any] = self.model_dump(exclude={"config_hash"})
        data["file_path"] = str(home / self.file_path)
        data["parent_ids"] = json.loads(self.parent_ids)
        return AdapterInfo.model_validate(data)


@dataclass(frozen=True, slots=True)
class AdapterFilter:
    """Which adapters: None is any. Archived ones only when asked for."""

    project_id: str | None = None
    domain: str | None = None
    task_type: str | None = None
    base_model_id: str | None = None
    hierarchy_level: HierarchyLevel | None = None
    training_task_hash: str | None = None
    include_archived: bool = False
