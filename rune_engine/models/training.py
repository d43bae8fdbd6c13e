"""What the engine and a trainer subprocess tell each other."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rune_engine.models.base import Identifier, Model

AdapterMethod = Literal["lora", "qlora", "qdora", "closed_form", "hypernetwork"]
DistillMethod = Literal["auto", "direct", "lora", "qlora", "qdora", "closed_form", "hypernetwork"]
"""How an adapter is made. Trained: LoRA on the base model as it is; on the base model in 4-bit
NormalFloat; with DoRA on top of that; "direct" is LoRA, or QLoRA where that alone fits in memory.
"closed_form" is one forward pass and a solve, "hypernetwork" one forward pass and one of a network
that was trained for the base model. "auto" is the last of these that the base model has, or
"direct" where it has neither."""
FAST_METHODS: frozenset[str] = frozenset({"closed_form", "hypernetwork"})
"""Those that train nothing."""
MergeMethod = Literal[
    "auto", "linear", "ties", "dare_linear", "dare_ties", "statistics", "hypernetwork", "train"
]
"""How parents become one adapter. Of their weights: the "linear" average; "ties" (Yadav et al.
2023), which settles signs; "dare_linear" and "dare_ties" (Yu et al. 2024), which drop numbers at
random. Of all that they learnt from, together: "statistics" adds up what the closed form keeps and
solves once, "hypernetwork" is one forward pass over the same, "train" is direct training. "auto" is
"hypernetwork" or "statistics" where what the parents learnt from is still there, by what the base
model has, and the average where not: see docs/assessments/merging.md.
"""


class TrainerJob(Model):
    """The job file a trainer subprocess is started with.

    `trajectories_path` is JSON Lines of `Trajectory`; the trainer leaves
    `adapter_model.safetensors` and `adapter_config.json` in `output_path`. The same job file may
    be given to another trainer after one that died.
    """

    job_id: Identifier
    adapter_id: Identifier | None = Field(default=None, description="The id it will be stored as.")
    method: DistillMethod = Field(
        default="direct", description='To a trainer "auto" is "direct": the engine has chosen.'
    )
    memory_limit_bytes: int | None = Field(
        default=None, description="What the trainer may hold at most; null is what is free."
    )
    project_id: str
    base_model_id: str
    base_model_path: str
    trajectories_path: str
    output_path: str
    tracking_path: str | None = None
    rank: int | None = None
    max_steps: int | None = None
    learning_rate: float | None = None
    seed: int = 0
    threads: int = 0
    checkpoint_path: str | None = Field(
        default=None, description="A folder in which a training that is killed leaves what it had."
    )
    checkpoint_seconds: float = 30.0
    statistics_path: str | None = Field(
        default=None,
        description="A folder that keeps what closed forms and others have read.",
    )


class TrainerResult(Model):
    """The trainer's last line on success; see `DistillResult` for the units."""

    rank: int
    examples: int
    steps: int
    training_loss: float
    kept_back_loss: float | None
    kept_back_loss_before: float | None
    delta_w_norm: float
    seconds: float
    peak_memory_bytes: int
    method: AdapterMethod = "lora"
    estimated_memory_bytes: int = Field(
        default=0, description="The peak that was reckoned with before the training; 0 is unknown."
    )
    newly_read: int | None = None
    chosen: dict[str, float] = Field(default_factory=dict)
