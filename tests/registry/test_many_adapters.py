"""Ten thousand adapters: answers stay right, and come from an index in its order."""

from __future__ import annotations

from itertools import product

import pytest
from adapter_files import draft, weights
from query_plans import plans, slow_steps, statements_of
from sqlalchemy import insert

from rune_engine.database import Database
from rune_engine.models import AdapterInfo, HierarchyLevel
from rune_engine.registry import AdapterFilter, AdapterRecord, AdapterRegistry, lifecycle
from rune_engine.routing import Router

ROWS = 10_000
LEVELS: tuple[HierarchyLevel, ...] = ("project", "domain", "task")
COUNTED = "SCAN adapter_records USING COVERING INDEX ix_adapter_records_counts"
LISTED = "SCAN adapter_records USING INDEX ix_adapter_records_page"


def fill(database: Database, registry: AdapterRegistry) -> None:
    """Rows with everything but files of their own."""
    first = registry.store(draft(project_id="p0", base_model_id="other"), weights())
    with database.writing() as session:
        template = session.get(AdapterRecord, first.id)
        assert template is not None
        shared = template.model_dump()
        rows = [
            shared
            | {
                "id": f"n{n}",
                "file_path": f"adapters/n{n}/adapter_model.safetensors",
                "created_at": f"2030-01-01T00:00:00.{n:06}+00:00",
                "project_id": f"p{n % 10}",
                "base_model_id": "tiny",
                "task_type": f"t{n % 7}",
                "hierarchy_level": LEVELS[n % 3],
                "fitness_score": n / ROWS if n % 2 else None,
            }
            for n in range(ROWS)
        ]
        session.connection().execute(insert(AdapterRecord), rows)


def test_answers_stay_right_among_ten_thousand(
    registry: AdapterRegistry, database: Database
) -> None:
    fill(database, registry)
    found = Router(registry).retrieve("p3", "general", "t2", "tiny").adapter
    expected = max(n for n in range(1, ROWS, 2) if (n % 10, n % 7, n % 3) == (3, 2, 2))
    assert found is not None and found.id == f"n{expected}"
    best = registry.query_best_for_task("t5")
    assert best is not None and best.id == f"n{max(n for n in range(1, ROWS, 2) if n % 7 == 5)}"
    page = registry.page(project_id="p4", limit=10, offset=990)
    assert (page.total, page.next_offset) == (1000, None)
    assert [a.id for a in page.adapters] == [f"n{n}" for n in range(94, 0, -10)]
    assert registry.counts().active == ROWS + 1
    versions = AdapterFilter(project_id="p3", base_model_id="tiny", hierarchy_level="task")
    assert registry.count(versions) == sum((n % 10, n % 3) == (3, 2) for n in range(ROWS))


def ask_for_the_best(registry: AdapterRegistry) -> None:
    for project, model in product((None, "p"), (None, "m")):
        registry.query_best_for_task("t", project_id=project, base_model_id=model)
    registry.best(AdapterFilter(training_task_hash="h"))
    Router(registry).retrieve("p", "d", "t", "m")


def ask_for_pages(registry: AdapterRegistry) -> None:
    for project, domain, task_type, model, archived in product(
        (None, "p"), (None, "d"), (None, "t"), (None, "m"), (False, True)
    ):
        registry.page(
            project_id=project,
            domain=domain,
            task_type=task_type,
            base_model_id=model,
            include_archived=archived,
        )
    registry.query_by_task_type("t")


def ask_for_one(registry: AdapterRegistry) -> None:
    stored = registry.store(draft(project_id="other"), weights())
    registry.retrieve_by_id(stored.id)
    registry.verified_ref(stored.id)
    registry.update_fitness(stored.id, 0.5, 0.5)
    registry.archive(stored.id)
    registry.forget([stored.id])
    level = AdapterFilter("p", base_model_id="m", hierarchy_level="task", include_archived=True)
    registry.count(level)


@pytest.mark.parametrize("ask", [ask_for_the_best, ask_for_one])
def test_nothing_is_sorted_or_read_through(
    registry: AdapterRegistry, database: Database, ask: object
) -> None:
    assert callable(ask)
    with statements_of(database) as statements:
        ask(registry)
    found = plans(database, statements)
    assert len(found) >= 7
    assert slow_steps(found) == []


def test_only_counting_everything_reads_everything_and_nothing_is_sorted(
    registry: AdapterRegistry, database: Database
) -> None:
    with statements_of(database) as statements:
        ask_for_pages(registry)
    everything = {
        (f"SELECT {what} FROM adapter_records{where}")
        for what in ("count(*)", ", ".join(AdapterInfo.model_fields))
        for where in ("", " WHERE is_archived = 0", " WHERE +is_archived = 0")
    }
    for step, statement in slow_steps(plans(database, statements)):
        assert step.startswith(("SCAN adapter_records USING COVERING INDEX", LISTED))
        assert statement.split(" ORDER BY")[0] in everything, statement
    with statements_of(database) as statements:
        registry.counts()
        registry.list_all()
    assert {step for step, _ in slow_steps(plans(database, statements))} == {COUNTED, LISTED}


def test_finding_dependents_reads_no_adapter_that_has_nothing_to_do_with_them(
    registry: AdapterRegistry, database: Database
) -> None:
    with statements_of(database) as statements, database.reading() as session:
        lifecycle.dependents(session, ["t"])
    slow = slow_steps(plans(database, statements))
    parents = "SCAN adapter_records USING COVERING INDEX ix_adapter_records_parents"
    assert {step for step, _ in slow} <= {parents}
