"""The tools' parameters: the wire models' types, each with the words an agent reads."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from rune_engine.models import (
    MAX_ATTEMPTS_PER_TRAJECTORY,
    NAME_PATTERN,
    Attempt,
    Criterion,
    DistillMethod,
    Identifier,
    Name,
    Outcome,
    Text,
)

ProjectId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=4096, pattern=rf"^/|{NAME_PATTERN}"),
    Field(
        description="The project whose memory this is: the absolute path of any folder in it, which"
        " its repository then names, or a project's id."
    ),
]
Domain = Annotated[Name, Field(description="The area of work, for example `parsing` or `web`.")]
TaskType = Annotated[
    Name, Field(description="The kind of task, for example `feature-impl` or `bug-fix`.")
]
SessionId = Annotated[
    Identifier, Field(description="Groups trajectories of one coding session; made when left out.")
]
OneSession = Annotated[
    Identifier, Field(description="Only this session, as `list_trajectories` shows it.")
]
AgentId = Annotated[Name, Field(description="Who did the work, for example the agent's name.")]
HeldOut = Annotated[
    bool, Field(description="True keeps the trajectory for evaluation: it is never distilled.")
]
BaseModelName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=500),
    Field(
        description="A base model's name or folder; the configured one when left out.",
    ),
]

TaskDescription = Annotated[
    Text, Field(min_length=1, description="What is to be done, as it was or would be asked.")
]
TestSuite = Annotated[
    Text, Field(description="Python tests that decide the outcome; run after the code.")
]
Attempts = Annotated[
    list[Attempt],
    Field(
        min_length=1,
        max_length=MAX_ATTEMPTS_PER_TRAJECTORY,
        description="The attempts, oldest first: code, what running it printed, and the verdict.",
    ),
]
TrajectoryOutcome = Annotated[
    Outcome,
    Field(
        description="`success` when the last attempt solved the task, `exhausted` when it did not,"
        " `unknown` when no test or other check tells."
    ),
]
UsedAdapter = Annotated[
    Identifier, Field(description="The adapter that was loaded while the attempts were made.")
]

AdapterChoice = Annotated[
    Identifier,
    Field(description="`auto` lets the router choose, `none` is the base model alone, or an id."),
]
MaxAttempts = Annotated[
    int, Field(ge=1, le=10, description="How often the model may try before it gives up.")
]
MaxTokens = Annotated[int, Field(ge=1, le=8192, description="Longest answer per attempt.")]
Temperature = Annotated[
    float, Field(ge=0.0, le=2.0, description="0 is greedy; higher values vary the attempts.")
]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1, description="Makes the work repeatable.")]
Workspace = Annotated[
    str,
    StringConstraints(max_length=4096),
    Field(description="An absolute folder the code may import from; mounted read-only."),
]
WaitSeconds = Annotated[
    float,
    Field(
        ge=0.0,
        le=600.0,
        description="How long to wait for the end of the job before its id is returned instead.",
    ),
]

TrajectoryIds = Annotated[
    list[Identifier],
    Field(description="Exactly these trajectories; the project's successful ones when left out."),
]
Rank = Annotated[int, Field(ge=1, le=256, description="Rank of the adapter's matrices.")]
MaxSteps = Annotated[int, Field(ge=1, le=100_000, description="Optimizer steps at most.")]
Method = Annotated[
    DistillMethod,
    Field(
        description="auto: at once, without training, by the base model's hypernetwork or else in "
        "closed_form; a direct training follows when the machine is quiet. direct: lora, or qlora "
        "(4-bit base model) where that alone fits in memory; minutes."
    ),
]
LearningRate = Annotated[float, Field(gt=0, le=1, description="The optimizer's peak step size.")]

AdapterId = Annotated[Identifier, Field(description="The id that `list_adapters` shows.")]
OtherAdapter = Annotated[Identifier, Field(description="The id of the one to compare it with.")]
JudgedBy = Annotated[
    list[Identifier],
    Field(description="Exactly these trajectories' tasks; those kept back when left out."),
]
SuitePath = Annotated[
    str,
    StringConstraints(min_length=1, max_length=4096),
    Field(description="Absolute path of a suite in HumanEval's or MBPP's format, instead."),
]
CriterionName = Annotated[
    Criterion,
    Field(
        description="tests: write code that passes. pbb: predict what programs that it was taught"
        " give for inputs that were not shown."
    ),
]
Folds = Annotated[
    int,
    Field(
        ge=2,
        le=20,
        description="Also judge by what it was taught: each task by an adapter made without it.",
    ),
]
Samples = Annotated[int, Field(ge=1, le=200, description="Answers per task, on either side.")]
SamplingTemperature = Annotated[
    float, Field(ge=0.0, le=2.0, description="0 for one answer per task, 0.8 for more, by default.")
]
PassAt = Annotated[
    tuple[Annotated[int, Field(ge=1, le=200)], ...],
    Field(min_length=1, max_length=20, description="Which k of Pass@k, up to `samples`."),
]
MaxTasks = Annotated[int, Field(ge=1, le=1000, description="Held-out tasks at most.")]
OutOfDomainTasks = Annotated[
    int,
    Field(ge=0, le=1000, description="Tasks outside its domain, which show what it harms."),
]
MeasureNow = Annotated[
    bool, Field(description="False only looks up what was measured before, and starts nothing.")
]
JobId = Annotated[Identifier, Field(description="A job's id, as `run_task` or `distill` gave it.")]
Reason = Annotated[
    str, StringConstraints(max_length=2000), Field(description="Why, for the history.")
]
DryRun = Annotated[
    bool, Field(description="True only tells what would be decided; nothing is changed.")
]
IncludeArchived = Annotated[bool, Field(description="Also show adapters that are archived.")]
Offset = Annotated[
    int, Field(ge=0, description="Where the page begins: the `next_offset` of the page before.")
]
Limit = Annotated[int, Field(ge=1, le=100, description="Entries on one page.")]
TrajectoryId = Annotated[
    Identifier, Field(description="The id that recording gave, or `list_trajectories` shows.")
]
FirstAttempt = Annotated[
    int, Field(ge=0, le=MAX_ATTEMPTS_PER_TRAJECTORY, description="Where to begin, from 0.")
]
EraseTrajectories = Annotated[
    int,
    Field(
        ge=0,
        le=2**62,
        description="How many trajectories the plan counts; they are erased if it is so.",
    ),
]
Rebuild = Annotated[
    bool,
    Field(description="Also distill the retired adapters anew from what else they learnt from."),
]
EventNumber = Annotated[
    int, Field(ge=1, le=2**62, description="The decision's `event`, as `get_history` shows it.")
]
