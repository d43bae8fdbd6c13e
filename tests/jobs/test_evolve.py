"""One decision for a new adapter, carried out once, from what its measurements say."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from evolution_house import House

from rune_engine.config import RuneConfig
from rune_engine.consolidation.guarding import Guard
from rune_engine.database import Database
from rune_engine.errors import ConflictError, NotFoundError, OutdatedDecisionError
from rune_engine.evolution.guard import Outcomes
from rune_engine.evolution.plan import plan
from rune_engine.jobs.decisions import carry_out
from rune_engine.jobs.standing import Standings


@pytest.fixture
def house(config: RuneConfig, database: Database, tmp_path: Path) -> Iterator[House]:
    yield House(config, database)


async def test_the_better_one_replaces_its_incumbent(house: House) -> None:
    house.adapter("old")
    house.measure("old", solved=1, base=0)
    house.adapter("new")
    house.measure("new", solved=8, base=0)
    result = await house.evolve("new")
    assert result.archived == ["old"] and house.in_use() == {"new"}
    archived = house.events.newest("old", "adapter_archived")
    assert archived is not None and "7 only with new" in archived.payload["reason"]


async def test_one_that_does_not_beat_the_base_model_goes(house: House) -> None:
    house.adapter("new")
    house.measure("new", solved=3, base=3)
    assert (await house.evolve("new")).archived == ["new"]
    decision = house.events.newest("new", "consolidation_decided")
    assert decision is not None and decision.payload["decision"] == "archived"
    numbers = decision.payload["numbers"]
    assert (numbers["tasks"], numbers["solved"], numbers["base_solved"]) == (8, 3, 3)
    assert not numbers["beats_base"] and numbers["against_base"]["interval"][0] < 0


@pytest.mark.parametrize(
    "other",
    [{"project_id": "bank"}, {"base_model_id": "other"}, {"hierarchy_level": "domain"}],
    ids=str,
)
async def test_only_adapters_of_the_same_scope_are_compared(
    house: House, other: dict[str, Any]
) -> None:
    house.adapter("old", **other)
    house.measure("old", solved=0, base=0)
    house.adapter("new")
    house.measure("new", solved=8, base=0)
    assert (await house.evolve("new")).archived == []


async def test_tasks_that_one_of_them_was_trained_on_do_not_count(house: House) -> None:
    house.adapter("old", trained=(1, 2, 3, 4))
    house.measure("old", solved=0, base=0)
    house.adapter("new")
    house.measure("new", solved=8, base=0)
    assert (await house.evolve("new")).archived == []
    decision = house.events.newest("new", "consolidation_decided")
    assert decision is not None and decision.payload["numbers"]["incumbents"][0]["tasks"] == 4


async def test_what_was_never_measured_stays(house: House) -> None:
    house.adapter("new")
    assert (await house.evolve("new")).archived == []
    decision = house.events.newest("new", "consolidation_decided")
    assert decision is not None and decision.payload["numbers"] == {"tasks": 0}


async def test_what_was_decided_is_carried_out_and_not_decided_again(house: House) -> None:
    """As when an engine died after the decision: the numbers have changed since."""
    house.adapter("old")
    house.measure("old", solved=1, base=0)
    house.adapter("new")
    house.measure("new", solved=8, base=0)
    house.events.append(
        "consolidation_decided",
        "new",
        project_id="shop",
        caused_by="job-1",
        decision="kept",
        archive={"old": "It lost."},
        reason="It won.",
    )
    house.measure("new", solved=0, base=0)
    result = await house.evolve("new")
    assert (result.archived, result.reason) == (["old"], "It won.")
    assert house.in_use() == {"new"}
    assert await house.evolve("new") == result
    kinds = [event.kind for event in house.events.history(project_id="shop")]
    assert kinds.count("consolidation_decided") == kinds.count("adapter_archived") == 1


async def test_a_newer_adapter_that_is_at_least_as_good_takes_the_place(house: House) -> None:
    house.adapter("old")
    house.measure("old", solved=8, base=0)
    house.adapter("new")
    house.measure("new", solved=8, base=0)
    assert (await house.evolve("new")).archived == ["old"]
    archived = house.events.newest("old", "adapter_archived")
    assert archived is not None and "newer and at least as good" in archived.payload["reason"]


async def test_one_that_may_be_chance_never_replaces_one_that_is_not(house: House) -> None:
    house.adapter("old")
    house.measure("old", solved=8, base=0)
    house.adapter("new")
    house.measure("new", solved=8, base=6)
    assert (await house.evolve("new")).archived == []


async def test_of_a_project_the_beaten_and_the_useless_go_and_the_rest_stays(house: House) -> None:
    for name, solved, base in (("good", 8, 0), ("bad", 1, 0), ("useless", 2, 2)):
        house.adapter(name)
        house.measure(name, solved=solved, base=base)
    house.adapter("unknown")
    result = await house.evolve_project()
    assert result.archived == ["bad", "useless"] and house.in_use() == {"good", "unknown"}
    (decided,) = house.decisions()
    assert decided.payload["operation"] == "tournament"
    assert decided.payload["numbers"]["winner"] == "good"
    assert (await house.evolve_project()).archived == []
    assert len(house.decisions()) == 1


async def test_a_plan_says_the_same_and_changes_nothing(house: House) -> None:
    house.adapter("good")
    house.measure("good", solved=8)
    house.adapter("bad")
    house.measure("bad", solved=1)
    before = house.events.history(limit=500)
    plan = await house.work().plan("shop")
    assert house.events.history(limit=500) == before and house.in_use() == {"good", "bad"}
    assert [step.archive.keys() for step in plan.steps] == [{"bad"}]
    assert (await house.evolve_project()).steps == plan.steps


async def test_a_decision_is_taken_back_as_a_whole_and_once(house: House) -> None:
    for name, solved in (("good", 8), ("bad", 1), ("worse", 1)):
        house.adapter(name)
        house.measure(name, solved=solved)
    await house.evolve_project()
    (decided,) = house.decisions()
    undone = house.undo(decided.seq)
    assert undone.restored == ["bad", "worse"] and house.in_use() == {"good", "bad", "worse"}
    assert house.undo(decided.seq) == undone
    assert len(house.decisions("evolution_undone")) == 1
    # What is back is judged by what is measured from now on.
    assert (await house.evolve_project()).archived == []
    house.measure("bad", solved=1)
    assert (await house.evolve_project()).archived == ["bad"]


async def test_what_went_for_another_reason_since_is_not_brought_back(house: House) -> None:
    for name, solved in (("good", 8), ("bad", 1), ("worse", 1)):
        house.adapter(name)
        house.measure(name, solved=solved)
    await house.evolve_project()
    (decided,) = house.decisions()
    house.registry.restore("bad")
    house.registry.archive("bad", reason="I say so.")
    house.registry.forget(["worse"])
    undone = house.undo(decided.seq)
    assert undone.restored == [] and undone.left.keys() == {"bad", "worse"}
    assert house.in_use() == {"good"}


@pytest.mark.parametrize("event", [1, 10_000])
async def test_what_decided_nothing_cannot_be_taken_back(house: House, event: int) -> None:
    house.adapter("good")
    with pytest.raises((ConflictError, NotFoundError)):
        house.undo(event)


async def test_an_update_is_taken_back_too(house: House) -> None:
    house.adapter("old")
    house.measure("old", solved=1)
    house.adapter("new")
    house.measure("new", solved=8)
    await house.evolve("new")
    (decided,) = house.decisions("consolidation_decided")
    assert house.undo(decided.seq).restored == ["old"]
    assert house.in_use() == {"old", "new"}
    assert (await house.evolve("new")).archived == ["old"] and house.in_use() == {"old", "new"}


async def test_beyond_the_limit_what_nobody_used_for_long_goes(house: House) -> None:
    settings = house.config.evolution.model_copy(update={"max_adapters": 1, "unused_days": 0.0})
    house.config = house.config.model_copy(update={"evolution": settings})
    house.adapter("first")
    house.adapter("second")
    result = await house.evolve_project()
    (step,) = result.steps
    assert (step.operation, result.archived) == ("prune", ["first"])


async def test_the_guard_demotes_by_live_outcomes_and_says_by_which(house: House) -> None:
    house.adapter("harmful")
    house.measure("harmful", solved=8, base=7)
    guard = Guard(house.database, house.config.evolution)
    assert guard() == []
    house.live("harmful", solved=0, failed=14)
    assert guard() == []  # nobody has said that there is something new
    guard.look_at("shop")
    assert guard() == ["harmful"] and house.in_use() == set()
    (decided,) = house.decisions()
    numbers = decided.payload["numbers"]
    assert decided.payload["decision"] == "demoted" and decided.caused_by == "schedule"
    assert (numbers["solved"], numbers["tried"]) == (0, 14)
    assert (numbers["base_solved"], numbers["base_tried"]) == (7, 8)
    house.undo(decided.seq)
    assert house.in_use() == {"harmful"}
    guard.look_at("shop")
    assert guard() == []  # its past is not held against it again


async def test_the_guard_sees_what_a_dead_engine_has_left(house: House) -> None:
    house.adapter("harmful")
    house.measure("harmful", solved=8, base=8)
    house.live("harmful", solved=0, failed=14)
    assert Guard(house.database, house.config.evolution)() == ["harmful"]


async def test_live_outcomes_of_other_adapters_projects_and_scopes_do_not_count(
    house: House,
) -> None:
    house.adapter("narrow", hierarchy_level="domain", domain="web")
    house.adapter("fine")
    house.live(None, solved=20, failed=0, domain="cli")
    house.live("fine", solved=0, failed=9, domain="web")
    house.live("narrow", solved=0, failed=9, project_id="bank")
    facts = Standings(house.database).facts("shop")
    live = {each.adapter_id: (each.live, each.without) for each in facts.standings}
    assert live["narrow"] == (Outcomes(0, 0), Outcomes(0, 0))
    assert live["fine"] == (Outcomes(0, 9), Outcomes(20, 20))


async def test_a_decision_whose_facts_have_changed_is_not_carried_out(house: House) -> None:
    house.adapter("good")
    house.measure("good", solved=8)
    house.adapter("bad")
    house.measure("bad", solved=1)
    facts = Standings(house.database).facts("shop")
    (step,) = plan(facts, house.config.evolution, datetime.now(UTC))
    house.registry.archive("bad")
    house.registry.restore("bad", reason="It is needed.")
    with pytest.raises(OutdatedDecisionError), house.database.writing() as session:
        carry_out(session, step, project_id="shop", caused_by="user", as_of=facts.as_of)
    assert house.in_use() == {"good", "bad"} and house.decisions() == []
