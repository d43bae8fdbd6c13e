"""Who stays in a scope, who covers more, who becomes one, who is forgotten: by numbers alone."""

from __future__ import annotations

import pytest

from rune_engine.evolution.consolidate import Pair, accepts, agreeing, alike, joined
from rune_engine.evolution.evidence import Measured, Scope
from rune_engine.evolution.promote import promotes, widenings, wider
from rune_engine.evolution.prune import Kept, prune
from rune_engine.evolution.redundant import redundant
from rune_engine.evolution.tournament import tournament

PROJECT = Scope("tiny", "project")
WEB = Scope("tiny", "domain", "web")
WEB_FIX = Scope("tiny", "task", "web", "bug-fix")


def scores(solved: range | list[int], tasks: int = 10, start: int = 0) -> dict[str, float]:
    return {f"task-{n}": float(n in solved) for n in range(start, start + tasks)}


def entrant(
    name: str, solved: range | list[int], *, made: str = "", base: int = 0, tasks: int = 10
) -> Measured:
    return Measured(name, scores(solved, tasks), made, scores(range(base), tasks))


# --- tournament ----------------------------------------------------------------------------------


def test_whoever_is_beaten_beyond_chance_goes() -> None:
    decision = tournament([entrant("good", range(9)), entrant("bad", range(2))])
    assert list(decision.archive) == ["bad"] and decision.numbers["winner"] == "good"
    assert "7 were solved only with good" in decision.archive["bad"]


def test_a_difference_that_may_be_chance_sends_nobody_home() -> None:
    decision = tournament([entrant("one", range(9)), entrant("other", range(6))])
    assert decision.archive == {}


def test_one_that_is_no_better_than_the_base_model_goes_whoever_else_is_there() -> None:
    alone = tournament([entrant("useless", range(4), base=4)])
    assert list(alone.archive) == ["useless"] and "not served" in alone.reason


def test_what_was_not_measured_stays() -> None:
    decision = tournament([Measured("unknown", {}), entrant("good", range(9))])
    assert decision.archive == {}


def test_adapters_that_share_too_few_tasks_do_not_play() -> None:
    apart = Measured("other", scores([], 10, start=8), "", scores([], 10, start=8))
    solved = Measured("other", {**apart.outcomes, "task-17": 1.0}, "", apart.base)
    assert tournament([entrant("good", range(10)), solved]).archive == {}


def test_losing_in_a_circle_leaves_one() -> None:
    """Each beats the next on the tasks that the two share."""

    def part(name: str, won: str, lost: str) -> Measured:
        outcomes = {f"{won}{n}": 1.0 for n in range(6)} | {f"{lost}{n}": 0.0 for n in range(6)}
        return Measured(name, outcomes, "", dict.fromkeys(outcomes, 0.0))

    decision = tournament([part("a", "x", "z"), part("b", "y", "x"), part("c", "z", "y")])
    assert len(decision.archive) == 2 - (decision.numbers["winner"] is None)
    assert decision.numbers["winner"] not in decision.archive


# --- levels --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("narrow", "wide", "goes"),
    [
        (range(8), range(8), True),
        (range(7), range(8), True),
        (range(8), range(7), False),
        (range(4), range(3), False),
        (range(4), range(4), False),  # the wider one's interval reaches below zero
    ],
)
def test_a_narrower_adapter_stays_where_it_solves_more_of_its_tasks_than_a_wider_one(
    narrow: range, wide: range, goes: bool
) -> None:
    bugs, everything = entrant("bugs", narrow), entrant("all", wide)
    decision = redundant([(bugs, WEB_FIX, "a"), (everything, PROJECT, "b")])
    assert list(decision.archive) == (["bugs"] if goes else [])
    assert not goes or decision.numbers["bugs"]["beside"] == "all"


def test_only_a_scope_that_holds_all_of_another_makes_it_redundant() -> None:
    other, little = Scope("tiny", "domain", "cli"), Scope("tiny", "task", "web", "bug-fix")
    strong, weak = entrant("strong", range(10)), entrant("bugs", range(3))
    few = entrant("bugs", range(1), tasks=4)
    assert redundant([(weak, little, "a"), (strong, WEB, "b")]).archive != {}
    assert redundant([(weak, little, "a"), (strong, other, "b")]).archive == {}
    assert redundant([(few, little, "a"), (strong, WEB, "b")]).archive == {}
    assert redundant([(weak, little, "a"), (strong, WEB, "a")]).archive == {}, "a promotion"


# --- promotion -----------------------------------------------------------------------------------


def test_the_levels_go_from_task_to_domain_to_project() -> None:
    assert (wider(WEB_FIX), wider(WEB), wider(PROJECT)) == (WEB, PROJECT, None)


def test_of_each_narrow_scope_the_best_proven_adapter_is_tried() -> None:
    entrants = [
        (entrant("proven", range(8)), WEB_FIX),
        (entrant("better", range(10)), WEB_FIX),
        (entrant("chance", range(3)), Scope("tiny", "task", "web", "refactor")),
        (entrant("wide", range(10)), PROJECT),
        (entrant("above", range(4)), WEB),
    ]
    (found,) = widenings(entrants)
    assert (found.adapter_id, found.wider, found.incumbents) == ("better", WEB, ("above",))
    assert widenings(entrants, frozenset({("better", "domain")})) == []


@pytest.mark.parametrize(
    ("solved", "base", "incumbent", "promoted"),
    [
        (range(8), range(0), None, True),
        (range(4), range(0), None, False),  # its interval reaches below zero
        (range(8), range(8), None, False),
        (range(10), range(0), range(9), False),  # no better than who is there
        (range(10), range(0), range(2), True),
    ],
)
def test_only_an_interval_that_leaves_out_zero_promotes(
    solved: range, base: range, incumbent: range | None, promoted: bool
) -> None:
    rivals = [] if incumbent is None else [entrant("there", incumbent)]
    decision = promotes(Measured("new", scores(solved)), scores(base), rivals)
    assert decision.numbers["promoted"] is promoted
    low = decision.numbers["against_base"]["interval"][0]
    assert (low > 0) or not promoted


# --- consolidation -------------------------------------------------------------------------------


def test_pairs_that_agree_are_compared_and_the_most_similar_is_first() -> None:
    entrants = [entrant("a", range(8)), entrant("b", range(7)), entrant("c", range(9, 10))]
    pairs = agreeing(entrants, least_agreement=0.5)
    assert [(p.first, p.second, round(p.agreement, 3)) for p in pairs] == [("a", "b", 0.9)]
    assert agreeing(entrants, least_agreement=0.5, tried=[frozenset("ab")]) == []
    both = [Pair("a", "b", 0.9, 10), Pair("a", "c", 0.9, 10), Pair("b", "c", 0.9, 10)]
    cosines = {frozenset("ab"): 0.3, frozenset("ac"): 0.7}
    assert [p.second for p, _ in alike(both, cosines, 0.1)] == ["c", "b"]
    assert alike(both, cosines, 0.8) == []


def test_adapters_that_share_too_few_tasks_are_no_pair() -> None:
    other = Measured("b", scores(range(20), 10, start=8))
    assert agreeing([entrant("a", range(10)), other], least_agreement=0.0) == []


def test_scopes_are_joined_by_the_narrowest_that_covers_both() -> None:
    refactor = Scope("tiny", "task", "web", "refactor")
    assert joined([WEB_FIX, WEB_FIX]) == WEB_FIX
    assert joined([WEB_FIX, refactor]) == WEB and joined([WEB, WEB_FIX]) == WEB
    assert joined([WEB, Scope("tiny", "domain", "cli")]) == PROJECT
    assert joined([PROJECT, WEB]) == PROJECT


def _judged(candidate: range, one: range, other: range) -> dict[str, bool]:
    parents = [Measured("a", scores(one, 20)), Measured("b", scores(other, 20))]
    best = {t: max(p.outcomes[t] for p in parents) for t in parents[0].outcomes}
    decision = accepts(Measured("c", scores(candidate, 20)), scores([], 20), parents, best)
    assert bool(decision.archive) is decision.numbers["consolidated"]
    return {"won": decision.numbers["consolidated"]}


def test_a_candidate_that_does_what_each_parent_does_takes_their_place() -> None:
    assert _judged(range(20), range(10), range(10, 20))["won"]


def test_one_that_is_only_as_good_as_its_better_parent_is_no_gain() -> None:
    assert not _judged(range(20), range(20), range(20))["won"]
    assert not _judged(range(10), range(10), range(10))["won"]


def test_one_that_loses_what_routing_to_each_parent_gave_is_refused() -> None:
    """Better than either parent alone, worse than both where each does its own."""
    assert not _judged(range(18), range(10), range(10, 20))["won"]


# --- pruning -------------------------------------------------------------------------------------


def kept(name: str, used: str, scope: Scope = PROJECT, **changes: object) -> Kept:
    given = {"weights": name, "made": "2026-01-01", "fitness": None} | changes
    return Kept(adapter_id=name, scope=scope, last_used=used, **given)  # type: ignore[arg-type]


def test_beyond_the_limit_the_longest_unused_go() -> None:
    many = [kept(f"a{n}", f"2026-02-0{n}") for n in range(1, 6)]
    best = kept("best", "2026-01-01", fitness=0.9)
    decision = prune([*many, best], limit=3, unused_before="2026-02-05")
    assert sorted(decision.archive) == ["a1", "a2", "a3"]
    assert "2026-02-01" in decision.archive["a1"]


def test_within_the_limit_nobody_goes_however_idle() -> None:
    assert prune([kept("a", ""), kept("b", "")], limit=2, unused_before="2027").archive == {}


def test_what_is_in_use_stays_beyond_the_limit() -> None:
    fresh = [kept(f"a{n}", "2026-06-01") for n in range(5)]
    assert prune(fresh, limit=1, unused_before="2026-05-01").archive == {}


def test_the_best_of_each_scope_is_never_forgotten() -> None:
    scopes = [PROJECT, WEB, WEB_FIX]
    alone = [kept(f"a{n}", "", scope) for n, scope in enumerate(scopes)]
    assert prune(alone, limit=1, unused_before="2027").archive == {}


def test_the_same_weights_count_once() -> None:
    twins = [kept("a", "", WEB, weights="w"), kept("b", "", PROJECT, weights="w")]
    assert prune([*twins, kept("c", "", PROJECT)], limit=2, unused_before="2027").archive == {}
