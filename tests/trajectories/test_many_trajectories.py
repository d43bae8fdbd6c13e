"""Every query for trajectories is answered by an index in its order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
from query_plans import plans, slow_steps, statements_of

from rune_engine.config import RuneConfig
from rune_engine.database import Database, open_database
from rune_engine.models import Attempt, TrajectoryDraft
from rune_engine.trajectories import TrajectoryStore


@pytest.fixture
def database(config: RuneConfig) -> Iterator[Database]:
    opened = open_database(config)
    yield opened
    opened.close()


def draft(**changes: str) -> TrajectoryDraft:
    attempt = Attempt(generated_code="def f(): ...", tests_passed=True)
    return TrajectoryDraft(
        project_id="p", task_description="f", attempts=[attempt], outcome="success", **changes
    )


def test_nothing_is_sorted_or_read_through(database: Database) -> None:
    store = TrajectoryStore(database)
    with statements_of(database) as statements:
        stored, _ = store.record(draft())
        store.record(draft())
        store.get(stored.id)
        store.page(project_id="p")
        store.page(session_id=stored.session_id)
        store.page(project_id="p", session_id=stored.session_id)
        store.listing(project_id="p")
        store.listing(session_id=stored.session_id)
        for domain, task_type, ids in product((None, "d"), (None, "t"), (None, [stored.id])):
            store.distillable("p", domain, task_type, ids)
        store.count_distillable("p")
        store.last_workspace("p")
    found = plans(database, statements)
    assert len(found) >= 15
    assert slow_steps(found) == []


def test_counting_reads_an_index_and_no_text(database: Database) -> None:
    store = TrajectoryStore(database)
    with statements_of(database) as statements:
        store.page()
        store.counts()
    steps = [step for step, _ in slow_steps(plans(database, statements))]
    page = "SCAN trajectories USING INDEX ix_trajectories_created_at"
    assert page in steps
    assert all(step == page or "USING COVERING INDEX" in step for step in steps)


def test_counting_what_teaches_needs_no_text(database: Database) -> None:
    with statements_of(database) as statements:
        TrajectoryStore(database).count_distillable("p")
    [steps] = plans(database, statements).values()
    assert [step for step in steps if "COVERING INDEX" not in step] == []
