"""Which adapters are to be made again from everything that their scope teaches.

Of each scope one: the fittest that was measured, judged and kept, and that solved more than the
base model; beyond chance where it was trained, as another training takes long. It is made again
when it was judged, and from then on with what is recorded until there is enough for a new adapter
of the scope; always when nobody works. Reads the database; changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlmodel import Session

from rune_engine import events
from rune_engine.config import ConsolidationSettings
from rune_engine.consolidation.facts import Asked, read_lessons
from rune_engine.consolidation.policy import Lesson, Scope, enough
from rune_engine.models import FAST_METHODS, FINISHED, DistillParams
from rune_engine.registry import AdapterRecord, refits

WORTH_TRAINING = 10
"""A refit by training waits for one new trajectory for each ten that the last one was taught."""

_REFITS = """
SELECT json_extract(params, '$.refit_of') AS refit_of, status, result,
    json_extract(params, '$.trajectory_ids') AS taught
FROM jobs WHERE kind = 'distill' AND json_extract(params, '$.refit_of') IS NOT NULL
ORDER BY created_at, id
"""


@dataclass(frozen=True, slots=True)
class _Judged:
    """One that solved more than the base model; `is_proven` where that is beyond chance."""

    asked: Asked
    adapter_id: str
    is_proven: bool
    is_archived: bool
    fitness: float | None
    made: str


@dataclass(frozen=True, slots=True)
class _Refit:
    """The last one of an adapter, as far as it has come."""

    taught: frozenset[str]
    is_finished: bool
    adapter_id: str | None


def missing_refits(
    session: Session,
    asked: Sequence[Asked],
    judged: Collection[str],
    settings: ConsolidationSettings,
    base_model: str,
) -> list[DistillParams]:
    """The refits that nobody has asked for yet.

    Args:
        judged: the adapters of which evolution has decided.
        base_model: as the configuration names it; an adapter of another one is made again once,
            and not with what comes later.
    """
    best = _best(_worth_it(session, asked, judged))
    if not best:
        return []
    lessons = _lessons(session, {one.asked.scope.project_id for one in best})
    done = _refits(session)
    found = []
    for one in best:
        scope, refit = one.asked.scope, done.get(one.adapter_id)
        taught = [each.id for each in lessons[scope.project_id] if scope.covers(each)]
        if refit is None:
            is_missing = bool(set(taught) - one.asked.trained)
        else:
            is_missing = (
                one.asked.base_model == base_model
                and refit.is_finished
                and len(set(taught) - refit.taught) >= _fewest(one.asked, refit)
                and _nothing_else_comes(one.asked, taught, asked, judged, settings)
                and not _is_refused(session, refit)
            )
        if is_missing:
            found.append(_params(one, taught))
    return found


def key(params: DistillParams) -> str:
    """The job's idempotency key: of what it is a refit, and with what."""
    digest = hashlib.sha256("\n".join(sorted(params.trajectory_ids or ())).encode()).hexdigest()
    return f"refit:{params.refit_of}:{digest}"


def _worth_it(
    session: Session, asked: Iterable[Asked], judged: Collection[str]
) -> Iterable[_Judged]:
    for one in asked:
        if one.adapter_id is None or one.adapter_id not in judged:
            continue
        record = session.get(AdapterRecord, one.adapter_id)
        decided = events.newest(session, one.adapter_id, "consolidation_decided")
        if record is None or decided is None or _is_gone(session, record):
            continue
        numbers = decided.payload.get("numbers", {})
        is_better = numbers.get("solved", 0) > numbers.get("base_solved", 0)
        is_proven = bool(numbers.get("beats_base"))
        if is_proven or (is_better and one.method in FAST_METHODS):
            yield _Judged(
                one,
                record.id,
                is_proven,
                record.is_archived,
                record.fitness_score,
                record.created_at,
            )


def _is_gone(session: Session, record: AdapterRecord) -> bool:
    """Whether it is out of use, and so is what was made of it.

    One whose place an update took is not while its refit serves: the update may yet fail.
    """
    if not record.is_archived:
        return False
    return refits.was_decided_against(session, record) or not refits.of(session, [record.id])


def _best(found: Iterable[_Judged]) -> list[_Judged]:
    best: dict[tuple[Scope, str], _Judged] = {}
    for each in sorted(found, key=_standing):
        best[each.asked.scope, each.asked.base_model_id] = each
    return list(best.values())


def _standing(one: _Judged) -> tuple[object, ...]:
    fitness = -1.0 if one.fitness is None else one.fitness
    return (one.is_proven, not one.is_archived, fitness, one.made, one.adapter_id)


def _lessons(session: Session, projects: Collection[str]) -> dict[str, list[Lesson]]:
    """By project: what may be learnt, without the tasks of which something is held out."""
    found: dict[str, list[Lesson]] = defaultdict(list)
    for lesson in read_lessons(session, projects=projects):
        found[lesson.project_id].append(lesson)
    for project, own in found.items():
        out = {lesson.task for lesson in own if lesson.held_out}
        found[project] = [lesson for lesson in own if lesson.task not in out]
    return found


def _refits(session: Session) -> dict[str, _Refit]:
    """By what they are refits of."""
    return {
        row.refit_of: _Refit(
            frozenset(json.loads(row.taught)),
            row.status in FINISHED,
            json.loads(row.result)["adapter_id"] if row.result else None,
        )
        for row in session.connection().execute(text(_REFITS))
    }


def _fewest(one: Asked, refit: _Refit) -> int:
    """How many new ones another refit takes: one, where it costs seconds; by training a tenth more
    than the last one was taught, so that trainings get rarer as a scope grows."""
    return 1 if one.method in FAST_METHODS else math.ceil(len(refit.taught) / WORTH_TRAINING)


def _nothing_else_comes(
    one: Asked,
    taught: Collection[str],
    asked: Iterable[Asked],
    judged: Collection[str],
    settings: ConsolidationSettings,
) -> bool:
    """Whether no newer adapter of the scope is due, under way or yet to be judged.

    That one may prove itself, and would be made again itself.
    """
    last = {
        each.fast: each
        for each in asked
        if (each.scope, each.base_model_id) == (one.scope, one.base_model_id)
    }
    for each in last.values():
        new = set(taught) - each.trained - each.kept_back
        is_due = len(new) >= enough(settings, fast=each.fast)
        if is_due and (settings.fast or not each.fast):
            return False
        if each.status not in FINISHED:
            return False
        if each.status == "succeeded" and each.adapter_id not in judged:
            return False
    return True


def _is_refused(session: Session, refit: _Refit) -> bool:
    """Whether the last one went because of a decision, and not for another refit's sake."""
    record = session.get(AdapterRecord, refit.adapter_id) if refit.adapter_id else None
    return record is not None and refits.was_decided_against(session, record)


def _params(best: _Judged, taught: Sequence[str]) -> DistillParams:
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
