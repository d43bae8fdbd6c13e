"""Tournament selection among the adapters of one scope, over the tasks that they share.

Pure functions. Knows no database and no adapter's files.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from rune_engine.evaluation.intervals import sign_test
from rune_engine.evolution.evidence import (
    BEYOND_CHANCE,
    FEWEST_TASKS,
    Decision,
    Measured,
    beats,
    beside,
    is_no_better,
    mean,
    told,
)


def tournament(entrants: Sequence[Measured], *, fewest: int = FEWEST_TASKS) -> Decision:
    """Who goes, when each plays each.

    An entrant that solved no more of its tasks than the base model alone goes, where there are
    enough of them. Of the others each
    pair plays on the tasks that both were measured on, at least `fewest`: the exact sign test says
    who lost. Losing to one that has itself lost to a third sends nobody home, so a scope that has
    adapters worth serving keeps one. What was not measured does not play, and stays.
    """
    beaten = [each for each in entrants if _no_better(each, fewest)]
    players = [each for each in entrants if each.outcomes and not _no_better(each, fewest)]
    archive = {each.adapter_id: _why_no_better(each) for each in beaten}
    ranked = sorted(players, key=lambda each: (-mean(each.outcomes), each.made, each.adapter_id))
    games = [_game(one, other, fewest) for one, other in combinations(ranked, 2)]
    lost = _lost(games, [each.adapter_id for each in ranked])
    for loser, game in lost.items():
        winner = game["second"] if loser == game["first"] else game["first"]
        archive[loser] = (
            f"{winner} beat it: of {game['tasks']} shared tasks {max(game['only'])} were solved "
            f"only with {winner}, {min(game['only'])} only with it (p = {game['p']:.3f})."
        )
    left = [each for each in ranked if each.adapter_id not in archive]
    numbers: dict[str, Any] = {
        "entrants": [_facts(each) for each in entrants],
        "games": games,
        "winner": left[0].adapter_id if left else None,
    }
    return Decision(archive, _reason(entrants, archive), numbers)


def _no_better(entrant: Measured, fewest: int) -> bool:
    """Whether it was measured beside the base model, and solved no more."""
    shared = entrant.outcomes.keys() & entrant.base.keys()
    return is_no_better(entrant.outcomes, entrant.base, shared, fewest=fewest)


def _why_no_better(entrant: Measured) -> str:
    found = beside(entrant.outcomes, entrant.base)
    assert found is not None
    return (
        f"On the {found.tasks} tasks kept back from it, it is {found.difference:+.3f} beside the "
        "base model alone: it is no better, so it is not served."
    )


def _game(one: Measured, other: Measured, fewest: int) -> dict[str, Any]:
    shared = sorted(one.outcomes.keys() & other.outcomes.keys())
    first = sum(one.outcomes[t] > other.outcomes[t] for t in shared)
    second = sum(other.outcomes[t] > one.outcomes[t] for t in shared)
    p = sign_test(first, second)
    decided = len(shared) >= fewest and p <= BEYOND_CHANCE
    loser = (other if first > second else one).adapter_id if decided else None
    return {
        "first": one.adapter_id,
        "second": other.adapter_id,
        "tasks": len(shared),
        "only": [first, second],
        "p": p,
        "loser": loser,
    }


def _lost(games: Sequence[dict[str, Any]], ranked: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Who lost to one that had not lost, from the best down: each with the game that decided it."""
    decided = {frozenset((game["first"], game["second"])): game for game in games if game["loser"]}
    lost: dict[str, dict[str, Any]] = {}
    for rank, player in enumerate(ranked):
        for other in ranked[:rank]:
            game = decided.get(frozenset((player, other)))
            if game is not None and player not in lost and other not in lost:
                lost[game["loser"]] = game
    return lost


def _facts(entrant: Measured) -> dict[str, Any]:
    found = beside(entrant.outcomes, entrant.base)
    return {
        "adapter_id": entrant.adapter_id,
        "tasks": len(entrant.outcomes),
        "pass_rate": mean(entrant.outcomes) if entrant.outcomes else None,
        "beats_base": beats(found),
        "against_base": told(found),
    }


def _reason(entrants: Sequence[Measured], archive: dict[str, str]) -> str:
    if not archive:
        return f"Of {len(entrants)} adapters of one scope none is beaten beyond chance."
    gone = "; ".join(f"{loser}: {why}" for loser, why in sorted(archive.items()))
    return f"Of {len(entrants)} adapters of one scope {len(archive)} go. {gone}"
