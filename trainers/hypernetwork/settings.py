"""What a hypernetwork is made of; stored beside its weights."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

EncoderKind = Literal["perceiver", "mean", "hierarchical", "recurrent"]
Kind = Literal["refined", "scratch"]


class HypernetworkSettings(BaseModel):
    """The shape of a hypernetwork.

    Attributes:
        kind: "refined" starts as the closed form, "scratch" from nothing.
        base_model_id: whose adapters it makes.
        width: the base model's intermediate size, which keys have.
        outputs: the base model's hidden size, which values have.
        encoder: how a project's rows become latents.
        latents: how many; a scratch network makes a rank of each.
        hidden: the network's own width.
        blocks: of the encoder.
        rank: of the adapters.
        ridge, strength: of the closed form that a refined network starts as.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind = "refined"
    base_model_id: str
    width: int = Field(ge=1)
    outputs: int = Field(ge=1)
    encoder: EncoderKind = "perceiver"
    latents: int = Field(default=64, ge=1)
    hidden: int = Field(default=192, ge=8)
    heads: int = Field(default=4, ge=1)
    blocks: int = Field(default=2, ge=1)
    rank: int = Field(default=32, ge=1)
    ridge: float = Field(default=30.0, gt=0)
    strength: float = Field(default=60.0, gt=0)
