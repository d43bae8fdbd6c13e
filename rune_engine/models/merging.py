"""How adapters become one, and how alike they are: what is asked, what the merging trainer answers.

A merge's job file is a `MergeJob`, a comparison's a `CompareJob`; `python -m trainers` tells them
from a `TrainerJob` by their `kind`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, StringConstraints

from rune_engine.models.base import Identifier, Model
from rune_engine.models.training import DistillMethod, MergeMethod, TrainerResult

WEIGHT_METHODS: frozenset[str] = frozenset({"linear", "ties", "dare_linear", "dare_ties"})
"""Those that need the parents' weights alone."""
JOINT_METHODS: dict[str, DistillMethod] = {
    "statistics": "closed_form",
    "hypernetwork": "hypernetwork",
    "train": "direct",
}
"""Those that distill all that the parents learnt from, and what a distillation calls them."""
MOST_RANK = 256
"""That an adapter of the registry may have."""


class MergeSettings(Model):
    """How a merge is done.

    `weights` say how much each parent counts, in their order; without them all count the same and
    together one. "ties" and "dare_ties" take the mean of the parents that agree on a sign, so equal
    weights of one in all are that mean, as the papers have it.
    """

    method: MergeMethod = "auto"
    weights: list[FiniteFloat] | None = None
    density: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.5, description="The share of each parent's numbers that TIES and DARE keep."
    )
    rank: Annotated[int, Field(ge=1, le=MOST_RANK)] | None = Field(
        default=None,
        description="Null is as much as the merge needs: at most the sum of the parents' ranks.",
    )
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    dense_error: bool = Field(
        default=False, description="Whether to do the same with whole matrices, and compare."
    )
    base_model: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = Field(
        default=None, description="Where the parents' base model is, for methods that need it."
    )


class AdapterFolder(Model):
    """An adapter to read: a folder as PEFT writes it, and whose it is."""

    id: Identifier
    path: str
    base_model_id: str


class MergeJob(Model):
    """A merge's job file. The trainer leaves an adapter in `output_path`, whole or not at all.

    The last eight are for joint methods, see `TrainerJob`; `trajectories_path` holds all that the
    parents learnt from.
    """

    kind: Literal["merge"] = "merge"
    job_id: Identifier
    adapter_id: Identifier
    parents: list[AdapterFolder]
    method: Literal[
        "linear", "ties", "dare_linear", "dare_ties", "statistics", "hypernetwork", "train"
    ]
    weights: list[FiniteFloat] | None = None
    density: float = 0.5
    rank: int | None = None
    seed: int = 0
    dense_error: bool = False
    output_path: str
    threads: int = 0
    project_id: str = "default"
    base_model_path: str | None = None
    trajectories_path: str | None = None
    statistics_path: str | None = None
    tracking_path: str | None = None
    checkpoint_path: str | None = None
    checkpoint_seconds: float = 30.0
    memory_limit_bytes: int | None = None


class CompareJob(Model):
    """A comparison's job file: nothing is left anywhere but the answer."""

    kind: Literal["compare"] = "compare"
    job_id: Identifier
    adapters: list[AdapterFolder]
    threads: int = 0


class Similarity(Model):
    """How alike weight updates are, in the order in which they were given.

    `norms` are the Frobenius norms of the whole updates; `cosines[i][j]` is the cosine of the
    angle between two of them, 0 where one changes nothing.
    """

    norms: list[float]
    cosines: list[list[float]]


class MergeResult(Model):
    """What a merge did.

    Errors are relative, in the Frobenius norm over all modules. `cut_error` is what the rank has
    cost; `dense_error`, where it was asked for, how far the adapter is from the same method done
    with whole matrices, the cut included.
    """

    method: Literal[
        "linear", "ties", "dare_linear", "dare_ties", "statistics", "hypernetwork", "train"
    ]
    rank: int
    modules: int
    delta_w_norm: float
    parents: Similarity | None = Field(description="Null where one is a DoRA.")
    cut_error: float = 0.0
    dense_error: float | None = None
    seconds: float
    peak_memory_bytes: int
    distilled: TrainerResult | None = Field(
        default=None, description="Of a joint method: what its distillation said."
    )
