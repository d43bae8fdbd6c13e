"""A task and what is nearly the same are learnt from, or kept back, as one."""

from __future__ import annotations

from datetime import UTC, datetime

from rune_engine.config import RuneConfig, load_config
from rune_engine.consolidation.facts import read_facts
from rune_engine.consolidation.policy import agenda
from rune_engine.database import open_database
from rune_engine.models import Attempt, TrajectoryDraft
from rune_engine.trajectories import TrajectoryStore

WHAT = ("invoice", "ledger", "customer", "delivery", "warehouse", "payment", "refund", "voucher")
TESTS = "assert total([1]) == 1\n"


def record(store: TrajectoryStore, description: str, **changes: object) -> str:
    given = {
        "project_id": "shop",
        "task_description": description,
        "test_suite": TESTS,
        "attempts": [Attempt(generated_code="total = sum", tests_passed=True)],
        "outcome": "success",
        **changes,
    }
    return store.record(TrajectoryDraft.model_validate(given))[0].id


def test_no_near_duplicate_is_on_the_other_side(config: RuneConfig) -> None:
    database = open_database(config)
    store = TrajectoryStore(database)
    asked = [f"Sum the open amounts of every {what} and return the {what} total." for what in WHAT]
    pairs = [(record(store, text), record(store, f"{text} Thanks!")) for text in asked]
    settings = load_config(home=config.home).consolidation
    with database.reading() as session:
        facts = read_facts(session, "tiny", 1)
    [due] = agenda(facts, settings, datetime.now(UTC)).due
    assert due.kept_back and due.trained
    for one, other in pairs:
        assert (one in due.kept_back) == (other in due.kept_back)
        assert (one in due.trained) != (one in due.kept_back)
    database.close()


def test_what_is_near_to_a_held_out_task_is_kept_back_with_it(config: RuneConfig) -> None:
    database = open_database(config)
    store = TrajectoryStore(database)
    for what in WHAT:
        record(store, f"Sum the open amounts of every {what} and return the {what} total.")
    reworded = "Please sum the open amounts of every invoice, and return the invoice total."
    held = record(store, reworded, held_out=True)
    with database.reading() as session:
        facts = read_facts(session, "tiny", 1)
    tasks = {lesson.id: lesson.task for lesson in facts.lessons}
    [near] = [i for i, task in tasks.items() if task == tasks[held] and i != held]
    settings = load_config(home=config.home).consolidation
    [due] = agenda(facts, settings, datetime.now(UTC)).due
    assert near in due.kept_back and near not in due.trained
    elsewhere = record(store, reworded, project_id="bank")
    record(store, "Another thing entirely.", project_id="bank")
    with database.reading() as session:
        facts = read_facts(session, "tiny", 1)
    tasks = {lesson.id: lesson.task for lesson in facts.lessons}
    own = "a project's tasks are grouped among themselves"
    assert tasks[elsewhere] != tasks[held], own
    database.close()
