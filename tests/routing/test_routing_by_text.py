"""Whose task it is when no project is named: told by the text, or not at all."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from adapter_files import draft, weights
from query_plans import plans, slow_steps, statements_of

from rune_engine import migrations
from rune_engine.config import RoutingSettings, RuneConfig
from rune_engine.database import Database, open_database
from rune_engine.errors import StorageError
from rune_engine.evaluation.records import EvaluationStore
from rune_engine.forgetting import Forgetting
from rune_engine.models import Attempt, EvaluateResult, ForgetParams, TrajectoryDraft
from rune_engine.models.evaluation import Difference
from rune_engine.registry import AdapterRegistry
from rune_engine.routing import Router
from rune_engine.trajectories import TrajectoryStore

TASKS = {
    "shop": "In zabuto: {} the invoices of a customer by their date",
    "blog": "In mirola: {} the comments below an article and count them",
    "maps": "In tekavu: {} the shortest way between two places on the grid",
    "game": "In sodipe: {} the score of a player after the last round",
}
VERBS = ("Sort", "Find", "Print", "Check", "Store", "Load")


class Home:
    """Some projects that were taught, and a router."""

    def __init__(self, config: RuneConfig, database: Database) -> None:
        self.config, self.database = config, database
        self.registry = AdapterRegistry(database, config)
        self.trajectories = TrajectoryStore(database)
        self.router = Router(self.registry)

    def teach(self, project: str, adapter_id: str | None = None, **changes: str) -> None:
        learnt = {}
        for verb in VERBS:
            code = Attempt(generated_code="def f(): ...", tests_passed=True)
            given = TrajectoryDraft(
                project_id=project,
                session_id=f"{project}-1",
                task_description=TASKS[project].format(verb),
                attempts=[code],
                outcome="success",
            )
            learnt[self.trajectories.record(given)[0].id] = "trained"
        made = draft(id=adapter_id or project, project_id=project, **changes)
        self.registry.store(made, weights(len(made.id)), learnt_from=learnt)

    def ask(self, text: str, project: str | None = None, base_model: str = "tiny") -> str | None:
        found = self.router.retrieve(project, "general", "feature-impl", base_model, text)
        assert found.reason and any(each.adapter_id is None for each in found.candidates)
        return found.adapter.id if found.adapter else None


@pytest.fixture
def database(config: RuneConfig) -> Iterator[Database]:
    opened = open_database(config)
    yield opened
    opened.close()


@pytest.fixture
def home(config: RuneConfig, database: Database) -> Home:
    taught = Home(config, database)
    for project in TASKS:
        taught.teach(project)
    return taught


def test_a_text_that_says_whose_it_is_gets_that_projects_adapter(home: Home) -> None:
    assert home.ask("In zabuto: total what every customer owes") == "shop"
    assert home.ask("Fix `tekavu.shortest_way`, which loops") == "maps"
    found = home.router.retrieve(None, "general", "x", "tiny", "In mirola: hide old comments")
    assert "blog" in found.reason and "nearer than any other" in found.reason
    assert found.candidates[0].nearness is not None and found.candidates[0].nearness > 0


@pytest.mark.parametrize(
    "text",
    [
        "In kulomi: sort the rows of a table by their first column",
        "Find the last of them and print it",
        "Write a function that adds two numbers",
        "",
    ],
)
def test_a_text_of_no_known_project_gets_none(home: Home, text: str) -> None:
    assert home.ask(text) is None


def test_a_named_project_without_adapters_gets_none_whatever_the_text_says(home: Home) -> None:
    text = "In zabuto: total what every customer owes"
    assert home.ask(text, "stranger") is None
    assert home.ask(text, "blog") == "blog", "the project that was named, not the text's"
    assert home.ask(text, "default") == "shop", "the project of what names none"


def test_choosing_by_a_text_can_be_switched_off(home: Home) -> None:
    router = Router(home.registry, RoutingSettings(by_text=False))
    found = router.retrieve(None, "d", "t", "tiny", "In zabuto: total what every customer owes")
    assert found.adapter is None and "by a text alone" in found.reason


def test_other_base_models_adapters_are_not_there(home: Home) -> None:
    assert home.ask("In zabuto: total what every customer owes", base_model="other") is None


def test_what_others_do_to_adapters_is_known_at_the_next_question(home: Home) -> None:
    text = "In zabuto: total what every customer owes"
    assert home.ask(text) == "shop"
    elsewhere = open_database(home.config)
    other = AdapterRegistry(elsewhere, home.config)
    other.archive("shop")
    assert home.ask(text) is None
    other.store(draft(id="child", project_id="shop", parent_ids=["shop"]), weights(99))
    assert home.ask(text) == "child", "a merged adapter knows what its parents were taught"
    elsewhere.close()


def test_the_whole_of_a_project_is_weighed_once_it_is_found(home: Home) -> None:
    home.teach("shop", "narrow", hierarchy_level="task", task_type="bug-fix", domain="general")
    home.registry.update_fitness("shop", 0.5, 0.5)
    home.registry.update_fitness("narrow", 0.9, 0.9)
    ask = home.router.retrieve
    text = "In zabuto: total what every customer owes"
    fix = ask(None, "general", "bug-fix", "tiny", text).adapter
    assert fix is not None and fix.id == "narrow"
    add = ask(None, "general", "feature-impl", "tiny", text).adapter
    assert add is not None and add.id == "shop"


def test_of_equals_in_a_level_the_one_that_was_taught_such_tasks_wins(home: Home) -> None:
    learnt = {}
    for number, words in enumerate(("parse dates of receipts", "draw the basket as a chart")):
        given = TrajectoryDraft(
            project_id="shop",
            task_description=f"In zabuto: {words}",
            attempts=[Attempt(generated_code=f"x = {number}", tests_passed=True)],
            outcome="success",
        )
        learnt[words] = home.trajectories.record(given)[0].id
    home.registry.archive("shop")
    for name, trajectory in zip(("dates", "chart"), learnt.values(), strict=True):
        made = draft(id=name, project_id="shop")
        home.registry.store(made, weights(len(name)), learnt_from={trajectory: "trained"})
        home.registry.update_fitness(name, 0.6, 0.6)
    assert home.ask("In zabuto: parse the dates once more", "shop") == "dates"
    assert home.ask("In zabuto: draw a chart of all baskets", "shop") == "chart"


def test_a_forgotten_projects_words_are_gone_from_every_file(home: Home) -> None:
    def held() -> set[str]:
        return {
            path.name
            for path in home.config.home.rglob("*")
            if path.is_file() and b"zabuto" in path.read_bytes()
        }

    assert home.ask("In zabuto: total what every customer owes") == "shop"
    assert held()
    Forgetting(home.database, home.config).forget(ForgetParams(project_id="shop"))
    assert held() == set()
    assert home.ask("In zabuto: total what every customer owes") is None
    assert home.ask("In mirola: hide old comments") == "blog"


def test_the_database_refuses_to_change_what_was_taught(home: Home) -> None:
    for statement in ("DELETE FROM adapter_taught", "UPDATE adapter_taught SET tasks = 0"):
        with pytest.raises(StorageError, match="write-once"), home.database.writing() as session:
            session.connection().exec_driver_sql(statement)


def test_nothing_is_sorted_or_read_through(home: Home) -> None:
    home.ask("In zabuto: total what every customer owes")
    home.teach("shop", "again")
    with statements_of(home.database) as statements:
        home.ask("In zabuto: total what every customer owes")
        home.ask("In zabuto: total what every customer owes", "shop")
    found = plans(home.database, statements)
    assert len(found) >= 6
    assert slow_steps(found) == []


def test_the_words_of_adapters_from_before_are_filled_in_by_the_migration(home: Home) -> None:
    with home.database.writing() as session:
        connection = session.connection()
        before = connection.exec_driver_sql("SELECT * FROM adapter_taught ORDER BY 1").all()
        connection.exec_driver_sql("DROP TABLE adapter_taught")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0005'")
        migrations.upgrade(connection, "0006")
        after = connection.exec_driver_sql("SELECT * FROM adapter_taught ORDER BY 1").all()
    assert [(row[0], row[1], json.loads(row[2])) for row in before] == [
        (row[0], row[1], json.loads(row[2])) for row in after
    ]


def test_choosing_imports_neither_torch_nor_numpy() -> None:
    script = "import sys, rune_engine.routing; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert not {"torch", "numpy", "tokenizers"} & set(done.stdout.split())


def test_the_last_evaluation_tells_the_difference_to_the_base_model(home: Home) -> None:
    store = EvaluationStore(home.database)
    assert store.difference("shop") is None
    home.registry.update_fitness("shop", 0.8, 0.8)
    router = Router(home.registry, measured=store.difference)
    assert router.retrieve("shop", "general", "x", "tiny").adapter is not None
    with statements_of(home.database) as statements:
        for number, difference in enumerate((0.4, -0.2)):
            with home.database.writing() as session:
                store.add(session, evaluation(f"e{number}", difference))
        assert store.difference("shop") == -0.2
    assert slow_steps(plans(home.database, statements)) == []
    assert router.retrieve("shop", "general", "x", "tiny").adapter is None


def evaluation(name: str, difference: float) -> EvaluateResult:
    beside = Difference(
        difference=difference, low=-0.5, high=0.5, tasks=5, better=1, worse=1, p_value=1.0
    )
    return EvaluateResult(
        evaluation_id=name,
        adapter_id="shop",
        base_model_id="tiny",
        evaluated=True,
        reason="It was measured.",
        tasks=5,
        undecided=0,
        difference=beside,
        per_task=[],
    )
