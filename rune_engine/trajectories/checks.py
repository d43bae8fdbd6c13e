"""What makes a trajectory acceptable, and when two are the same. Knows no database."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator

from rune_engine.errors import InvalidTrajectoryError
from rune_engine.models import TrajectoryDraft

_ATTEMPT_TEXTS = ("generated_code", "stdout", "stderr")


def check_draft(draft: TrajectoryDraft) -> None:
    """Refuse what contradicts itself or cannot be stored as it is.

    Raises:
        InvalidTrajectoryError: it names the field.
    """
    if not _are_plain(_texts(draft)):
        _check_each(draft)
    for position, attempt in enumerate(draft.attempts):
        if attempt.verdict is not None:
            verdict = json.dumps(attempt.verdict, ensure_ascii=False)
            _check_text(f"attempts[{position}].verdict", verdict)
    _check_outcome(draft)


def _texts(draft: TrajectoryDraft) -> Iterator[str]:
    yield draft.task_description
    yield draft.test_suite
    for one in draft.attempts:
        yield from (one.generated_code, one.stdout, one.stderr)


def _are_plain(texts: Iterable[str]) -> bool:
    """Whether all are ASCII without NUL, as most are: then there is nothing to look for."""
    joined = "".join(texts)
    return joined.isascii() and "\0" not in joined


def _check_each(draft: TrajectoryDraft) -> None:
    _check_text("task_description", draft.task_description)
    _check_text("test_suite", draft.test_suite)
    for position, attempt in enumerate(draft.attempts):
        for name in _ATTEMPT_TEXTS:
            _check_text(f"attempts[{position}].{name}", getattr(attempt, name))


def content_hash(draft: TrajectoryDraft) -> str:
    """sha256 of what happened: who recorded it, when and how it was judged do not count.

    The parts are separated by NUL, which `check_draft` lets into none of them.
    """
    parts = [draft.project_id, draft.task_description, draft.test_suite, draft.outcome]
    for one in draft.attempts:
        parts += (one.generated_code, one.stdout, one.stderr)
        parts.append(f"{one.exit_code} {one.tests_passed}")
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _check_text(field: str, text: str) -> None:
    problem = "contains a NUL character" if "\0" in text else None
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        problem = "contains an unpaired surrogate, which UTF-8 cannot spell"
    if problem:
        raise InvalidTrajectoryError(
            f"{field} {problem}.", next_step="Remove or replace that character."
        )


def _check_outcome(draft: TrajectoryDraft) -> None:
    passed = draft.attempts[-1].tests_passed
    if draft.provenance is not None and draft.provenance.evidence == "trusted":
        _check_trust(draft)
    if draft.outcome == "success" and passed is False:
        contradiction = "The outcome is success, but the last attempt did not pass its tests."
    elif draft.outcome == "exhausted" and passed is True:
        contradiction = "The outcome is exhausted, but the last attempt passed its tests."
    elif draft.outcome == "unknown" and passed is not None:
        contradiction = "The outcome is unknown, but the last attempt has a verdict."
    else:
        return
    raise InvalidTrajectoryError(
        contradiction, next_step="Correct `outcome` or the last attempt's `tests_passed`."
    )


def _check_trust(draft: TrajectoryDraft) -> None:
    """Trust stands for tests that were not run: it is for mined code alone, hides no verdict."""
    if draft.source != "mined" or draft.attempts[-1].tests_passed is not None:
        raise InvalidTrajectoryError(
            "Only mined code that no test judged can be trusted.",
            next_step="Leave `provenance.evidence` as `none`, or as `tests` where some decided.",
        )
