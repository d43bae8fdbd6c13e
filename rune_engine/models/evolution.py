"""S11 on the wire: what evolution is asked, what it plans, and what it has decided."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from rune_engine.models.base import Identifier, Model, Name
from rune_engine.models.training import MergeMethod

EvolutionOperation = Literal["update", "guard", "tournament", "promote", "consolidate", "prune"]
EvolutionDecision = Literal[
    "kept",
    "archived",
    "demoted",
    "pruned",
    "try_wider",
    "promoted",
    "not_promoted",
    "try_together",
    "consolidated",
    "not_consolidated",
]
"""`try_wider` and `try_together` are measured before anything else is decided of them."""
Reason = Annotated[str, StringConstraints(max_length=2000)]


class EvolutionStep(Model):
    """One decision: of which adapters, why, by which numbers, and what goes out of use by it."""

    operation: EvolutionOperation
    decision: EvolutionDecision
    adapter_ids: list[Identifier] = Field(description="Whom it is about, the first one most.")
    archive: dict[str, str] = Field(
        default_factory=dict, description="Adapters that go out of use, each with its reason."
    )
    stored: list[Identifier] = Field(
        default_factory=list, description="Adapters that are new by it."
    )
    reason: str
    numbers: dict[str, Any] = Field(default_factory=dict)


class EvolutionPlan(Model):
    """What `evolve` would decide of a project now; nothing of it has been done."""

    project_id: Name
    steps: list[EvolutionStep]


class EvolveParams(Model):
    """What to decide about: one new adapter, all of a project's, or first the one and then all."""

    adapter_id: Identifier | None = None
    project_id: Name | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.adapter_id is None and self.project_id is None:
            raise ValueError("give an adapter_id or a project_id")
        return self


class EvolveResult(Model):
    """What was decided of an adapter and the incumbents of its scope, or of a project."""

    adapter_id: str | None = None
    project_id: str | None = None
    archived: list[str] = Field(description="Ids of the adapters that went out of use.")
    stored: list[str] = Field(default_factory=list, description="Ids of those that are new.")
    reason: str
    steps: list[EvolutionStep] = Field(default_factory=list)


class ConsolidateParams(Model):
    """Adapters that should become one, if that one beats them."""

    adapter_ids: Annotated[list[Identifier], Field(min_length=2, max_length=8)]
    method: MergeMethod = "auto"
    base_model: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = None
    max_tasks: Annotated[int, Field(ge=1, le=1000)] = 200
    max_tokens: Annotated[int, Field(ge=1, le=8192)] = 512
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0

    @model_validator(mode="after")
    def _different(self) -> Self:
        if len(set(self.adapter_ids)) != len(self.adapter_ids):
            raise ValueError("an adapter is named twice")
        return self


class ConsolidateResult(Model):
    """How a `consolidate` job ended; `adapter_id` is null where the candidate was not stored."""

    adapter_id: str | None
    archived: list[str]
    method: str
    reason: str
    numbers: dict[str, Any]


class SteeringParams(Model):
    """A user's own word on one adapter."""

    reason: Reason = ""


class UndoParams(Model):
    """A decision to take back, by the `seq` of its event."""

    event: Annotated[int, Field(ge=1)]


class UndoResult(Model):
    """What taking a decision back has changed."""

    event: int
    restored: list[str] = Field(description="Adapters in use again.")
    archived: list[str] = Field(description="Adapters that the decision had made.")
    left: dict[str, str] = Field(
        default_factory=dict, description="Adapters that stay as they are, each with the reason."
    )
