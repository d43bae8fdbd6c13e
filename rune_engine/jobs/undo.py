"""Takes a decision back: what went out of use by it returns, what it had stored goes.

One transaction, with an event of its own; doing it twice changes nothing more. What was decided
about the same adapters since is left alone, and said so. Knows nothing of how anything was decided.
"""

from __future__ import annotations

from sqlalchemy import func
from sqlmodel import Session, select

from rune_engine import events
from rune_engine.database import Database
from rune_engine.errors import ConflictError, NotFoundError
from rune_engine.events import EventRecord
from rune_engine.models import LifecycleEvent, UndoResult
from rune_engine.registry import lifecycle

DECISIONS = ("evolution_decided", "consolidation_decided")


class Undo:
    """Takes decisions of one home back."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __call__(self, seq: int, *, caused_by: str = "user") -> UndoResult:
        """Take the decision of that event back.

        Raises:
            NotFoundError: there is no such event.
            ConflictError: it is no decision that changed anything.
        """
        with self._database.writing() as session:
            decided = _decision(session, seq)
            if (done := _undone(session, decided)) is not None:
                return done
            return _take_back(session, decided, caused_by)


def _decision(session: Session, seq: int) -> LifecycleEvent:
    record = session.get(EventRecord, seq)
    if record is None:
        raise NotFoundError(
            f"There is no event {seq}.",
            next_step="Give a decision's number, which `rune history` shows.",
        )
    event = record.to_event()
    changed = event.payload.get("archive") or event.payload.get("stored")
    if event.kind not in DECISIONS or not changed:
        raise ConflictError(
            f"Event {seq} ({event.kind.replace('_', ' ')}) changed nothing that can be taken back.",
            next_step="Name a decision that archived or stored an adapter; `rune history` shows "
            "them. A single adapter is put back by `rune adapters restore`.",
        )
    return event


def _undone(session: Session, decided: LifecycleEvent) -> UndoResult | None:
    """What was answered when the same decision was taken back before."""
    query = select(EventRecord).where(
        EventRecord.subject == decided.subject,
        EventRecord.kind == "evolution_undone",
        func.json_extract(EventRecord.payload, "$.event") == decided.seq,
    )
    done = session.exec(query).first()
    return None if done is None else UndoResult.model_validate(done.to_event().payload)


def _take_back(session: Session, decided: LifecycleEvent, caused_by: str) -> UndoResult:
    stored: list[str] = decided.payload.get("stored", [])
    archive: dict[str, str] = decided.payload.get("archive", {})
    left = {each: why for each in stored if (why := _may_not_go(session, each))}
    left |= {each: why for each in archive if (why := _may_not_return(session, each, decided))}
    result = UndoResult(
        event=decided.seq,
        restored=sorted(archive.keys() - left.keys()),
        archived=sorted(set(stored) - left.keys()),
        left=left,
    )
    seq = events.append(
        session,
        "evolution_undone",
        decided.subject,
        project_id=decided.project_id,
        caused_by=caused_by,
        **result.model_dump(mode="json"),
    )
    reason = f"The decision of event {decided.seq} was taken back."
    for each in result.restored:
        lifecycle.restore(session, each, reason=reason, caused_by=caused_by, decision=seq)
    for each in result.archived:
        lifecycle.archive(session, each, reason=reason, caused_by=caused_by, decision=seq)
    return result


def _may_not_go(session: Session, adapter_id: str) -> str | None:
    record = lifecycle.get(session, adapter_id)
    return "It is out of use already." if record.is_archived else None


def _may_not_return(session: Session, adapter_id: str, decided: LifecycleEvent) -> str | None:
    """Why an adapter stays as it is; None when this decision is what keeps it out of use."""
    record = lifecycle.get(session, adapter_id)
    if record.forgotten_at is not None:
        return "Something that it learnt from was forgotten."
    if not record.is_archived:
        return "It is in use already."
    last = events.newest(session, adapter_id, "adapter_archived")
    if last is None or not _follows(last, decided):
        return "It went out of use for another reason."
    return None


def _follows(archived: LifecycleEvent, decided: LifecycleEvent) -> bool:
    """Whether an archiving follows from a decision; older events do not name theirs."""
    named = archived.payload.get("decision")
    if named is not None:
        return bool(named == decided.seq)
    reason = decided.payload["archive"].get(archived.subject)
    return archived.seq > decided.seq and archived.payload.get("reason") == reason
