"""What follows on a distillation that the schedule asked for: it is measured, then judged, and what
has proved itself is made again from all that its scope teaches, and again as that grows.

Each step is queued once, however often somebody looks. An adapter that was updated
while somebody worked takes the place of the one before it at once, and is measured in a quiet hour.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from sqlalchemy import text
from sqlmodel import Session

from rune_engine.config import ConsolidationSettings
from rune_engine.consolidation import refitting
from rune_engine.consolidation.facts import Asked
from rune_engine.models import FINISHED, DistillParams, EvaluateParams, EvolveParams, JobKind

_STEPS = """
SELECT kind, status, json_extract(params, '$.adapter_id') AS adapter_id FROM jobs
WHERE kind IN ('evaluate', 'evolve')
"""

_EVOLVED = """
SELECT id, project_id FROM adapter_records WHERE source = 'evolution' AND NOT is_archived
ORDER BY created_at, id
"""

_IN_USE = """
SELECT id FROM adapter_records WHERE id IN (SELECT value FROM json_each(:ids)) AND NOT is_archived
"""


@dataclass(frozen=True, slots=True)
class Step:
    """A job to queue; `key` is the same for whoever asks for it.

    `waits` is true of one that is not begun while somebody works.
    """

    kind: JobKind
    project_id: str
    params: EvaluateParams | EvolveParams | DistillParams
    waits: bool = False

    @property
    def key(self) -> str:
        if isinstance(self.params, DistillParams):
            return refitting.key(self.params)
        return f"{self.kind}:{self.params.adapter_id}"


@dataclass(frozen=True, slots=True)
class Superseded:
    """An adapter in use whose place another one of its scope has taken."""

    adapter_id: str
    by: str
    job_id: str


def missing_steps(
    session: Session,
    asked: Sequence[Asked],
    kinds: Collection[JobKind],
    settings: ConsolidationSettings,
    base_model: str,
) -> list[Step]:
    """The steps that are not queued yet, of those `kinds` that this engine can do.

    An adapter is judged when its measurement has ended, also where that failed: then the judgement
    says that nothing is known. One whose place another has taken is not measured.
    """
    seen: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for row in session.connection().execute(text(_STEPS)):
        seen[row.adapter_id][row.kind].add(row.status)
    old = {earlier.job_id for earlier, _ in _successors(asked)}
    steps = []
    for one in asked:
        if one.status == "succeeded" and one.adapter_id is not None and one.job_id not in old:
            project, done = one.scope.project_id, seen[one.adapter_id]
            if not done["evaluate"]:
                params = EvaluateParams(adapter_id=one.adapter_id, base_model=one.base_model)
                steps.append(Step("evaluate", project, params, waits=one.fast))
            elif done["evaluate"] <= FINISHED and not done["evolve"]:
                steps.append(_judgement(one.adapter_id, project))
    for row in session.connection().execute(text(_EVOLVED)):
        # Those that evolution made are measured with the decision that made them.
        done = seen[row.id]
        if done["evaluate"] and done["evaluate"] <= FINISHED and not done["evolve"]:
            steps.append(_judgement(row.id, row.project_id))
    judged = {each for each, done in seen.items() if done["evolve"] and done["evolve"] <= FINISHED}
    steps += [
        Step("distill", params.project_id, params, waits=True)
        for params in refitting.missing_refits(session, asked, judged, settings, base_model)
    ]
    return [step for step in steps if step.kind in kinds]


def _judgement(adapter_id: str, project_id: str) -> Step:
    """Of a new adapter, and then of all that its project has."""
    return Step("evolve", project_id, EvolveParams(adapter_id=adapter_id, project_id=project_id))


def superseded(session: Session, asked: Sequence[Asked]) -> list[Superseded]:
    """The updated adapters that are still in use although another was made after them."""
    found = [
        Superseded(earlier.adapter_id, later.adapter_id, later.job_id)
        for earlier, later in _successors(asked)
        if earlier.adapter_id is not None and later.adapter_id is not None
    ]
    ids = json.dumps([each.adapter_id for each in found])
    in_use = {row.id for row in session.connection().execute(text(_IN_USE), {"ids": ids})}
    return [each for each in found if each.adapter_id in in_use]


def _successors(asked: Sequence[Asked]) -> Iterator[tuple[Asked, Asked]]:
    """Each update that succeeded, with the next one of the same scope and base model."""
    updates: dict[tuple[object, str], list[Asked]] = defaultdict(list)
    for one in asked:
        if one.fast and one.status == "succeeded" and one.adapter_id is not None:
            updates[one.scope, one.base_model_id].append(one)
    for series in updates.values():
        yield from pairwise(series)
