"""Keeps a new adapter, or takes it or the ones it beats out of use, by what was measured.

Pure functions over each task's outcome. Knows no database and no adapter's files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rune_engine.evaluation.intervals import sign_test

FEWEST_TASKS = 5
BEYOND_CHANCE = 0.05
"""The largest p-value, two-sided, of a difference that decides."""

Outcomes = Mapping[str, bool]
"""Whether each task was solved, by the task's id."""


@dataclass(frozen=True, slots=True)
class Measured:
    """An adapter and its outcomes on the tasks it was measured on."""

    adapter_id: str
    outcomes: Outcomes


@dataclass(frozen=True, slots=True)
class Decision:
    """Which adapters go out of use, the reason in a sentence, and the numbers behind it."""

    archive: dict[str, str]
    reason: str
    numbers: dict[str, Any]


def decide(
    new: Measured, base: Outcomes, incumbents: Sequence[Measured], *, fewest: int = FEWEST_TASKS
) -> Decision:
    """What follows from measuring `new`.

    A new adapter that solved no more of its tasks than the base model alone goes. Otherwise each
    incumbent is compared with it on the tasks that both were measured on, and the worse one goes
    where there are at least `fewest` of those and the difference is beyond chance.

    Args:
        base: the base model alone, on the tasks of `new`.
        incumbents: the adapters in use of the same scope and base model.
    """
    tasks = sorted(new.outcomes.keys() & base.keys())
    if not tasks:
        return Decision({}, "It was measured on no task, so it stays.", {"tasks": 0})
    solved, before = sum(new.outcomes[t] for t in tasks), sum(base[t] for t in tasks)
    numbers: dict[str, Any] = {"tasks": len(tasks), "solved": solved, "base_solved": before}
    if solved <= before:
        reason = (
            f"It solved {solved} of {len(tasks)} tasks kept back from it, the base model alone "
            f"{before}: it is no better, so it is not served."
        )
        return Decision({new.adapter_id: reason}, reason, numbers)
    compared = [_compare(new, incumbent, fewest) for incumbent in incumbents]
    archive = {loser: why for loser, why, _ in compared if loser is not None}
    reason = (
        f"It solved {solved} of {len(tasks)} tasks kept back from it, the base model alone "
        f"{before}."
    )
    numbers["incumbents"] = [facts for _, _, facts in compared]
    return Decision(archive, " ".join([reason, *(why for _, why, _ in compared)]), numbers)


def _compare(new: Measured, old: Measured, fewest: int) -> tuple[str | None, str, dict[str, Any]]:
    """The loser, if there is one, why, and the numbers."""
    shared = sorted(new.outcomes.keys() & old.outcomes.keys())
    wins = sum(new.outcomes[t] and not old.outcomes[t] for t in shared)
    losses = sum(old.outcomes[t] and not new.outcomes[t] for t in shared)
    p = sign_test(wins, losses)
    facts = {
        "adapter_id": old.adapter_id,
        "tasks": len(shared),
        "only_new_solved": wins,
        "only_incumbent_solved": losses,
        "p": p,
    }
    counts = (
        f"of {len(shared)} shared tasks {wins} only with {new.adapter_id}, "
        f"{losses} only with {old.adapter_id} (p = {p:.3f})"
    )
    if len(shared) < fewest or p > BEYOND_CHANCE:
        return None, f"Both stay: {counts} is too little to tell them apart.", facts
    loser = old.adapter_id if wins > losses else new.adapter_id
    return loser, f"{loser} goes: {counts}.", facts
