"""S16 on the wire: jobs, what each kind is asked and what it answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from rune_engine.models.adapters import UNNAMED_PROJECT
from rune_engine.models.base import Identifier, Model, Name, Text
from rune_engine.models.training import AdapterMethod, DistillMethod
from rune_engine.models.trajectories import Attempt, Outcome

JobKind = Literal["run_task", "distill", "evaluate", "evolve", "import", "mine", "consolidate"]
JobStatus = Literal["queued", "running", "succeeded", "failed", "cancelled"]
FINISHED: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})


class RunTaskParams(Model):
    """A task handed to the local model.

    `adapter` is "auto" (the router chooses), "none" (base model alone) or an adapter id.
    `workspace` is an absolute folder that the task's code may import from, mounted read-only.
    """

    task_description: Annotated[Text, StringConstraints(min_length=1)]
    test_suite: Text = ""
    project_id: Name = UNNAMED_PROJECT
    task_type: Name = "feature-impl"
    domain: Name = "general"
    adapter: Identifier = "auto"
    base_model: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = None
    max_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    max_tokens: Annotated[int, Field(ge=1, le=8192)] = 512
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 0.0
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    workspace: Annotated[str, StringConstraints(max_length=4096)] | None = None
    session_id: Identifier | None = None
    agent_id: Name | None = None
    held_out: bool = False


class TaskResult(Model):
    """How a `run_task` job ended."""

    outcome: Outcome
    tests_passed: bool
    code: str = Field(description="The code of the last attempt.")
    attempts: list[Attempt]
    adapter_id: str | None
    adapter_reason: str
    base_model_id: str
    trajectory_id: str | None = Field(description="Null when the project is not recorded.")
    prompt_tokens: int = Field(description="0, as below, where an interrupted job has lost count.")
    completion_tokens: int


class DistillParams(Model):
    """Which trajectories become one adapter, and how.

    Hyper-parameters left out come from the base model's own recommendation.
    """

    project_id: Name
    domain: Name | None = None
    task_type: Name | None = None
    trajectory_ids: list[Identifier] | None = None
    kept_back_ids: list[Identifier] = Field(
        default_factory=list, description="Not trained on, so that the adapter can be judged by it."
    )
    refit_of: Identifier | None = Field(
        default=None,
        description="An adapter that is made again with what was kept back from it; the new one is "
        "served by its numbers.",
    )
    base_model: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = None
    rank: Annotated[int, Field(ge=1, le=256)] | None = None
    max_steps: Annotated[int, Field(ge=1, le=100_000)] | None = None
    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    method: DistillMethod = "auto"
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0


class DistillResult(Model):
    """How a `distill` job ended; seconds are wall-clock of the trainer process."""

    adapter_id: str
    trajectories: int
    examples: int
    steps: int
    training_loss: float
    kept_back_loss: float | None
    kept_back_loss_before: float | None
    delta_w_norm: float
    seconds: float
    peak_memory_bytes: int
    method: AdapterMethod = "lora"
    estimated_memory_bytes: int = Field(default=0, description="Reckoned with before; 0: unknown.")
    newly_read: int | None = Field(
        default=None,
        description="Trajectories that had not been read for `closed_form` before.",
    )
    chosen: dict[str, float] = Field(
        default_factory=dict,
        description="What `closed_form` chose by leaving tasks out: `ridge`; `strength`, in nats.",
    )


class ImportParams(Model):
    """A file of this machine, by its absolute path: one `TrajectoryDraft` a line, as JSON."""

    path: Annotated[str, StringConstraints(min_length=1, max_length=4096)]


class RefusedLine(Model):
    line: int = Field(description="Counted from 1.")
    reason: str


class ImportResult(Model):
    """How an `import` job ended, in lines; `refused_lines` are the first of them."""

    stored: int
    duplicates: int
    refused: int
    refused_lines: list[RefusedLine]


class Job(Model):
    """A durable row: everything long is one of these."""

    id: Identifier
    kind: JobKind
    status: JobStatus
    progress: float = Field(ge=0.0, le=1.0)
    message: str
    params: dict[str, Any]
    result: dict[str, Any] | None
    error: dict[str, Any] | None = Field(
        description="`code`, `message`, `next_step` of the last attempt that failed."
    )
    attempt: int = Field(description="How often it was started; above 1 after a crash.")
    max_attempts: int = Field(
        default=3, description="How often it may be; a stop of the engine adds one."
    )
    priority: int = Field(default=0, description="Higher ones start first.")
    run_at: str = Field(default="", description="It does not start before this time.")
    project_id: str | None = None
    revision: int = Field(description="Rises with every change; wait for a higher one.")
    created_at: str
    started_at: str | None
    finished_at: str | None


class JobPage(Model):
    """The newest jobs first."""

    jobs: list[Job]
