"""Which proven adapters are to be made again from everything that their scope teaches.

Of each scope one: the fittest that was measured, judged and kept, and that beats the base model
beyond chance. Each is refitted once, when nobody works. Reads the database; changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlmodel import Session

from rune_engine import events
from rune_engine.consolidation.facts import Asked
from rune_engine.models import DistillParams
from rune_engine.registry import AdapterRecord

_DONE = """
SELECT json_extract(params, '$.refit_of') FROM jobs
WHERE kind = 'distill' AND json_extract(params, '$.refit_of') IS NOT NULL
"""

_TAUGHT = """
SELECT l.trajectory_id, l.role FROM adapter_trajectories AS l
JOIN trajectories AS t ON t.id = l.trajectory_id
WHERE l.adapter_id = :id AND t.distillable = 1 ORDER BY l.trajectory_id
"""


@dataclass(frozen=True, slots=True)
class _Proven:
    asked: Asked
    adapter_id: str
    fitness: float
    made: str


def missing_refits(
    session: Session, asked: Sequence[Asked], judged: Collection[str]
) -> list[DistillParams]:
    """The refits that nobody has asked for yet.

    Args:
        judged: the adapters of which evolution has decided.
    """
    done = set(session.connection().execute(text(_DONE)).scalars())
    found = []
    for best in _best(_proven(session, asked, judged)):
        roles = session.connection().execute(text(_TAUGHT), {"id": best.adapter_id}).all()
        if best.adapter_id not in done and any(row.role == "kept_back" for row in roles):
            found.append(_params(best, [row.trajectory_id for row in roles]))
    return found


def _proven(session: Session, asked: Iterable[Asked], judged: Collection[str]) -> Iterable[_Proven]:
    for one in asked:
        if one.adapter_id is None or one.adapter_id not in judged:
            continue
        record = session.get(AdapterRecord, one.adapter_id)
        if record is None or record.is_archived or record.fitness_score is None:
            continue
        decided = events.newest(session, one.adapter_id, "consolidation_decided")
        if decided is not None and decided.payload.get("numbers", {}).get("beats_base"):
            yield _Proven(one, one.adapter_id, record.fitness_score, record.created_at)


def _best(proven: Iterable[_Proven]) -> list[_Proven]:
    best: dict[tuple[object, str], _Proven] = {}
    for each in sorted(proven, key=lambda one: (one.fitness, one.made, one.adapter_id)):
        best[each.asked.scope, each.asked.base_model_id] = each
    return list(best.values())


def _params(best: _Proven, taught: Sequence[str]) -> DistillParams:
    scope, method = best.asked.scope, best.asked.method
    return DistillParams.model_validate(
        {
            "project_id": scope.project_id,
            "domain": scope.domain,
            "task_type": scope.task_type,
            "trajectory_ids": list(taught),
            "refit_of": best.adapter_id,
            "base_model": best.asked.base_model,
            "method": method or "direct",
        }
    )
