"""What serves is made again from everything, and is served by what was measured of its parent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from adapter_files import weights
from engine_support import ADD_TESTS, base_model_folder, draft
from evolution_house import House

from rune_engine.config import ConsolidationSettings, RuneConfig, load_config
from rune_engine.consolidation.facts import read_asked, read_facts
from rune_engine.consolidation.following import Step, missing_steps
from rune_engine.database import Database, open_database
from rune_engine.models import Attempt, DistillParams
from rune_engine.registry import AdapterDraft, AdapterRegistry, refits
from rune_engine.routing import Router

KINDS = ("distill", "evaluate", "evolve")


@pytest.fixture
def config(tmp_path: Path) -> RuneConfig:
    return load_config(home=tmp_path / "home", base_model=str(base_model_folder(tmp_path)))


@pytest.fixture
def database(config: RuneConfig) -> Iterator[Database]:
    database = open_database(config)
    yield database
    database.close()


@pytest.fixture
def house(config: RuneConfig, database: Database) -> House:
    return House(config, database)


FIRST = range(100, 104)


def ask_for(
    house: House,
    name: str,
    *,
    method: str = "hypernetwork",
    numbers: Iterable[int] = FIRST,
    **scope: Any,
) -> None:
    """The schedule's distillation of an adapter that learns from these tasks, too."""
    taught = record(house, *numbers)
    params = DistillParams(
        project_id="shop",
        trajectory_ids=taught,
        kept_back_ids=house.tasks,
        base_model="tiny",
        **scope,
    )
    job = house.jobs.enqueue("distill", params)
    asked = {"decision": "distill", "base_model_id": "tiny", "way": "fast"}
    house.events.append("consolidation_decided", job.id, caused_by="schedule", **asked)
    roles: dict[str, Any] = dict.fromkeys(house.tasks, "kept_back")
    given = AdapterDraft(
        id=name,
        project_id="shop",
        base_model_id="tiny",
        session_id="s",
        source="distillation",
    )
    roles |= dict.fromkeys(taught, "trained")
    house.registry.store(given, weights(1), learnt_from=roles, caused_by=job.id)
    claimed = house.jobs.claim("1/2/3/4", ["distill"])
    assert claimed is not None
    house.jobs.succeed(claimed, {"adapter_id": name, "method": method})


async def judge(house: House, name: str, *, solved: int) -> None:
    """Its measurement, and what evolution decides by it."""
    house.measure(name, solved=solved)
    house.registry.update_fitness(name, solved / 8, solved / 8, tasks=8)
    for kind in ("evaluate", "evolve"):
        house.jobs.enqueue(kind, _about(kind, name))  # type: ignore[arg-type]
        job = house.jobs.claim("1/2/3/4", [kind])  # type: ignore[list-item]
        assert job is not None
        result = {}
        if kind == "evolve":
            result = (await house.work()(job, lambda _done, _what: None)).model_dump(mode="json")
        house.jobs.succeed(job, result)


def _about(kind: str, name: str) -> Any:
    from rune_engine.models import EvaluateParams, EvolveParams

    return (EvaluateParams if kind == "evaluate" else EvolveParams)(adapter_id=name)


def wanted(database: Database, base_model: str = "tiny", **settings: Any) -> list[Step]:
    given = ConsolidationSettings(**({"fast_min_new": 4, "min_new": 6} | settings))
    with database.reading() as session:
        asked = read_asked(session)
        steps = missing_steps(session, asked, KINDS, given, base_model)  # type: ignore[arg-type]
    return [step for step in steps if step.kind == "distill"]


def taught(step: Step) -> set[str]:
    assert isinstance(step.params, DistillParams)
    return set(step.params.trajectory_ids or ())


def record(house: House, *numbers: int, **changes: Any) -> list[str]:
    drafts = (draft(number, test_suite=ADD_TESTS, **changes) for number in numbers)
    return [house.trajectories.record(each)[0].id for each in drafts]


def refit(house: House, step: Step, name: str) -> None:
    """What the engine does of `step`."""
    params = step.params
    assert isinstance(params, DistillParams) and params.refit_of is not None
    house.jobs.enqueue("distill", params, idempotency_key=step.key)
    job = house.jobs.claim("1/2/3/4", ["distill"])
    assert job is not None
    store_refit(house, name, params.refit_of)
    house.jobs.succeed(job, {"adapter_id": name, "method": params.method})


def store_refit(house: House, name: str, parent: str, **scope: Any) -> None:
    given = AdapterDraft(
        id=name,
        project_id="shop",
        base_model_id="tiny",
        session_id="s",
        source="distillation",
        parent_ids=[parent],
        **scope,
    )
    house.registry.store(
        given,
        weights(2),
        learnt_from=dict.fromkeys(house.tasks, "trained"),
        then=lambda session: refits.settle(session, name, caused_by="job"),
    )


async def test_what_has_proved_itself_is_made_again_with_what_was_kept_back(
    house: House, database: Database
) -> None:
    ask_for(house, "proven")
    assert wanted(database) == []
    await judge(house, "proven", solved=8)
    (step,) = wanted(database)
    params = step.params
    assert isinstance(params, DistillParams) and step.waits
    assert params.refit_of == "proven" and params.method == "hypernetwork"
    assert set(house.tasks) < set(params.trajectory_ids or ()) and params.kept_back_ids == []
    house.jobs.enqueue("distill", params, idempotency_key=step.key)
    assert wanted(database) == [], "once is enough"


async def test_what_serves_although_it_may_be_chance_is_made_again_too(
    house: House, database: Database
) -> None:
    ask_for(house, "chance")
    await judge(house, "chance", solved=4)
    (step,) = wanted(database)
    assert isinstance(step.params, DistillParams) and step.params.refit_of == "chance"
    refit(house, step, "refit")
    found = house.registry.retrieve_by_id("refit")
    assert found.fitness_score == 0.5 and house.in_use() == {"chance", "refit"}


@pytest.mark.parametrize(("method", "solved"), [("hypernetwork", 0), ("lora", 4)])
async def test_what_is_no_better_is_not_nor_a_training_that_may_be_chance(
    house: House, database: Database, method: str, solved: int
) -> None:
    ask_for(house, "doubtful", method=method)
    await judge(house, "doubtful", solved=solved)
    assert wanted(database) == []


async def test_of_a_scope_the_fittest_is_made_again(house: House, database: Database) -> None:
    ask_for(house, "good", method="lora")
    await judge(house, "good", solved=8)
    ask_for(house, "fair", method="lora")
    await judge(house, "fair", solved=7)
    (step,) = wanted(database)
    assert isinstance(step.params, DistillParams) and step.params.refit_of == "good"


async def test_a_refit_is_served_by_its_parents_numbers(house: House) -> None:
    ask_for(house, "proven")
    await judge(house, "proven", solved=8)
    store_refit(house, "refit", "proven")
    found = house.registry.retrieve_by_id("refit")
    assert (found.fitness_score, found.generation, found.parent_ids) == (1.0, 1, ["proven"])
    told = house.events.newest("refit", "fitness_measured")
    assert told is not None and told.payload["inherited_from"] == "proven"
    route = Router(house.registry).retrieve("shop", "general", "feature-impl", "tiny")
    assert route.adapter is not None and route.adapter.id == "refit"


async def test_a_later_refit_takes_the_place_of_the_one_before(house: House) -> None:
    for name in ("first", "second"):
        ask_for(house, name)
        await judge(house, name, solved=8)
        store_refit(house, f"{name}-refit", name)
    assert house.registry.retrieve_by_id("first-refit").is_archived
    assert not house.registry.retrieve_by_id("second-refit").is_archived


async def test_a_refit_goes_with_the_adapter_that_it_stands_by_and_comes_back_with_it(
    house: House,
) -> None:
    ask_for(house, "proven", method="lora")
    await judge(house, "proven", solved=7)
    store_refit(house, "refit", "proven")
    ask_for(house, "better", method="lora")
    await judge(house, "better", solved=8)
    assert house.in_use() == {"better"}
    decided = house.events.newest("better", "consolidation_decided")
    assert decided is not None and set(decided.payload["archive"]) == {"proven", "refit"}
    undone = house.undo(decided.seq)
    assert {"proven", "refit"} <= set(undone.restored)


async def test_one_whose_parent_was_decided_against_meanwhile_is_not_served(house: House) -> None:
    ask_for(house, "proven")
    await judge(house, "proven", solved=8)
    house.registry.archive("proven", reason="I do not want it.")
    store_refit(house, "refit", "proven")
    assert house.in_use() == set()
    assert house.registry.retrieve_by_id("refit").fitness_score is None


async def test_the_schedule_takes_a_refit_for_nothing_new(house: House, database: Database) -> None:
    ask_for(house, "proven")
    await judge(house, "proven", solved=8)
    (step,) = wanted(database)
    job = house.jobs.enqueue("distill", step.params)
    with database.reading() as session:
        before = read_facts(session, "tiny", 1).learnt
    registry: AdapterRegistry = house.registry
    registry.store(
        AdapterDraft(
            id="refit",
            project_id="shop",
            base_model_id="tiny",
            session_id="s",
            source="distillation",
            parent_ids=["proven"],
        ),
        weights(3),
        learnt_from=dict.fromkeys(house.tasks, "trained"),
        caused_by=job.id,
    )
    with database.reading() as session:
        assert read_facts(session, "tiny", 1).learnt == before


async def made_again(house: House, database: Database, **asked: Any) -> None:
    ask_for(house, "proven", **asked)
    await judge(house, "proven", solved=8)
    (step,) = wanted(database)
    refit(house, step, "refit")
    assert wanted(database) == []


async def test_what_is_recorded_after_a_refit_is_learnt_by_the_next(
    house: House, database: Database
) -> None:
    await made_again(house, database)
    (new,) = record(house, 200)
    (step,) = wanted(database)
    assert new in taught(step) and set(house.tasks) < taught(step)
    refit(house, step, "later")
    assert wanted(database) == []
    assert house.in_use() == {"proven", "later"}


async def test_a_refit_that_would_be_trained_waits_for_a_tenth_more(
    house: House, database: Database
) -> None:
    """Of the twelve that the last one was taught that is two."""
    await made_again(house, database, method="lora")
    record(house, 200)
    assert wanted(database, fast=False) == []
    record(house, 201)
    assert len(wanted(database, fast=False)) == 1


async def test_what_is_enough_for_a_new_adapter_waits_for_it(
    house: House, database: Database
) -> None:
    await made_again(house, database)
    new = range(200, 204)
    record(house, *new)
    assert wanted(database) == []
    assert len(wanted(database, fast=False, min_new=9)) == 1, "no update comes"
    ask_for(house, "next", numbers=[*FIRST, *new])
    assert wanted(database) == [], "the new one is yet to be judged"
    await judge(house, "next", solved=1)
    (step,) = wanted(database)
    assert isinstance(step.params, DistillParams) and step.params.refit_of == "proven"


@pytest.mark.parametrize(("solved", "in_use"), [(0, {"refit"}), (4, {"refit", "next"})])
async def test_a_refit_whose_parent_an_update_replaced_goes_on_while_the_update_is_not_proven(
    house: House, database: Database, solved: int, in_use: set[str]
) -> None:
    """Whether it is no better than the base model, or better by what may be chance."""
    await made_again(house, database)
    ask_for(house, "next", numbers=[*FIRST, 200])
    house.registry.archive("proven", reason="Adapter next took its place.", caused_by="job")
    await judge(house, "next", solved=solved)
    assert house.in_use() == in_use
    (step,) = wanted(database)
    assert isinstance(step.params, DistillParams) and step.params.refit_of == "proven"


@pytest.mark.parametrize(("wide", "stays"), [(8, False), (6, True)])
async def test_a_level_that_earns_its_place_no_more_goes_with_its_refit(
    house: House, wide: int, stays: bool
) -> None:
    """Also where an update has taken the place of what it is a refit of."""
    house.adapter("narrow", hierarchy_level="task")
    house.measure("narrow", solved=7)
    store_refit(house, "refit", "narrow", hierarchy_level="task")
    house.registry.archive("narrow", reason="Adapter next took its place.", caused_by="job")
    house.adapter("wide")
    house.measure("wide", solved=wide)
    await house.evolve_project()
    assert house.in_use() == ({"wide", "refit"} if stays else {"wide"})


@pytest.mark.parametrize("name", ["refit", "proven"])
async def test_what_a_user_took_away_is_not_made_again(
    house: House, database: Database, name: str
) -> None:
    await made_again(house, database)
    house.registry.archive(name, reason="I do not want it.")
    record(house, 200)
    assert wanted(database) == []


async def test_an_adapter_of_another_base_model_is_not_kept_up(
    house: House, database: Database
) -> None:
    await made_again(house, database)
    record(house, 200)
    assert wanted(database, base_model="another") == []


async def test_no_refit_learns_what_was_held_out(house: House, database: Database) -> None:
    await made_again(house, database)
    (new, near) = record(house, 200, 201)
    other = Attempt(generated_code="def add(a, b): return b + a", tests_passed=True)
    record(house, 201, held_out=True, session_id="held-out", attempts=[other])
    (step,) = wanted(database)
    assert new in taught(step) and near not in taught(step)


async def test_a_training_that_gains_nothing_leaves_the_scope_to_what_keeps_up(
    house: House, database: Database
) -> None:
    await made_again(house, database)
    ask_for(house, "trained", method="lora")
    await judge(house, "trained", solved=8)
    assert house.in_use() == {"proven", "refit"}
    ask_for(house, "again", numbers=[*FIRST, 200])
    await judge(house, "again", solved=8)
    assert "proven" not in house.in_use(), "between two of a kind the newer one stays"
