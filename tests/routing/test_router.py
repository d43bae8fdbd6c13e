"""Which adapter a task gets, and what it is told about the choice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from adapter_files import draft, weights

from rune_engine.config import RoutingSettings, RuneConfig
from rune_engine.database import open_database
from rune_engine.models import HierarchyLevel
from rune_engine.registry import AdapterRegistry
from rune_engine.routing import Router


@pytest.fixture
def registry(config: RuneConfig) -> Iterator[AdapterRegistry]:
    database = open_database(config)
    yield AdapterRegistry(database, config)
    database.close()


def add(
    registry: AdapterRegistry,
    name: str,
    level: HierarchyLevel,
    fitness: float | None = None,
    **changes: str,
) -> None:
    values = {"domain": "web", "task_type": "bug-fix"} | changes
    registry.store(draft(id=name, hierarchy_level=level, **values), weights())
    if fitness is not None:
        registry.update_fitness(name, fitness, fitness)


def chosen(registry: AdapterRegistry) -> str | None:
    found = Router(registry).retrieve("alpha", "web", "bug-fix", "tiny")
    assert found.reason
    return found.adapter.id if found.adapter else None


def test_the_most_specific_level_that_suffices_wins(registry: AdapterRegistry) -> None:
    add(registry, "whole", "project", 0.9)
    assert chosen(registry) == "whole"
    add(registry, "web", "domain", 0.5)
    assert chosen(registry) == "web"
    add(registry, "weak", "task", 0.1)
    assert chosen(registry) == "web", "a task-level adapter that solves next to nothing"
    add(registry, "bugs", "task", 0.4)
    assert chosen(registry) == "bugs"
    registry.archive("bugs")
    assert chosen(registry) == "web"
    registry.archive("web")
    assert chosen(registry) == "whole"


def test_within_a_level_the_fittest_wins_then_the_newest(registry: AdapterRegistry) -> None:
    add(registry, "old", "project")
    add(registry, "new", "project")
    assert chosen(registry) == "new"
    add(registry, "fair", "project", 0.4)
    assert chosen(registry) == "fair", "an evaluated one comes before the unevaluated"
    add(registry, "strong", "project", 0.8)
    add(registry, "newest", "project")
    assert chosen(registry) == "strong"


@pytest.mark.parametrize(
    ("level", "change"),
    [
        ("project", {"project_id": "beta"}),
        ("project", {"base_model_id": "other"}),
        ("domain", {"domain": "cli"}),
        ("task", {"domain": "cli"}),
        ("task", {"task_type": "refactor"}),
        ("task", {"project_id": "beta"}),
        ("domain", {"base_model_id": "other"}),
    ],
)
def test_adapters_for_something_else_are_never_chosen(
    registry: AdapterRegistry, level: HierarchyLevel, change: dict[str, str]
) -> None:
    add(registry, "foreign", level, 1.0, **change)
    assert chosen(registry) is None


def test_a_project_adapter_serves_every_domain_and_task_type(registry: AdapterRegistry) -> None:
    add(registry, "whole", "project", domain="cli", task_type="refactor")
    assert chosen(registry) == "whole"


def test_the_reason_names_the_level_or_what_is_missing(registry: AdapterRegistry) -> None:
    router = Router(registry)

    def reason(project: str = "alpha", base_model: str = "tiny") -> str:
        return router.retrieve(project, "web", "bug-fix", base_model).reason

    assert "no adapter in use yet" in reason()
    add(registry, "elsewhere", "domain", domain="cli")
    assert "covers this domain" in reason()
    assert "none for the base model huge" in reason(base_model="huge")
    add(registry, "whole", "project")
    assert "project-level" in reason() and "not evaluated" in reason()
    registry.update_fitness("whole", 0.5, 0.625)
    assert "0.625" in reason()


def test_an_unevaluated_one_waits_for_a_measured_one_of_any_level(
    registry: AdapterRegistry,
) -> None:
    add(registry, "new", "task")
    assert chosen(registry) == "new"
    add(registry, "proven", "project", 0.6)
    assert chosen(registry) == "proven"
    registry.update_fitness("proven", 0.1, 0.1)
    assert chosen(registry) == "new"


def test_no_adapter_is_chosen_over_one_that_solved_no_more_than_the_base_model(
    registry: AdapterRegistry,
) -> None:
    add(registry, "harmless", "task", 0.9)
    add(registry, "helps", "project", 0.7)
    differences = {"harmless": 0.0, "helps": 0.25}
    router = Router(registry, measured=differences.get)
    found = router.retrieve("alpha", "web", "bug-fix", "tiny")
    assert found.adapter is not None and found.adapter.id == "helps"
    differences["helps"] = -0.1
    found = router.retrieve("alpha", "web", "bug-fix", "tiny")
    assert found.adapter is None and "proved itself" in found.reason
    whys = {each.adapter_id: each.why for each in found.candidates}
    assert "no more held-out tasks" in whys["helps"] and "-0.100" in whys["helps"]
    assert found.candidates[0].adapter_id is None, "the base model alone is what was chosen"


def test_the_answer_tells_what_was_weighed_and_why(registry: AdapterRegistry) -> None:
    add(registry, "whole", "project", 0.9)
    add(registry, "web", "domain", 0.5)
    add(registry, "weak", "task", 0.1)
    found = Router(registry).retrieve("alpha", "web", "bug-fix", "tiny")
    told = {each.adapter_id: each for each in found.candidates}
    assert found.candidates[0].adapter_id == "web"
    assert set(told) == {"web", "whole", "weak", None}
    assert "more specific" in told["whole"].why and told["whole"].fitness == 0.9
    assert "below 0.35" in told["weak"].why and told["weak"].level == "task"
    for number in range(9):
        add(registry, f"more-{number}", "project", 0.5)
    assert len(Router(registry).retrieve("alpha", "web", "bug-fix", "tiny").candidates) == 5


def test_what_suffices_is_configured(registry: AdapterRegistry) -> None:
    add(registry, "fair", "project", 0.4)
    strict = Router(registry, RoutingSettings(min_fitness=0.5))
    assert strict.retrieve("alpha", "web", "bug-fix", "tiny").adapter is None


def test_a_project_that_was_archived_whole_has_no_adapter(registry: AdapterRegistry) -> None:
    add(registry, "whole", "project", 0.9)
    registry.archive("whole")
    assert chosen(registry) is None
    registry.forget(["whole"])
    assert chosen(registry) is None
