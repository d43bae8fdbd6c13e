"""How a direct distillation is done: settings, and where their values come from."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import base_models
from rune_engine.errors import BaseModelNotFoundError, TrainingError
from rune_engine.models import TrainerJob

ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
QUANTISED = frozenset({"qlora", "qdora"})
"""Methods whose base model is kept in 4-bit NormalFloat."""
SMALL = 100_000_000
"""Below this many parameters a model that is not packed is float32 on a CPU: it costs nothing."""


class DirectSettings(BaseModel):
    """Settings of direct distillation (LoRA, Hu et al. 2021).

    Attributes:
        rank: rank r of every adapter matrix pair.
        alpha: LoRA's alpha; the update is scaled by alpha / r.
        target_modules: names of the linear layers that get an adapter.
        learning_rate: peak rate of AdamW, with linear warm-up and decay.
        batch_size: examples a step.
        min_steps, max_steps: bounds of early stopping.
        evaluate_every: steps between two looks at the kept-back loss.
        patience: looks without improvement after which training stops.
        kept_back: share of the tasks that early stopping looks at.
        finish_steps: steps on everything, what was kept back included, after early stopping.
        rehearsal: examples of `rehearsal.jsonl` beside the base model that join every step, so
            that a memory does not cost what the model could do before (Robins 1995).
        max_length: tokens; longer conversations lose their beginning.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = Field(default=16, ge=1, le=256)
    alpha: float = Field(default=32.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: list[str] = Field(default_factory=lambda: list(ALL_LINEAR))
    learning_rate: float = Field(default=2e-4, gt=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0)
    batch_size: int = Field(default=8, ge=1)
    min_steps: int = Field(default=10, ge=1)
    max_steps: int = Field(default=100, ge=1)
    evaluate_every: int = Field(default=10, ge=1)
    patience: int = Field(default=3, ge=1)
    kept_back: float = Field(default=0.15, ge=0, lt=1)
    finish_steps: int = Field(default=0, ge=0)
    rehearsal: int = Field(default=8, ge=0)
    max_length: int = Field(default=2048, ge=32)


def resolve(job: TrainerJob) -> DirectSettings:
    """The base model's recommendation, overridden by what the job asks for.

    Raises:
        BaseModelNotFoundError: the job's base model is not on disk.
        TrainingError: the base model's recommendation cannot be understood.
    """
    recommended = described(job).distillation
    asked = {"rank": job.rank, "max_steps": job.max_steps, "learning_rate": job.learning_rate}
    values = {**recommended, **{key: value for key, value in asked.items() if value is not None}}
    try:
        settings = DirectSettings.model_validate(values)
    except ValidationError as error:
        raise wrong_settings(job, "distillation", error) from error
    return settings.model_copy(update={"min_steps": min(settings.min_steps, settings.max_steps)})


def described(job: TrainerJob) -> base_models.BaseModelFolder:
    """What the job's base model says of itself.

    Raises:
        BaseModelNotFoundError: it is not on disk.
        TrainingError: it cannot be understood.
    """
    try:
        return base_models.describe(job.base_model_path)
    except FileNotFoundError as error:
        raise BaseModelNotFoundError(
            f"No base model lies in {job.base_model_path}.",
            next_step="Give a folder that Transformers can load.",
        ) from error
    except ValueError as error:
        raise wrong_settings(job, "distillation", error) from error


def wrong_settings(job: TrainerJob, entry: str, error: ValueError) -> TrainingError:
    """The error for a recommendation that cannot be understood."""
    return TrainingError(
        f"The distillation settings in {job.base_model_path}/rune.json are wrong: {error}",
        next_step=f"Correct rune.json, or remove its `{entry}` entry.",
    )
