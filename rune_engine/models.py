"""The words Rune's processes exchange: pydantic models, no database, no torch.

What crosses a process boundary (MCP tool results, the engine's REST bodies, job rows) is one of
these. Everything refuses unknown fields. Times are ISO 8601 UTC strings; sizes are bytes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

MAX_TEXT_CHARS = 1_000_000
"""Longest single text field accepted at the door (a 50 MB field is refused, not stored)."""
MAX_ATTEMPTS_PER_TRAJECTORY = 100

Text = Annotated[str, StringConstraints(max_length=MAX_TEXT_CHARS)]
NAME_PATTERN = r"^[A-Za-z0-9_@:+][A-Za-z0-9_.@:+/ -]*$"
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NAME_PATTERN)]
"""A project, domain, task type or agent: printable, bounded, never a relative path."""
Identifier = Annotated[
    str, StringConstraints(min_length=1, max_length=80, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
]
"""An adapter, trajectory, session or job id; cannot spell a path."""

Outcome = Literal["success", "exhausted"]
HierarchyLevel = Literal["project", "domain", "task"]
LearntRole = Literal["trained", "kept_back"]
"""What a trajectory was to an adapter: trained on, or kept back to judge it by."""
AdapterSource = Literal["distillation", "evolution", "manual"]
JobKind = Literal["run_task", "distill", "evaluate", "evolve", "import"]
JobStatus = Literal["queued", "running", "succeeded", "failed", "cancelled"]
EventKind = Literal[
    "adapter_stored",
    "adapter_archived",
    "adapter_forgotten",
    "fitness_measured",
    "trajectories_erased",
    "project_opted_out",
    "project_opted_in",
    "consolidation_decided",
    "serving_slept",
    "serving_woke",
    "backup_made",
    "backup_restored",
    "data_repaired",
]
FINISHED: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})


class Model(BaseModel):
    """Strict at the edges: unknown fields are an error, instances are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# --- trajectories (S2) -------------------------------------------------------------------------


class Attempt(Model):
    """One try at a task: the code, what running it printed, and whether the tests passed."""

    generated_code: Text
    stdout: Text = ""
    stderr: Text = ""
    exit_code: int | None = None
    tests_passed: bool | None = Field(
        default=None, description="None when no verdict was reached; that is not a failure."
    )
    verdict: dict[str, Any] | None = Field(
        default=None, description="The sandbox's verdict with its evidence, where Rune ran it."
    )


class TrajectoryDraft(Model):
    """A trajectory as somebody records it; the store gives it an id."""

    project_id: Name
    task_description: Annotated[Text, StringConstraints(min_length=1)]
    attempts: Annotated[list[Attempt], Field(min_length=1, max_length=MAX_ATTEMPTS_PER_TRAJECTORY)]
    outcome: Outcome
    test_suite: Text = ""
    task_type: Name = "feature-impl"
    domain: Name = "general"
    session_id: Identifier | None = None
    agent_id: Name | None = None
    held_out: bool = Field(
        default=False, description="Kept back for evaluation: never distilled into weights."
    )
    adapter_id: Identifier | None = Field(
        default=None, description="The adapter that was loaded while the attempts were made."
    )
    source: Literal["recorded", "agent_loop"] = "recorded"


class Trajectory(TrajectoryDraft):
    """A stored trajectory."""

    id: Identifier
    session_id: Identifier
    content_hash: str
    created_at: str


class RecordedTrajectory(Model):
    """What `record_trajectory` answers."""

    trajectory_id: Identifier
    session_id: Identifier
    duplicate: bool = Field(description="True when the same trajectory was already stored.")
    distillable_trajectories: int = Field(
        description="Successful trajectories of this project that a distillation would use."
    )
    redacted: dict[str, int] = Field(
        default_factory=dict, description="Secrets that were replaced before storing, by kind."
    )


# --- adapters (S1) -----------------------------------------------------------------------------


class AdapterInfo(Model):
    """An adapter's metadata: every column of `adapter_records`."""

    id: Identifier
    version: int
    task_type: str
    base_model_id: str
    rank: int
    created_at: str
    file_path: str
    file_hash: str
    file_size_bytes: int
    pass_rate: float | None
    fitness_score: float | None
    source: AdapterSource
    session_id: str
    is_archived: bool
    parent_ids: list[str]
    generation: int
    training_task_hash: str | None
    agent_id: str | None
    hierarchy_level: HierarchyLevel
    domain: str
    project_id: str
    forgotten_at: str | None = Field(
        default=None, description="Set once something it learnt from was forgotten; never served."
    )


class AdapterPage(Model):
    adapters: list[AdapterInfo]
    total: int
    offset: int
    next_offset: int | None = Field(
        description="Pass as `offset` for the next page; null at the end."
    )


class RetrieveParams(Model):
    """A question to the router: which memory suits this task?"""

    project_id: Name
    domain: Name = "general"
    task_type: Name = "feature-impl"
    base_model: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = None


class RetrievedAdapter(Model):
    """The router's answer: the adapter for this task, or none, and why."""

    adapter: AdapterInfo | None
    reason: str


# --- lifecycle events (S19) --------------------------------------------------------------------


class LifecycleEvent(Model):
    """Something that was decided or done, with the facts behind it."""

    seq: int = Field(description="The order of events; the clock may jump, this does not.")
    at: str
    kind: EventKind
    subject: str = Field(description="Id of the adapter, project, session or job it is about.")
    project_id: str | None
    caused_by: str = Field(description='"user", "schedule", or the id of the job.')
    payload: dict[str, Any]


# --- jobs --------------------------------------------------------------------------------------


class RunTaskParams(Model):
    """A task handed to the local model.

    `adapter` is "auto" (the router chooses), "none" (base model alone) or an adapter id.
    `workspace` is an absolute folder that the task's code may import from, mounted read-only.
    """

    task_description: Annotated[Text, StringConstraints(min_length=1)]
    test_suite: Text = ""
    project_id: Name = "default"
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
    base_model: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = None
    rank: Annotated[int, Field(ge=1, le=256)] | None = None
    max_steps: Annotated[int, Field(ge=1, le=100_000)] | None = None
    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
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


class EvaluateParams(Model):
    """By which tasks one adapter is judged, against the base model alone.

    Without `trajectory_ids`: what was kept back when it was trained, and what its project holds
    out, at most `max_tasks` of them.
    """

    adapter_id: Identifier
    trajectory_ids: list[Identifier] | None = None
    base_model: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = None
    max_tasks: Annotated[int, Field(ge=1, le=1000)] = 100
    max_tokens: Annotated[int, Field(ge=1, le=8192)] = 512
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0


class EvaluatedTask(Model):
    """One task's verdicts; None where none was reached, which is not a failure."""

    trajectory_id: str
    with_adapter: bool | None
    with_base: bool | None


class EvaluateResult(Model):
    """How an `evaluate` job ended. The rates are over the tasks that were decided on both sides."""

    adapter_id: str
    base_model_id: str
    tasks: int
    undecided: int
    pass_rate: float | None
    base_pass_rate: float | None
    per_task: list[EvaluatedTask]


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


class EvolveParams(Model):
    """Which adapter to keep, or to take out of use, by what was measured."""

    adapter_id: Identifier


class EvolveResult(Model):
    """What was decided of an adapter and the incumbents of its scope."""

    adapter_id: str
    archived: list[str] = Field(description="Ids of the adapters that went out of use.")
    reason: str


class TrainerJob(Model):
    """The job file a trainer subprocess is started with.

    `trajectories_path` is JSON Lines of `Trajectory`; the trainer leaves
    `adapter_model.safetensors` and `adapter_config.json` in `output_path`. The same job file may
    be given to another trainer after one that died.
    """

    job_id: Identifier
    adapter_id: Identifier | None = Field(default=None, description="The id it will be stored as.")
    method: Literal["direct"] = "direct"
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


# --- forgetting (S30) --------------------------------------------------------------------------


class ForgetParams(Model):
    """What to forget: a whole project, or one session."""

    project_id: Name | None = None
    session_id: Identifier | None = None
    rebuild: bool = Field(
        default=False, description="Distill the adapters anew from what else they learnt from."
    )

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.project_id is None) == (self.session_id is None):
            raise ValueError("name either a project or a session")
        return self

    @property
    def subject(self) -> str:
        return str(self.project_id or self.session_id)

    @property
    def subject_kind(self) -> Literal["project", "session"]:
        return "project" if self.project_id is not None else "session"


Because = Literal["it was trained on it", "it was measured on it", "a parent", "not known"]


class ForgottenAdapter(Model):
    """An adapter that is never served again, and why; `learnt_from` counts what was erased."""

    adapter_id: str
    project_id: str
    because: Because
    learnt_from: int
    parents: list[str] = Field(description="Its forgotten parents, when that is the reason.")
    rebuild: str | None = Field(
        default=None, description="The job that rebuilds it without them, or why there is none."
    )


class ForgetProof(Model):
    """A search of every byte of the home for the erased text, made after erasing it."""

    files_searched: int
    bytes_searched: int
    lines_searched: int = Field(description="Lines of the erased text that nothing else has.")
    found_in: list[str] = Field(description="Files that still hold one; empty is the proof.")
    removed: list[str] = Field(description="Files removed or emptied because they held it.")
    backups: list[str] = Field(
        default=[], description="Backups made earlier: they hold it until you remove them."
    )


class ForgetReport(Model):
    """What depended on what, and what was done; `done` is false when it was only looked at."""

    scope: Literal["project", "session"]
    subject: str
    done: bool
    trajectory_ids: list[str]
    sessions: int
    jobs: int
    cancelled_jobs: list[str] = []
    adapters: list[ForgottenAdapter]
    proof: ForgetProof | None = None


class EngineHealth(Model):
    """The engine's first answer to a client; `busy` while a job is queued or running."""

    version: str
    pid: int
    busy: bool
    stays: bool = Field(default=False, description="Whether it goes on when it is idle.")


class MemoryStatus(Model):
    """What Rune holds and what it is doing."""

    home: str
    version: str
    base_model_id: str
    provider: str
    sandbox: str
    engine_pid: int
    worker_pids: list[int]
    adapters: int
    archived_adapters: int
    trajectories: int
    projects: list[ProjectStatus] = Field(description="The largest ones first, at most 50.")
    total_projects: int
    jobs: dict[str, int] = Field(description="Number of jobs by status.")


class ProjectStatus(Model):
    project_id: str
    trajectories: int
    distillable_trajectories: int
    held_out_trajectories: int
    adapters: int


class ConsolidationStatus(Model):
    """What the schedule would do, and what keeps it from doing it."""

    enabled: bool
    stays: bool = Field(description="Whether the engine goes on when it is idle.")
    state: str = Field(description="A sentence: idle, at work, or why it waits.")
    due: list[str] = Field(description="Scopes to distill, the first one first.")
    resting: list[str] = Field(description="Scopes whose last try failed, why, and until when.")


# --- history -----------------------------------------------------------------------------------


class HistoryEntry(Model):
    """Something that happened, as a line to read and as facts."""

    at: str
    kind: str = Field(description="A lifecycle event's kind, or `job_` and how a job ended.")
    subject: str = Field(description="Id of the adapter, project, session or job it is about.")
    project_id: str | None
    line: str
    facts: dict[str, Any]


class HistoryPage(Model):
    """The newest first."""

    entries: list[HistoryEntry]


class ProjectState(ProjectStatus):
    """What Rune holds of one project, and whether it may record more."""

    recorded: bool = Field(description="False once its user has turned recording off.")


class RecordingParams(Model):
    """A project's switch."""

    project_id: Name
    recorded: bool


MemoryStatus.model_rebuild()
