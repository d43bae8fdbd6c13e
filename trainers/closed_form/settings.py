"""How a closed-form distillation is done, and where the settings come from."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rune_engine.models import TrainerJob
from trainers.settings import described, wrong_settings


class ClosedFormSettings(BaseModel):
    """Settings of the closed form; a base model's `rune.json` may recommend others.

    Attributes:
        rank: of the adapter, which is on the last layer's `down_proj` alone.
        ridges: candidates: how many rows of what the base model knows a taught row stands against.
        strengths: candidates, in nats: how far a value alone would raise the right token.
        folds: parts of the trajectories; each is judged by what the others teach. With one nothing
            is judged: the middle candidates are taken, and no kept-back loss is known.
        judged: tokens that the candidates are judged by, at most, spread over the trajectories.
        max_length: tokens; longer conversations lose their beginning.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = Field(default=32, ge=1, le=256)
    ridges: list[float] = Field(default_factory=lambda: [3.0, 30.0, 300.0], min_length=1)
    strengths: list[float] = Field(default_factory=lambda: [20.0, 60.0, 180.0], min_length=1)
    folds: int = Field(default=4, ge=1, le=16)
    judged: int = Field(default=1024, ge=16)
    max_length: int = Field(default=2048, ge=32)


def middle(candidates: Sequence[float]) -> float:
    """The one that is taken where nothing is judged; the upper one of two."""
    return sorted(candidates)[len(candidates) // 2]


def resolve(job: TrainerJob) -> ClosedFormSettings:
    """The base model's recommendation, with the rank that the job asks for.

    Raises:
        BaseModelNotFoundError: the job's base model is not on disk.
        TrainingError: the base model's recommendation cannot be understood.
    """
    asked = {} if job.rank is None else {"rank": job.rank}
    try:
        return ClosedFormSettings.model_validate({**described(job).closed_form, **asked})
    except ValidationError as error:
        raise wrong_settings(job, "closed_form", error) from error
