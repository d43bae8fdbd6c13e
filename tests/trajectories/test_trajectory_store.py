"""What the trajectory store promises: everything once, whole, unchanged, and found again."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from rune_engine.config import RuneConfig
from rune_engine.database import Database, open_database
from rune_engine.errors import InvalidTrajectoryError, StorageError, TrajectoryNotFoundError
from rune_engine.models import Attempt, TrajectoryDraft
from rune_engine.trajectories import ProjectCounts, TrajectoryStore


@pytest.fixture
def database(config: RuneConfig) -> Iterator[Database]:
    opened = open_database(config)
    yield opened
    opened.close()


@pytest.fixture
def store(database: Database) -> TrajectoryStore:
    return TrajectoryStore(database)


def attempt(passed: bool | None = True, **changes: Any) -> Attempt:
    values = {
        "generated_code": "def f():\n    return 1\n",
        "stdout": "1 passed",
        "stderr": "",
        "exit_code": 0,
        "tests_passed": passed,
    } | changes
    return Attempt(**values)


def draft(task: str = "write f", **changes: Any) -> TrajectoryDraft:
    values = {
        "project_id": "alpha",
        "task_description": task,
        "attempts": [attempt()],
        "outcome": "success",
    } | changes
    return TrajectoryDraft(**values)


def test_a_trajectory_comes_back_as_it_was_recorded(store: TrajectoryStore) -> None:
    given = draft(
        attempts=[
            attempt(False, exit_code=1, stderr="Traceback ✗", verdict={"kind": "fail", "n": [1]}),
            attempt(None, exit_code=None),
            attempt(verdict={"kind": "pass", "evidence": None}),
        ],
        test_suite="assert f() == 1",
        task_type="bug-fix",
        domain="web",
        session_id="s-1",
        agent_id="claude",
        held_out=True,
        adapter_id="a-1",
        source="agent_loop",
    )
    stored, duplicate = store.record(given)
    assert not duplicate
    assert store.get(stored.id) == stored
    own = {"id", "content_hash", "created_at"}
    assert stored.model_dump(exclude=own) == given.model_dump()


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    task=st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1),
    code=st.text(st.characters(exclude_characters="\0", codec="utf-8")),
)
def test_any_text_survives_unchanged(store: TrajectoryStore, task: str, code: str) -> None:
    stored, _ = store.record(draft(task, attempts=[attempt(generated_code=code)]))
    again = store.get(stored.id)
    assert (again.task_description, again.attempts[0].generated_code) == (task, code)


def test_a_session_is_made_on_first_use_and_shared_after(store: TrajectoryStore) -> None:
    first, _ = store.record(draft("one"))
    second, _ = store.record(draft("two", session_id=first.session_id))
    third, _ = store.record(draft("three", session_id="mine"))
    assert second.session_id == first.session_id
    assert third.session_id == "mine"
    page = store.page(session_id=first.session_id)
    assert [t.id for t in page.trajectories] == [second.id, first.id]


def test_the_same_trajectory_twice_is_stored_once(store: TrajectoryStore) -> None:
    first, _ = store.record(draft())
    judged = draft(attempts=[attempt(verdict={"kind": "pass"})], agent_id="other", session_id="s")
    second, duplicate = store.record(judged)
    assert duplicate
    assert second == first
    assert store.page().total == 1


@pytest.mark.parametrize(
    "change",
    [
        {"project_id": "beta"},
        {"task_description": "write g"},
        {"test_suite": "assert f()"},
        {"attempts": [attempt(stdout="2 passed")]},
        {"attempts": [attempt(), attempt()]},
        {"outcome": "exhausted", "attempts": [attempt(False)]},
    ],
)
def test_a_difference_in_what_happened_is_another_trajectory(
    store: TrajectoryStore, change: dict[str, Any]
) -> None:
    store.record(draft())
    _, duplicate = store.record(draft().model_copy(update=change))
    assert not duplicate
    assert store.page().total == 2


def test_threads_that_record_the_same_at_once_store_it_once(store: TrajectoryStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: store.record(draft()), range(16)))
    assert len({stored.id for stored, _ in results}) == 1
    assert [duplicate for _, duplicate in results].count(False) == 1


@pytest.mark.parametrize(("outcome", "passed"), [("success", False), ("exhausted", True)])
def test_an_outcome_that_the_last_attempt_contradicts_is_refused(
    store: TrajectoryStore, outcome: str, passed: bool
) -> None:
    with pytest.raises(InvalidTrajectoryError, match=outcome) as caught:
        store.record(draft(outcome=outcome, attempts=[attempt(not passed), attempt(passed)]))
    assert caught.value.next_step
    assert store.page().total == 0


@pytest.mark.parametrize("bad", ["a\0b", "a\ud800b"], ids=["nul", "surrogate"])
@pytest.mark.parametrize("field", ["task_description", "test_suite", "stdout", "generated_code"])
def test_text_that_cannot_be_stored_is_refused_by_name(
    store: TrajectoryStore, field: str, bad: str
) -> None:
    given = draft()
    if field in Attempt.model_fields:
        broken = given.attempts[0].model_copy(update={field: bad})
        given = given.model_copy(update={"attempts": [attempt(False), broken]})
        field = f"attempts\\[1\\].{field}"
    else:
        given = given.model_copy(update={field: bad})
    with pytest.raises(InvalidTrajectoryError, match=field):
        store.record(given)
    assert store.page().total == 0


def test_a_verdict_that_cannot_be_sent_on_is_refused_by_name(store: TrajectoryStore) -> None:
    broken = attempt(verdict={"kind": "pass", "evidence": {"stdout": "\ud800"}})
    with pytest.raises(InvalidTrajectoryError, match=r"attempts\[0\].verdict"):
        store.record(draft(attempts=[broken]))


def test_only_what_passed_and_is_not_held_out_teaches(store: TrajectoryStore) -> None:
    taught, _ = store.record(draft("a", attempts=[attempt(False), attempt()]))
    store.record(draft("b", held_out=True))
    store.record(draft("c", outcome="exhausted", attempts=[attempt(False)]))
    store.record(draft("d", attempts=[attempt(None)]))
    store.record(draft("e", project_id="beta"))
    assert store.distillable("alpha") == [taught]
    assert store.count_distillable("alpha") == 1
    assert store.counts() == [ProjectCounts("alpha", 4, 1, 1, 0), ProjectCounts("beta", 1, 1, 0, 0)]
    assert store.distillable("nobody") == []


def test_distillable_trajectories_can_be_narrowed_and_come_oldest_first(
    store: TrajectoryStore,
) -> None:
    kinds = [("web", "bug-fix"), ("web", "refactor"), ("cli", "bug-fix")]
    web_bug, web_refactor, cli_bug = (
        store.record(draft(f"task {n}", domain=domain, task_type=task_type))[0]
        for n, (domain, task_type) in enumerate(kinds)
    )
    assert store.distillable("alpha", domain="web") == [web_bug, web_refactor]
    assert store.distillable("alpha", task_type="bug-fix") == [web_bug, cli_bug]
    assert store.distillable("alpha", "web", "bug-fix") == [web_bug]
    assert store.distillable("alpha", ids=[cli_bug.id, web_bug.id]) == [web_bug, cli_bug]
    assert store.distillable("alpha", ids=[]) == []


def test_ids_of_no_or_another_project_are_not_found(store: TrajectoryStore) -> None:
    mine, _ = store.record(draft("mine"))
    foreign, _ = store.record(draft("foreign", project_id="beta"))
    held_out, _ = store.record(draft("held out", held_out=True))
    with pytest.raises(TrajectoryNotFoundError, match="nobody"):
        store.distillable("alpha", ids=[mine.id, "nobody"])
    with pytest.raises(TrajectoryNotFoundError, match=foreign.id):
        store.distillable("alpha", ids=[foreign.id])
    with pytest.raises(TrajectoryNotFoundError):
        store.get("nobody")
    assert store.distillable("alpha", ids=[held_out.id]) == []


def test_any_number_of_ids_can_be_asked_for(store: TrajectoryStore) -> None:
    with pytest.raises(TrajectoryNotFoundError):
        store.distillable("alpha", ids=[f"id-{n}" for n in range(50_000)])


def test_pages_cover_everything_once_newest_first(store: TrajectoryStore) -> None:
    ids = [store.record(draft(f"task {n}"))[0].id for n in range(5)]
    seen: list[str] = []
    offset: int | None = 0
    while offset is not None:
        page = store.page(project_id="alpha", offset=offset, limit=2)
        seen += [trajectory.id for trajectory in page.trajectories]
        offset = page.next_offset
    assert seen == ids[::-1]
    assert store.page(project_id="beta").trajectories == []


@pytest.mark.parametrize("table", ["sessions", "trajectories", "attempts"])
def test_the_database_itself_refuses_to_change_history(
    store: TrajectoryStore, database: Database, table: str
) -> None:
    stored, _ = store.record(draft())
    statements = (
        f"DELETE FROM {table}",
        f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}",
        f"UPDATE {table} SET rowid = rowid + 1",
    )
    for statement in statements:
        with pytest.raises(StorageError, match="write-once"), database.writing() as session:
            session.connection().execute(text(statement))
    assert store.get(stored.id) == stored


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("import os\ndef f(): os._exit(0)", None),
        ("def f(): return 1", {"kind": "pass", "evidence": {"suspicion": ["exit"]}}),
    ],
    ids=["by its code", "by its verdict"],
)
def test_what_looks_faked_does_not_teach(
    store: TrajectoryStore, code: str, verdict: dict[str, Any] | None
) -> None:
    stored, _ = store.record(draft(attempts=[attempt(generated_code=code, verdict=verdict)]))
    assert stored.outcome == "success"
    assert store.distillable(stored.project_id) == []
    assert store.count_distillable(stored.project_id) == 0


@pytest.mark.parametrize(
    ("evidence", "teaches"),
    [
        ({"in_process": True, "confirmed": True, "suspicion": []}, True),
        ({"in_process": True, "confirmed": False, "suspicion": []}, False),
        ({"in_process": True, "suspicion": []}, False),
        ({"in_process": True, "confirmed": True, "suspicion": ["patching"]}, False),
        ({"in_process": False, "confirmed": False, "suspicion": []}, True),
    ],
)
def test_a_pass_in_the_candidates_own_process_teaches_only_when_it_is_confirmed(
    store: TrajectoryStore, evidence: dict[str, Any], teaches: bool
) -> None:
    verdict = {"kind": "pass", "evidence": evidence}
    stored, _ = store.record(draft(attempts=[attempt(verdict=verdict)]))
    assert store.distillable("alpha") == ([stored] if teaches else [])


def test_a_pass_that_its_own_verdict_denies_does_not_teach(store: TrajectoryStore) -> None:
    store.record(draft(attempts=[attempt(verdict={"kind": "infra", "message": "no room"})]))
    assert store.distillable("alpha") == []
