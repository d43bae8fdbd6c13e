"""How a hypernetwork's training goes."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

FIRST_SEED = 2_000_000
"""Projects from here on are a hypernetwork's; those of the base model's training have others."""


class Plan(BaseModel):
    """A training's settings; with the hypernetwork's and the lessons' scheme all that it follows
    from.

    Attributes:
        projects: that it learns from.
        judged: projects of the evaluation split that it is judged on at each checkpoint.
        steps: of the optimizer.
        together: projects in a step.
        rate: the learning rate after the warm-up; it falls over the second half.
        context: weight of the divergence from the base model that has the sessions in its prompt.
        drift: weight of the divergence from the base model where no memory is needed.
        alike: weight of the likeness of different projects' adapters, from the first step.
        reconstruct: weight of the error against directly trained adapters, where there are any.
        plain: documents that need no memory; `plain_rows` of their rows are looked at a step.
        check_every: steps between two checkpoints.
        least_diversity: of the judged projects' adapters; training stops below it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    projects: int = Field(default=300, ge=1)
    judged: int = Field(default=24, ge=2)
    steps: int = Field(default=3000, ge=1)
    together: int = Field(default=2, ge=2)
    rate: float = Field(default=2e-4, gt=0)
    warmup: int = Field(default=100, ge=1)
    context: float = Field(default=0.0, ge=0)
    drift: float = Field(default=0.02, ge=0)
    alike: float = Field(default=0.05, ge=0)
    reconstruct: float = Field(default=0.0, ge=0)
    plain: int = Field(default=128, ge=1)
    plain_rows: int = Field(default=1024, ge=1)
    check_every: int = Field(default=250, ge=1)
    least_diversity: float = Field(default=0.1, ge=0)
    seed: int = 0

    def rate_at(self, step: int) -> float:
        """The learning rate of a step; the first is 0."""
        left = (self.steps - step) / (0.5 * self.steps)
        return self.rate * min(1.0, (step + 1) / self.warmup, left)
