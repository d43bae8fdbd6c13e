"""The rows of what was measured, write-once. Knows nothing of how it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Text
from sqlmodel import Field, Session, SQLModel, col, select

from rune_engine.database import Database
from rune_engine.evaluation.sorts import HELD_OUT, kind_of
from rune_engine.models import EvaluateResult

MAX_PAGE = 500

_DIFFERENCE = (
    "SELECT json_extract(result, '$.difference.difference') FROM evaluations"
    " WHERE adapter_id = ? AND kind = ? AND +evaluated = 1 ORDER BY seq DESC LIMIT 1"
)


class EvaluationRecord(SQLModel, table=True):
    """One row an evaluation; `seq` is their order, whatever the clock did."""

    __tablename__ = "evaluations"

    seq: int | None = Field(default=None, primary_key=True)
    id: str = Field(sa_type=Text)
    adapter_id: str = Field(sa_type=Text)
    kind: str = Field(sa_type=Text, description="By what it was judged: see `kind_of`.")
    base_model_id: str = Field(sa_type=Text)
    project_id: str | None = Field(default=None, sa_type=Text)
    caused_by: str = Field(sa_type=Text)
    created_at: str = Field(sa_type=Text)
    evaluated: bool
    fitness: float | None = None
    result: str = Field(sa_type=Text, description="JSON of `EvaluateResult`.")

    def to_result(self) -> EvaluateResult:
        return EvaluateResult.model_validate_json(self.result)


class EvaluationStore:
    """The evaluations of one home. Safe to share between threads and between processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        session: Session,
        result: EvaluateResult,
        *,
        project_id: str | None = None,
        caused_by: str = "user",
    ) -> None:
        """Add an evaluation to a write transaction, with what follows from it."""
        session.add(
            EvaluationRecord(
                id=result.evaluation_id,
                adapter_id=result.adapter_id,
                kind=kind_of(result.settings),
                base_model_id=result.base_model_id,
                project_id=project_id,
                caused_by=caused_by,
                created_at=result.created_at,
                evaluated=result.evaluated,
                fitness=result.fitness,
                result=result.model_dump_json(),
            )
        )
        session.flush()

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A write transaction for an evaluation and what follows from it."""
        with self._database.writing() as session:
            yield session

    def find(self, session: Session, evaluation_id: str) -> EvaluateResult | None:
        """One evaluation, or None."""
        query = select(EvaluationRecord).where(EvaluationRecord.id == evaluation_id)
        record = session.exec(query).first()
        return None if record is None else record.to_result()

    def latest(self, adapter_id: str) -> EvaluateResult | None:
        """What the last evaluation of an adapter by held-out tasks found; None without one."""
        query = select(EvaluationRecord).where(
            EvaluationRecord.adapter_id == adapter_id, EvaluationRecord.kind == HELD_OUT
        )
        query = query.order_by(col(EvaluationRecord.seq).desc()).limit(1)
        with self._database.reading() as session:
            record = session.exec(query).first()
            return None if record is None else record.to_result()

    def difference(self, adapter_id: str) -> float | None:
        """How much more of the held-out tasks the adapter solved than the base model, -1 to 1, by
        its last evaluation that was enough for a fitness; None where there was none."""
        rows = self._database.query(_DIFFERENCE, [adapter_id, HELD_OUT])
        return None if not rows or rows[0][0] is None else float(rows[0][0])

    def page(
        self, adapter_id: str | None = None, *, offset: int = 0, limit: int = 50
    ) -> list[EvaluateResult]:
        """Evaluations of an adapter, or of all, the newest first; at most `MAX_PAGE`."""
        query = select(EvaluationRecord).order_by(col(EvaluationRecord.seq).desc())
        if adapter_id is not None:
            query = query.where(EvaluationRecord.adapter_id == adapter_id)
        query = query.offset(max(offset, 0)).limit(min(max(limit, 1), MAX_PAGE))
        with self._database.reading() as session:
            return [record.to_result() for record in session.exec(query)]
