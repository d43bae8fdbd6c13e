"""The words Rune's processes exchange: pydantic models, no database, no torch.

What crosses a process boundary (MCP tool results, the engine's REST bodies, job rows) is one of
these. Everything refuses unknown fields. Times are ISO 8601 UTC strings; sizes are bytes.
"""

from __future__ import annotations

from rune_engine.models.adapters import (
    AdapterInfo,
    AdapterPage,
    AdapterSource,
    HierarchyLevel,
    LearntRole,
    RetrievedAdapter,
    RetrieveParams,
)
from rune_engine.models.base import MAX_TEXT_CHARS, NAME_PATTERN, Identifier, Model, Name, Text
from rune_engine.models.engine import (
    ConsolidationStatus,
    EngineHealth,
    MemoryStatus,
    OpenAIStatus,
    ProjectState,
    ProjectStatus,
    RecordingParams,
)
from rune_engine.models.events import EventKind, HistoryEntry, HistoryPage, LifecycleEvent
from rune_engine.models.forgetting import (
    Because,
    ForgetParams,
    ForgetProof,
    ForgetReport,
    ForgottenAdapter,
)
from rune_engine.models.jobs import (
    FINISHED,
    DistillParams,
    DistillResult,
    EvaluatedTask,
    EvaluateParams,
    EvaluateResult,
    EvolveParams,
    EvolveResult,
    ImportParams,
    ImportResult,
    Job,
    JobKind,
    JobPage,
    JobStatus,
    RefusedLine,
    RunTaskParams,
    TaskResult,
)
from rune_engine.models.probing import (
    Check,
    CheckStatus,
    KnownAdapter,
    KnownAnswer,
    ProbeJob,
    ProbeLine,
)
from rune_engine.models.training import AdapterMethod, DistillMethod, TrainerJob, TrainerResult
from rune_engine.models.trajectories import (
    MAX_ATTEMPTS_PER_TRAJECTORY,
    Attempt,
    Outcome,
    RecordedTrajectory,
    Trajectory,
    TrajectoryDraft,
)

__all__ = [
    "FINISHED",
    "MAX_ATTEMPTS_PER_TRAJECTORY",
    "MAX_TEXT_CHARS",
    "NAME_PATTERN",
    "AdapterInfo",
    "AdapterPage",
    "AdapterSource",
    "Attempt",
    "Because",
    "Check",
    "CheckStatus",
    "ConsolidationStatus",
    "DistillParams",
    "DistillResult",
    "EngineHealth",
    "EvaluateParams",
    "EvaluateResult",
    "EvaluatedTask",
    "EventKind",
    "EvolveParams",
    "EvolveResult",
    "ForgetParams",
    "ForgetProof",
    "ForgetReport",
    "ForgottenAdapter",
    "HierarchyLevel",
    "HistoryEntry",
    "HistoryPage",
    "Identifier",
    "ImportParams",
    "ImportResult",
    "Job",
    "JobKind",
    "JobPage",
    "JobStatus",
    "KnownAdapter",
    "KnownAnswer",
    "LearntRole",
    "LifecycleEvent",
    "MemoryStatus",
    "Model",
    "Name",
    "OpenAIStatus",
    "Outcome",
    "ProbeJob",
    "ProbeLine",
    "ProjectState",
    "ProjectStatus",
    "RecordedTrajectory",
    "RecordingParams",
    "RefusedLine",
    "RetrieveParams",
    "RetrievedAdapter",
    "RunTaskParams",
    "TaskResult",
    "Text",
    "TrainerJob",
    "TrainerResult",
    "Trajectory",
    "TrajectoryDraft",
]
