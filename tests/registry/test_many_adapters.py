"""Ten thousand adapters: answers stay right, and come from an index."""

from __future__ import annotations

from adapter_files import draft, weights
from sqlalchemy import event

from rune_engine.config import RuneConfig
from rune_engine.database import Database
from rune_engine.registry import AdapterFilter, AdapterRecord, AdapterRegistry
from rune_engine.routing import Router

ROWS = 10_000


def fill(database: Database, registry: AdapterRegistry) -> None:
    """Rows with everything but files of their own."""
    first = registry.store(draft(project_id="p0", base_model_id="other"), weights())
    with database.writing() as session:
        template = session.get(AdapterRecord, first.id)
        assert template is not None
        shared = template.model_dump()
        session.add_all(
            AdapterRecord(
                **shared
                | {
                    "id": f"n{n}",
                    "file_path": f"adapters/n{n}/adapter_model.safetensors",
                    "created_at": f"2030-01-01T00:00:00.{n:06}+00:00",
                    "project_id": f"p{n % 10}",
                    "base_model_id": "tiny",
                    "task_type": f"t{n % 7}",
                    "hierarchy_level": ("project", "domain", "task")[n % 3],
                    "fitness_score": n / ROWS if n % 2 else None,
                }
            )
            for n in range(ROWS)
        )


def test_ten_thousand_adapters_are_found_by_index(
    registry: AdapterRegistry, database: Database, config: RuneConfig
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

    plans: list[str] = []

    def explain(conn, cursor, statement, parameters, context, many) -> None:  # type: ignore[no-untyped-def]
        if statement.startswith("SELECT"):
            plan = cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.extend(row[3] for row in plan)

    event.listen(database._engine, "before_cursor_execute", explain)
    registry.best(AdapterFilter("p3", "general", "t2", "tiny", "task"))
    registry.query_best_for_task("t5")
    registry.page(offset=0, limit=10)
    assert [plan for plan in plans if plan.startswith("SEARCH")], plans
    scans = [plan for plan in plans if plan.startswith("SCAN") and "INDEX" not in plan]
    assert len(scans) <= 1, f"only counting everything may read everything: {plans}"
