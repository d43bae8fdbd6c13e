"""A trajectory without its secrets, before anything of it is hashed or stored."""

from __future__ import annotations

from operator import attrgetter

from pydantic import ValidationError

from rune_engine.errors import InvalidTrajectoryError
from rune_engine.models import Attempt, RunTaskParams, TrajectoryDraft
from rune_engine.privacy import (
    is_plain_name,
    is_plainly_clean,
    redact_json,
    redact_name,
    secrets_in,
)

_NAMES = ("project_id", "task_type", "domain", "session_id", "agent_id")
_names_of = attrgetter(*_NAMES)
_TEXTS = {"task_description", "test_suite", "attempts", "provenance"}


def redact_draft(draft: TrajectoryDraft) -> TrajectoryDraft:
    """The draft with every secret replaced, everywhere the same; the draft itself without any.

    Raises:
        InvalidTrajectoryError: a text is too long once its secrets are replaced.
    """
    changed = _changed_names(draft)
    if not _is_plainly_clean(draft):
        changed |= _changed(draft.model_dump(include=_TEXTS))
    if not changed:
        return draft
    try:
        return TrajectoryDraft.model_validate(draft.model_dump() | changed)
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, one["loc"])) for one in error.errors()[:5])
        raise InvalidTrajectoryError(
            f"{fields} cannot be stored once the secrets in it are replaced.",
            next_step="Shorten it, or take the secrets out of it.",
        ) from None


def _is_plainly_clean(draft: TrajectoryDraft) -> bool:
    """Whether a glance at its texts is enough, as it is at most of what is recorded."""
    if draft.provenance is not None:
        return False
    texts = [draft.task_description, draft.test_suite]
    for attempt in draft.attempts:
        if attempt.verdict is not None:
            return False
        texts += (attempt.generated_code, attempt.stdout, attempt.stderr)
    return is_plainly_clean("\0".join(texts))


def redact_attempt(attempt: Attempt) -> Attempt:
    """The attempt with every secret replaced; the attempt itself without any."""
    data = attempt.model_dump()
    clean = redact_json(data)
    return attempt if clean is data else Attempt.model_construct(**clean)


def redact_params(params: RunTaskParams) -> RunTaskParams:
    """The task with every secret in its texts and names replaced."""
    texts = params.model_dump(include=_TEXTS)
    changed = {**_changed_names(params), **_changed(texts)}
    return params.model_copy(update=changed) if changed else params


def redacted_in(draft: TrajectoryDraft) -> dict[str, int]:
    """How many secrets were replaced in a trajectory, by their kind."""
    return secrets_in(draft.model_dump_json(include=_TEXTS))


def _changed(texts: dict[str, object]) -> dict[str, object]:
    clean: dict[str, object] = redact_json(texts)
    return {name: value for name, value in clean.items() if value is not texts[name]}


def _changed_names(model: TrajectoryDraft | RunTaskParams) -> dict[str, object]:
    if is_plain_name("\n".join(filter(None, _names_of(model)))):
        return {}
    given = {name: getattr(model, name) for name in _NAMES if getattr(model, name) is not None}
    clean = {name: redact_name(value) for name, value in given.items()}
    return {name: value for name, value in clean.items() if value != given[name]}
