"""What follows on a distillation that the schedule asked for: it is measured, then judged.

Each step is queued once for an adapter, however often somebody looks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlmodel import Session

from rune_engine.consolidation.facts import Asked
from rune_engine.models import FINISHED, EvaluateParams, EvolveParams, JobKind

_STEPS = """
SELECT kind, status, json_extract(params, '$.adapter_id') AS adapter_id FROM jobs
WHERE kind IN ('evaluate', 'evolve')
"""


@dataclass(frozen=True, slots=True)
class Step:
    """A job to queue; `key` is the same for whoever asks for it."""

    kind: JobKind
    project_id: str
    params: EvaluateParams | EvolveParams

    @property
    def key(self) -> str:
        return f"{self.kind}:{self.params.adapter_id}"


def missing_steps(
    session: Session, asked: Sequence[Asked], kinds: Collection[JobKind]
) -> list[Step]:
    """The steps that are not queued yet, of those `kinds` that this engine can do.

    An adapter is judged when its measurement has ended, also where that failed: then the judgement
    says that nothing is known.
    """
    seen: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for row in session.connection().execute(text(_STEPS)):
        seen[row.adapter_id][row.kind].add(row.status)
    steps = []
    for one in asked:
        if one.status == "succeeded" and one.adapter_id is not None:
            done = seen[one.adapter_id]
            if not done["evaluate"]:
                params = EvaluateParams(adapter_id=one.adapter_id, base_model=one.base_model)
                steps.append(Step("evaluate", one.scope.project_id, params))
            elif done["evaluate"] <= FINISHED and not done["evolve"]:
                steps.append(
                    Step("evolve", one.scope.project_id, EvolveParams(adapter_id=one.adapter_id))
                )
    return [step for step in steps if step.kind in kinds]
