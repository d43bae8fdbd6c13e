"""S12, S14 on the wire: what an evaluation is asked, and what it found."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from rune_engine.models.base import Identifier, Model

TaskGroup = Literal["held_out", "out_of_domain"]
Criterion = Literal["tests", "pbb"]
"""`tests`: write code that passes the task's tests. `pbb`: predict what a program gives for inputs
that were not shown (the program-evaluation criterion)."""
NO_ADAPTER = "none"
FilePath = Annotated[str, StringConstraints(min_length=1, max_length=4096)]


class EvaluateParams(Model):
    """By which tasks an adapter is judged, against the base model alone.

    Held out are, without `trajectory_ids` and `suite`: what was kept back when it was trained, and
    what its project holds out, at most `max_tasks` of them.
    """

    adapter_id: Identifier = Field(description='"none": the base model alone, on a suite.')
    trajectory_ids: list[Identifier] | None = None
    suite: FilePath | None = Field(
        default=None, description="Absolute path of a file in HumanEval's or MBPP's format."
    )
    criterion: Criterion = "tests"
    folds: Annotated[int, Field(ge=2, le=20)] | None = Field(
        default=None,
        description="Also judge by what it was taught: each task by an adapter made without it.",
    )
    base_model: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = None
    workspace: Annotated[str, StringConstraints(max_length=4096)] | None = Field(
        default=None,
        description="Absolute path of a folder that the tasks' code may import from; by default "
        "the one that the project's last task for the local model named.",
    )
    max_tasks: Annotated[int, Field(ge=1, le=1000)] = 100
    out_of_domain_tasks: Annotated[int, Field(ge=0, le=1000)] | None = Field(
        default=None, description="By default what the configuration says."
    )
    samples: Annotated[int, Field(ge=1, le=200)] = 1
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] | None = Field(
        default=None, description="By default 0 for one sample a task, 0.8 for more."
    )
    pass_at: Annotated[
        tuple[Annotated[int, Field(ge=1, le=200)], ...], Field(min_length=1, max_length=20)
    ] = (1,)
    max_tokens: Annotated[int, Field(ge=1, le=8192)] = 512
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0


class EvaluatedTask(Model):
    """One task's verdicts, one a sample; None where none was reached, which is not a failure."""

    task: str = Field(description="SHA-256 of its description and its tests, which tell it apart.")
    group: TaskGroup = "held_out"
    trajectory_id: str | None = Field(default=None, description="Where it is a user's own.")
    with_adapter: list[bool | None]
    with_base: list[bool | None]


class Difference(Model):
    """The adapter beside the base model on the same tasks; see `evaluation.intervals.paired`."""

    difference: float = Field(description="Mean over tasks, adapter minus base model, -1 to 1.")
    low: float = Field(description="Of the 95 % interval.")
    high: float
    tasks: int
    better: int
    worse: int
    p_value: float


class EvaluationSettings(Model):
    """All that an evaluation followed from, beside the tasks themselves."""

    criterion: Criterion = "tests"
    suite: str | None = Field(default=None, description="SHA-256 of the suite's file.")
    folds: int | None = None
    named: bool = Field(default=False, description="Whether the caller chose the tasks.")
    provider: str = ""
    samples: int = 1
    temperature: float = 0.0
    seed: int = 0
    max_tokens: int = 512
    max_tasks: int = 100
    out_of_domain_tasks: int = 0
    alpha: float = 0.7
    fewest_tasks: int = 5
    adapter_sha256: str = ""
    rune_version: str = ""


class EvaluateResult(Model):
    """What an evaluation found. Rates are means over the tasks that were decided on both sides."""

    evaluation_id: str
    adapter_id: str
    base_model_id: str
    evaluated: bool = Field(description="Whether it is enough for a fitness.")
    reason: str = Field(description="What was found in a sentence, or why there is no fitness.")
    fitness: float | None = None
    pass_rate: float | None = None
    base_pass_rate: float | None = None
    difference: Difference | None = None
    pass_at_k: dict[int, float] = Field(default_factory=dict)
    base_pass_at_k: dict[int, float] = Field(default_factory=dict)
    generalization: float | None = Field(
        default=None,
        description="Outside its domain: the pass rate over the base model's, 1 at most.",
    )
    generalization_delta: Difference | None = None
    tasks: int = Field(description="Held-out tasks that were put to the model.")
    undecided: int = Field(description="Those of them without a verdict on one side.")
    out_of_domain_tasks: int = 0
    out_of_domain_undecided: int = 0
    samples_per_task: int = 1
    settings: EvaluationSettings = Field(default_factory=EvaluationSettings)
    created_at: str = ""
    per_task: list[EvaluatedTask]


class EvaluationPage(Model):
    """The newest first."""

    evaluations: list[EvaluateResult]


class CompareParams(Model):
    """Which two adapters to put beside each other."""

    adapter_id: Identifier
    other_id: Identifier


class Comparison(Model):
    """Two adapters on the held-out tasks that both were measured on, drawn alike."""

    adapter_id: str
    other_id: str
    base_model_id: str
    pass_rate: float | None
    other_pass_rate: float | None
    base_pass_rate: float | None
    difference: Difference | None = Field(description="The first one minus the other.")
    verdict: str
    compared: list[str] = Field(description="Trajectories of the tasks that both were measured on.")
    measurable: list[str] = Field(description="Those of further tasks that both could be.")
