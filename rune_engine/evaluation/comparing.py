"""Two adapters beside each other, on the tasks that both were measured on and neither was taught.

Outcomes are taken from every evaluation of either that drew alike, the newest first. Knows what is
stored; no model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from rune_engine.errors import AdapterBaseModelMismatchError
from rune_engine.evaluation.choosing import Chooser
from rune_engine.evaluation.conclusion import rate
from rune_engine.evaluation.intervals import Paired, paired
from rune_engine.evaluation.records import EvaluationStore
from rune_engine.models import AdapterInfo, Comparison, Difference, EvaluateResult
from rune_engine.registry import AdapterRegistry

_MOST_TASKS = 100
Draws = tuple[int, float, int, int]


@dataclass(frozen=True, slots=True)
class _Outcome:
    rate: float
    base_rate: float | None
    draws: Draws
    trajectory_id: str | None


def compare(
    one: str,
    other: str,
    *,
    registry: AdapterRegistry,
    evaluations: EvaluationStore,
    chooser: Chooser,
) -> Comparison:
    """What is known of adapter `one` beside adapter `other`.

    Raises:
        AdapterNotFoundError: there is no such adapter.
        AdapterBaseModelMismatchError: they were made for different base models.
    """
    adapters = registry.retrieve_by_id(one), registry.retrieve_by_id(other)
    if adapters[0].base_model_id != adapters[1].base_model_id:
        raise AdapterBaseModelMismatchError(
            f"Adapter {one} was made for the base model {adapters[0].base_model_id!r}, adapter "
            f"{other} for {adapters[1].base_model_id!r}: nothing compares them.",
            next_step="Compare adapters of one base model.",
        )
    taught = _taught(registry, adapters)
    ours, theirs = (_outcomes(evaluations.page(a.id, limit=50), taught) for a in adapters)
    shared = {
        task: (ours[task], theirs[task])
        for task in ours.keys() & theirs.keys()
        if ours[task].draws == theirs[task].draws
    }
    found = paired({task: (a.rate, b.rate) for task, (a, b) in sorted(shared.items())})
    known = {outcome.trajectory_id for outcome, _ in shared.values()}
    base = [a.base_rate for a, _ in shared.values() if a.base_rate is not None]
    return Comparison(
        adapter_id=one,
        other_id=other,
        base_model_id=adapters[0].base_model_id,
        pass_rate=_mean(a.rate for a, _ in shared.values()),
        other_pass_rate=_mean(b.rate for _, b in shared.values()),
        base_pass_rate=_mean(base),
        difference=None if found is None else Difference(**asdict(found)),
        verdict=_verdict(one, other, found),
        measurable=[i for i in _both(chooser, adapters) if i not in known],
        compared=sorted(i for i in known if i is not None),
    )


def _taught(registry: AdapterRegistry, adapters: Iterable[AdapterInfo]) -> set[str]:
    roles = [registry.learnt_from(adapter.id).items() for adapter in adapters]
    return {each for items in roles for each, role in items if role == "trained"}


def _outcomes(evaluations: Sequence[EvaluateResult], taught: set[str]) -> dict[str, _Outcome]:
    found: dict[str, _Outcome] = {}
    for result in evaluations:
        asked = result.settings
        if asked.criterion != "tests" or asked.folds is not None:
            continue
        draws = (asked.samples, asked.temperature, asked.seed, asked.max_tokens)
        for each in result.per_task:
            passed = rate(each.with_adapter)
            if each.group != "held_out" or passed is None or each.trajectory_id in taught:
                continue
            outcome = _Outcome(passed, rate(each.with_base), draws, each.trajectory_id)
            found.setdefault(each.task, outcome)
    return found


def _both(chooser: Chooser, adapters: tuple[AdapterInfo, AdapterInfo]) -> list[str]:
    """Trajectories of either's held-out tasks that are near to nothing that either was taught."""
    one, other = adapters
    ids = [*chooser.held_out(one, _MOST_TASKS), *chooser.held_out(other, _MOST_TASKS)]
    both = chooser.not_taught(other, chooser.not_taught(one, chooser.existing(dict.fromkeys(ids))))
    return chooser.named([each.id for each in both], _MOST_TASKS)


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return sum(known) / len(known) if known else None


def _verdict(one: str, other: str, found: Paired | None) -> str:
    if found is None:
        return "They were measured on no task in common."
    numbers = (
        f"{found.difference:+.3f} on {found.tasks} tasks (95 % interval {found.low:+.3f} to "
        f"{found.high:+.3f}; better on {found.better}, worse on {found.worse})"
    )
    if found.low <= 0 <= found.high:
        return f"Too little to tell them apart: {numbers}."
    return f"{one if found.low > 0 else other} is the better one: {one} has {numbers}."
