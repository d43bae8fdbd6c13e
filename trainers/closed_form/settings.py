"""How a closed-form distillation is done."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ClosedFormSettings(BaseModel):
    """Settings of the closed form; a base model's `rune.json` may recommend others.

    Attributes:
        rank: of the adapter, which is on the last layer's `down_proj` alone.
        ridges: candidates: how many rows of what the base model knows a taught row stands against.
        strengths: candidates, in nats: how far a value alone would raise the right token.
        folds: parts of the trajectories; each is judged by what the others teach.
        max_length: tokens; longer conversations lose their beginning.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = Field(default=32, ge=1, le=256)
    ridges: list[float] = Field(default_factory=lambda: [3.0, 30.0, 300.0], min_length=1)
    strengths: list[float] = Field(default_factory=lambda: [20.0, 60.0, 180.0], min_length=1)
    folds: int = Field(default=4, ge=2, le=16)
    max_length: int = Field(default=2048, ge=32)
