"""Update: a new adapter is kept, or it or the ones that it replaces go, by what was measured.

Pure functions over each task's score. Knows no database and no adapter's files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rune_engine.evaluation.intervals import sign_test
from rune_engine.evolution.evidence import (
    BEYOND_CHANCE,
    FEWEST_TASKS,
    Decision,
    Measured,
    Scores,
    beats,
    beside,
    count,
    is_no_better,
    told,
    total,
)

__all__ = ["BEYOND_CHANCE", "FEWEST_TASKS", "Decision", "Measured", "decide", "sign_test"]


def decide(
    new: Measured, base: Scores, incumbents: Sequence[Measured], *, fewest: int = FEWEST_TASKS
) -> Decision:
    """What follows from measuring `new`.

    A new adapter that solved fewer of its tasks than the base model alone goes, as does one that
    solved as many, where there are at least `fewest`. Otherwise each
    incumbent is compared with it on the tasks that both were measured on, where there are at least
    `fewest` of them: the worse one goes where the difference is beyond chance, and an older one
    goes, too, where the new one is at least as good. A training has to gain something: where it
    solves no more than an older one that was made without, the trained one goes. One that beats the
    base model beyond chance is never replaced by one that does not: `numbers["beats_base"]` tells
    which it is.

    Args:
        base: the base model alone, on the tasks of `new`.
        incumbents: the adapters in use of the same scope and base model.
    """
    tasks = sorted(new.outcomes.keys() & base.keys())
    if not tasks:
        return Decision({}, "It was measured on no task, so it stays.", {"tasks": 0})
    against = beside(new.outcomes, base)
    solved, before = (total({t: side[t] for t in tasks}) for side in (new.outcomes, base))
    numbers: dict[str, Any] = {
        "tasks": len(tasks),
        "solved": solved,
        "base_solved": before,
        "beats_base": beats(against),
        "against_base": told(against),
    }
    counts = (
        f"It solved {count(solved)} of {len(tasks)} tasks kept back from it, the base model alone "
        f"{count(before)}"
    )
    if is_no_better(new.outcomes, base, tasks, fewest=fewest):
        reason = f"{counts}: it is no better, so it is not served."
        return Decision({new.adapter_id: reason}, reason, numbers)
    compared = [_compare(new, incumbent, fewest, beats(against)) for incumbent in incumbents]
    archive = {loser: why for loser, why, _ in compared if loser is not None}
    if new.adapter_id in archive:
        # What has lost replaces nobody.
        archive = {new.adapter_id: archive[new.adapter_id]}
    numbers["incumbents"] = [facts for _, _, facts in compared]
    unproven = "" if beats(against) else ", which may be chance"
    return Decision(
        archive, " ".join([f"{counts}{unproven}.", *(why for _, why, _ in compared)]), numbers
    )


def _compare(
    new: Measured, old: Measured, fewest: int, proven: bool
) -> tuple[str | None, str, dict[str, Any]]:
    """The loser, if there is one, why, and the numbers."""
    shared = sorted(new.outcomes.keys() & old.outcomes.keys())
    wins = sum(new.outcomes[t] > old.outcomes[t] for t in shared)
    losses = sum(old.outcomes[t] > new.outcomes[t] for t in shared)
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
    if len(shared) < fewest:
        return None, f"Both stay: {counts} is too little to tell them apart.", facts
    if p <= BEYOND_CHANCE:
        loser = old.adapter_id if wins > losses else new.adapter_id
        return loser, f"{loser} goes: {counts}.", facts
    old_is_proven = beats(beside(old.outcomes, old.base))
    if old.keeps_up and not new.keeps_up and wins <= losses and (old_is_proven or not proven):
        why = (
            f"{new.adapter_id} goes, as {old.adapter_id} does as well, was made without training "
            f"and keeps up with what is recorded: {counts}."
        )
        return new.adapter_id, why, facts
    may_replace = proven or not old_is_proven
    if old.made < new.made and wins >= losses and may_replace:
        why = f"{old.adapter_id} goes, as {new.adapter_id} is newer and at least as good: {counts}."
        return old.adapter_id, why, facts
    return None, f"Both stay: {counts} is too little to tell them apart.", facts
