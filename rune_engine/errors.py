"""Every error Rune raises on purpose, in one tree.

    RuneError
    ├── InvalidInputError            the caller's data cannot be accepted
    │   ├── InvalidTrajectoryError
    │   ├── InvalidIdError
    │   └── RepositoryUnreadableError  git cannot read it
    ├── NotFoundError
    │   ├── AdapterNotFoundError
    │   ├── TrajectoryNotFoundError
    │   ├── JobNotFoundError
    │   └── BaseModelNotFoundError
    ├── ConflictError                the state of things forbids it
    │   ├── AdapterAlreadyExistsError
    │   ├── AdapterBaseModelMismatchError
    │   ├── AdapterUnsupportedError  sound, but not for this back-end
    │   ├── AdapterForgottenError
    │   ├── MergeRefusedError        these adapters cannot become one
    │   ├── TrajectoryForgottenError
    │   ├── ProjectOptedOutError
    │   ├── SourceForbiddenError     its user does not let this agent's sessions be read
    │   ├── EngineRunningError       it must not run for this
    │   ├── PortTakenError           something else listens there
    │   ├── StaleAttemptError        the job has been taken up by somebody else
    │   ├── RateLimitedError         more in a minute than there may be
    │   ├── OutdatedDecisionError    what it rests on has changed meanwhile
    │   └── NothingToDistillError
    ├── StorageError
    │   ├── AdapterCorruptedError
    │   ├── BaseModelCorruptedError
    │   ├── DatabaseBusyError
    │   ├── DiskFullError
    │   ├── HomeNotWritableError
    │   ├── NetworkFileSystemError
    │   ├── BackupError
    │   └── DatabaseTooNewError
    ├── SandboxUnavailableError      this machine cannot isolate model-written code
    ├── InferenceError
    │   ├── ContextTooLongError
    │   ├── BackendUnavailableError  the inference server does not answer, or not as ours
    │   ├── WorkerDiedError
    │   └── GenerationCancelledError
    ├── TrainingError
    │   └── TrainerDiedError         a signal ended it: out of memory, or somebody's kill
    ├── DeviceMemoryError            the accelerator, or the machine's memory, is full
    ├── EngineUnavailableError
    ├── ModelHubError                the hub of base models is out of reach, or refused
    ├── ServiceManagerError          systemd or launchd is not there, or refused
    └── MissingExtraError            an optional dependency is not installed

Each error says what happened, to what, and what to do next. Errors cross processes as
`ErrorEnvelope` JSON and are rebuilt by their code; a test holds the tree, the codes and this
picture together. `retryable` errors may pass by themselves: a job that meets one is started again
later. This module imports nothing beyond the standard library.
"""

from __future__ import annotations

from typing import Any, ClassVar


class RuneError(Exception):
    """Base of all deliberate errors.

    Args:
        message: what happened, and to what.
        next_step: what the reader can do about it.
    """

    code: ClassVar[str] = "rune_error"
    http_status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}".strip()

    def to_envelope(self) -> dict[str, Any]:
        """The error as JSON-ready data: `{"code", "message", "next_step"}`."""
        return {"code": self.code, "message": self.message, "next_step": self.next_step}


class InvalidInputError(RuneError):
    code = "invalid_input"
    http_status = 422


class InvalidTrajectoryError(InvalidInputError):
    code = "invalid_trajectory"


class InvalidIdError(InvalidInputError):
    code = "invalid_id"


class RepositoryUnreadableError(InvalidInputError):
    code = "repository_unreadable"


class NotFoundError(RuneError):
    code = "not_found"
    http_status = 404


class AdapterNotFoundError(NotFoundError):
    code = "adapter_not_found"


class TrajectoryNotFoundError(NotFoundError):
    code = "trajectory_not_found"


class JobNotFoundError(NotFoundError):
    code = "job_not_found"


class BaseModelNotFoundError(NotFoundError):
    code = "base_model_not_found"


class ConflictError(RuneError):
    code = "conflict"
    http_status = 409


class AdapterAlreadyExistsError(ConflictError):
    code = "adapter_already_exists"


class AdapterBaseModelMismatchError(ConflictError):
    code = "adapter_base_model_mismatch"


class AdapterUnsupportedError(ConflictError):
    code = "adapter_unsupported"


class AdapterForgottenError(ConflictError):
    code = "adapter_forgotten"


class MergeRefusedError(ConflictError):
    code = "merge_refused"


class TrajectoryForgottenError(ConflictError):
    code = "trajectory_forgotten"


class ProjectOptedOutError(ConflictError):
    code = "project_opted_out"


class SourceForbiddenError(ConflictError):
    code = "source_forbidden"


class EngineRunningError(ConflictError):
    code = "engine_running"


class PortTakenError(ConflictError):
    code = "port_taken"


class RateLimitedError(ConflictError):
    code = "rate_limited"
    http_status = 429
    retryable = True


class OutdatedDecisionError(ConflictError):
    code = "outdated_decision"
    retryable = True


class StaleAttemptError(ConflictError):
    code = "stale_attempt"


class NothingToDistillError(ConflictError):
    code = "nothing_to_distill"


class StorageError(RuneError):
    code = "storage_error"


class AdapterCorruptedError(StorageError):
    code = "adapter_corrupted"


class BaseModelCorruptedError(StorageError):
    code = "base_model_corrupted"


class DatabaseBusyError(StorageError):
    code = "database_busy"
    http_status = 503
    retryable = True


class DiskFullError(StorageError):
    code = "disk_full"
    http_status = 507


class HomeNotWritableError(StorageError):
    code = "home_not_writable"


class NetworkFileSystemError(StorageError):
    code = "network_file_system"


class BackupError(StorageError):
    code = "backup_error"


class DatabaseTooNewError(StorageError):
    code = "database_too_new"


class SandboxUnavailableError(RuneError):
    code = "sandbox_unavailable"
    http_status = 503


class InferenceError(RuneError):
    code = "inference_error"


class ContextTooLongError(InferenceError):
    code = "context_too_long"
    http_status = 422


class BackendUnavailableError(InferenceError):
    code = "backend_unavailable"
    http_status = 503
    retryable = True


class WorkerDiedError(InferenceError):
    code = "worker_died"
    retryable = True


class GenerationCancelledError(InferenceError):
    code = "generation_cancelled"


class TrainingError(RuneError):
    code = "training_error"


class TrainerDiedError(TrainingError):
    code = "trainer_died"
    retryable = True


class DeviceMemoryError(RuneError):
    code = "device_memory"
    http_status = 503
    retryable = True


class EngineUnavailableError(RuneError):
    code = "engine_unavailable"
    http_status = 503
    retryable = True


class ModelHubError(RuneError):
    code = "model_hub"
    http_status = 502


class ServiceManagerError(RuneError):
    code = "service_manager"


class MissingExtraError(RuneError):
    code = "missing_extra"
    http_status = 501


def _tree(root: type[RuneError]) -> list[type[RuneError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in _tree(child))]


ERRORS_BY_CODE: dict[str, type[RuneError]] = {cls.code: cls for cls in _tree(RuneError)}


def from_envelope(envelope: dict[str, Any]) -> RuneError:
    """Rebuild the error that another process sent as `to_envelope()` data."""
    cls = ERRORS_BY_CODE.get(str(envelope.get("code")), RuneError)
    return cls(str(envelope.get("message", "")), next_step=str(envelope.get("next_step", "")))
