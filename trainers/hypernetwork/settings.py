"""What a hypernetwork is made of; stored beside its weights."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trainers.closed_form.base_files import BaseShape

EncoderKind = Literal["perceiver", "mean", "hierarchical", "recurrent"]
Kind = Literal["refined", "scratch"]
HeadsKind = Literal["ranks", "pointers", "rows"]


class HypernetworkSettings(BaseModel):
    """The shape of a hypernetwork.

    Attributes:
        kind: "refined" starts as the closed form, "scratch" from nothing.
        base_model_id: whose adapters it makes.
        targets: the projections that its adapters update, below `model`. Only the last layer's
            `down_proj` can be one: what it changes follows from what one pass has read.
        width: the base model's intermediate size, which keys have.
        outputs: the base model's hidden size, which values have.
        epsilon: of the base model's final norm.
        known: rows of what the base model knows.
        encoder: how a project's rows become latents.
        latents: how many; some heads make a rank of each.
        hidden: the network's own width.
        blocks: of the encoder.
        rank: of the adapters.
        heads_kind: of a scratch network, what makes its update; see `heads`.
        passes: over the rows, of a scratch network that writes them.
        ridge: of the closed form that a refined network starts as.
        strength: of that, in nats; see `ClosedFormSettings`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind = "refined"
    base_model_id: str
    targets: tuple[str, ...] = Field(min_length=1)
    width: int = Field(ge=1)
    outputs: int = Field(ge=1)
    epsilon: float = Field(ge=0)
    known: int = Field(ge=1)
    encoder: EncoderKind = "perceiver"
    latents: int = Field(default=64, ge=1)
    hidden: int = Field(default=192, ge=8)
    heads: int = Field(default=4, ge=1)
    blocks: int = Field(default=2, ge=1)
    rank: int = Field(default=32, ge=1)
    heads_kind: HeadsKind = "rows"
    passes: int = Field(default=32, ge=1)
    ridge: float = Field(default=30.0, gt=0)
    strength: float = Field(default=60.0, gt=0)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if len(self.targets) > 1 or not self.targets[0].endswith(".mlp.down_proj"):
            raise ValueError("a hypernetwork's one target is the last layer's mlp.down_proj")
        if self.hidden % self.heads:
            raise ValueError("hidden must be a multiple of heads")
        return self

    def fits(self, shape: BaseShape) -> bool:
        """Whether its adapters are for a model of this shape."""
        sizes = (self.width, self.outputs, self.epsilon)
        return self.targets == (shape.target,) and sizes == (
            shape.width,
            shape.hidden,
            shape.epsilon,
        )
