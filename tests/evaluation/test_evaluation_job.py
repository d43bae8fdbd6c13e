"""The whole job, over a script and the real sandbox: which tasks, what is written, what follows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from adapter_files import draft as adapter_draft
from adapter_files import weights
from engine_support import ADD_TESTS, RIGHT, draft

from rune_engine.config import RuneConfig, load_config
from rune_engine.database import Database
from rune_engine.errors import AdapterBaseModelMismatchError, InvalidInputError
from rune_engine.evaluation.choosing import Chooser
from rune_engine.evaluation.comparing import compare
from rune_engine.evaluation.out_of_domain import generated_tasks
from rune_engine.evaluation.records import EvaluationStore
from rune_engine.events import EventLog
from rune_engine.inference.factory import ProviderPool
from rune_engine.jobs.evaluate import Evaluate
from rune_engine.jobs.store import JobStore
from rune_engine.jobs.trainer import Trainers
from rune_engine.models import (
    Comparison,
    EvaluateParams,
    EvaluateResult,
    LearntRole,
)
from rune_engine.registry import AdapterRegistry
from rune_engine.sandbox.sandbox import Sandbox
from rune_engine.trajectories import TrajectoryStore

WRONG = "```python\ndef add(a, b):\n    return a - b\n```"
ADAPTER = "judged"
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
OUTSIDE = 2


class House:
    """A home, its script, and the job's work."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder = folder
        self.script_path = folder / "script.json"
        self.config = load_config(
            home=folder / "home",
            base_model=f"scripted:{self.script_path}",
            evaluation={"out_of_domain_tasks": OUTSIDE, "fewest_tasks": 3},
        )
        self.database = database
        self.registry = AdapterRegistry(database, self.config)
        self.trajectories = TrajectoryStore(database)
        self.evaluations = EvaluationStore(database)
        self.sandbox = Sandbox(self.config.sandbox)
        self.events = EventLog(database)
        self.jobs = JobStore(database)
        self.outside = generated_tasks(OUTSIDE, folder / "worlds")

    def script(self, *rules: tuple[str, str, str | None], harmed: int = 0) -> None:
        """What the model answers: (part of the task, answer, only with this adapter).

        Tasks outside the domain are solved, but for `harmed` of them with the adapter.
        """
        lines: list[dict[str, Any]] = [
            {"contains": task.description, "answers": [WRONG], "adapter_id": ADAPTER}
            for task in self.outside[:harmed]
        ]
        lines += [
            {"contains": task.description, "answers": [f"```python\n{task.reference}\n```"]}
            for task in self.outside
        ]
        lines += [
            {"contains": part, "answers": [answer], "adapter_id": only}
            for part, answer, only in rules
        ]
        self.script_path.write_text(json.dumps(lines))

    def record(self, *tasks: str, project: str = "shop", **changes: Any) -> list[str]:
        """The ids of solved tasks of these descriptions."""
        given = {"test_suite": ADD_TESTS, "project_id": project, **changes}
        drafts = [draft(n, task_description=task, **given) for n, task in enumerate(tasks)]
        return [self.trajectories.record(each)[0].id for each in drafts]

    def adapter(self, roles: dict[str, LearntRole], **changes: Any) -> None:
        made = {"id": ADAPTER, "project_id": "shop", "base_model_id": "scripted"} | changes
        self.registry.store(adapter_draft(**made), weights(len(made["id"])), learnt_from=roles)

    async def evaluate(self, adapter_id: str = ADAPTER, **params: Any) -> EvaluateResult:
        asked = EvaluateParams.model_validate({"adapter_id": adapter_id, **params})
        self.jobs.enqueue("evaluate", asked)
        job = self.jobs.claim("1/2/3/4", ["evaluate"])
        assert job is not None
        work = Evaluate(
            self.config,
            self.database,
            ProviderPool(self.config),
            registry=self.registry,
            trajectories=self.trajectories,
            sandbox=self.sandbox,
            jobs=self.jobs,
            trainers=Trainers(),
        )
        result = await work(job, lambda _fraction, _message: None)
        self.jobs.succeed(job, result.model_dump(mode="json"))
        return result


@pytest.fixture
def house(config: RuneConfig, database: Database, tmp_path: Path) -> Iterator[House]:
    yield House(tmp_path, database)


def kept(ids: Sequence[str]) -> dict[str, LearntRole]:
    return dict.fromkeys(ids, "kept_back")


def added(count: int) -> list[str]:
    return [f"Add, {NUMBERS[n]} of it, and say nothing." for n in range(count)]


async def test_fitness_weighs_held_out_tasks_and_what_is_harmed_outside(house: House) -> None:
    house.adapter(kept(house.record(*added(6))))
    house.script(("Add", RIGHT, ADAPTER), ("Add", WRONG, None), harmed=1)
    result = await house.evaluate()
    assert result.evaluated, result.reason
    assert (result.pass_rate, result.base_pass_rate, result.generalization) == (1.0, 0.0, 0.5)
    assert result.fitness == pytest.approx(0.7 + 0.3 * 0.5)
    assert result.difference is not None and result.difference.low > 0
    assert result.generalization_delta is not None
    assert result.generalization_delta.difference == -0.5
    assert (result.tasks, result.out_of_domain_tasks, result.undecided) == (6, OUTSIDE, 0)
    adapter = house.registry.retrieve_by_id(ADAPTER)
    assert (adapter.pass_rate, adapter.fitness_score) == (1.0, result.fitness)
    event = house.events.newest(ADAPTER, "fitness_measured")
    assert event is not None and event.caused_by == result.evaluation_id
    assert (event.payload["tasks"], event.payload["out_of_domain_tasks"]) == (6, OUTSIDE)
    assert house.evaluations.latest(ADAPTER) == result
    settings = result.settings
    assert settings.adapter_sha256 == adapter.file_hash and settings.rune_version
    assert (settings.alpha, settings.fewest_tasks, settings.samples) == (0.7, 3, 1)


async def test_an_evaluation_can_be_reproduced_from_its_row(house: House) -> None:
    house.adapter(kept(house.record(*added(3))))
    house.script(("Add", RIGHT, None))
    first = await house.evaluate(samples=2, temperature=0.5, seed=7, pass_at=[1, 2])
    given = first.settings.model_dump(include={"samples", "temperature", "seed", "max_tokens"})
    second = await house.evaluate(**given, pass_at=list(first.pass_at_k))
    theirs = {"evaluation_id", "created_at"}
    assert second.model_dump(exclude=theirs) == first.model_dump(exclude=theirs)
    assert [each.evaluation_id for each in house.evaluations.page(ADAPTER)] == [
        second.evaluation_id,
        first.evaluation_id,
    ]


async def test_too_few_tasks_leave_an_adapter_unevaluated(house: House) -> None:
    house.adapter(kept(house.record(*added(2))))
    house.script(("Add", RIGHT, None))
    result = await house.evaluate()
    assert not result.evaluated and result.fitness is None and "Unevaluated" in result.reason
    adapter = house.registry.retrieve_by_id(ADAPTER)
    assert (adapter.pass_rate, adapter.fitness_score) == (1.0, None)
    house.record(*added(3)[2:], held_out=True)
    assert (await house.evaluate()).evaluated
    await house.evaluate(max_tasks=1)
    assert house.registry.retrieve_by_id(ADAPTER).fitness_score == 1.0, "less does not undo more"


async def test_what_is_nearly_what_was_taught_judges_nobody(house: House) -> None:
    taught = "Add two numbers that are given as arguments and return the sum of both."
    [trained] = house.record(taught)
    reworded = house.record(f"Please: {taught.lower()}", held_out=True)
    other = house.record("Add, but something else.", held_out=True)
    house.adapter({trained: "trained"})
    house.script(("dd", RIGHT, None))
    result = await house.evaluate()
    judged = {each.trajectory_id for each in result.per_task if each.group == "held_out"}
    assert judged == set(other) and not judged & set(reworded)


async def test_other_projects_own_tasks_are_half_of_those_outside(house: House) -> None:
    house.adapter(kept(house.record(*added(3))))
    theirs = house.record("Mend the till.", "Mend the door.", project="bank", held_out=True)
    backed = house.record("Mend the clock.", project="museum")
    house.adapter(kept(backed), id="museum-memory", project_id="museum")
    house.record("Mend the lamp.", project="bank")
    house.script(("Add", RIGHT, None), ("Mend", RIGHT, None))
    result = await house.evaluate()
    outside = [each for each in result.per_task if each.group == "out_of_domain"]
    own = {each.trajectory_id for each in outside if each.trajectory_id}
    assert len(outside) == OUTSIDE and len(own) == OUTSIDE // 2
    assert own < {*theirs, *backed}, "never what may still be trained on"


async def test_a_projects_folder_is_the_one_of_its_last_task(house: House) -> None:
    package = house.folder / "checkout"
    package.mkdir()
    (package / "tills.py").write_text("def plus(a, b):\n    return a + b\n")
    code = "import tills\ndef add(a, b):\n    return tills.plus(a, b)"
    attempts = [{"generated_code": code, "tests_passed": True}]
    house.adapter(kept(house.record(*added(1), attempts=attempts)))
    house.script(("Add", f"```python\n{code}\n```", None))
    assert (await house.evaluate(max_tasks=1)).undecided == 1, "its own solution needs the folder"
    house.record("Something else", workspace=str(package), test_suite="")
    result = await house.evaluate()
    assert (result.undecided, result.pass_rate) == (0, 1.0)
    assert (await house.evaluate(workspace=str(house.folder))).undecided == 1


async def test_a_suite_gives_pass_at_k_with_an_adapter_or_without(house: House) -> None:
    suite = house.folder / "mbpp.jsonl"
    row = {"task_id": 1, "text": "Add.", "code": "def add(a, b):\n    return a + b"}
    suite.write_text(json.dumps({**row, "test_list": [ADD_TESTS.strip()]}))
    house.adapter({})
    house.script(("Add", RIGHT, ADAPTER), ("Add", WRONG, None))
    params = {"suite": str(suite), "samples": 3, "pass_at": [1, 3]}
    result = await house.evaluate(**params)
    assert (result.pass_at_k, result.base_pass_at_k) == ({1: 1.0, 3: 1.0}, {1: 0.0, 3: 0.0})
    assert (result.fitness, result.settings.suite is None) == (None, False)
    assert house.registry.retrieve_by_id(ADAPTER).pass_rate is None
    assert house.evaluations.latest(ADAPTER) is None, "a suite says nothing of its project"
    alone = await house.evaluate("none", **params)
    assert (alone.base_pass_at_k, alone.pass_at_k) == ({1: 0.0, 3: 0.0}, {})


async def test_predictions_are_asked_of_what_was_taught_and_give_no_fitness(house: House) -> None:
    [trained] = house.record("Add two of them.")
    house.adapter({trained: "trained"})
    house.script(("What does", "```python\n0\n```", None))
    result = await house.evaluate(criterion="pbb")
    assert result.tasks == 2 and result.fitness is None and result.pass_rate == 0.0
    assert {each.trajectory_id for each in result.per_task} == {trained}


# --- two adapters ----------------------------------------------------------------------------


def beside(house: House, one: str = ADAPTER, other: str = "other") -> Comparison:
    chooser = Chooser(house.database, house.registry, house.trajectories)
    return compare(
        one, other, registry=house.registry, evaluations=house.evaluations, chooser=chooser
    )


async def test_two_adapters_are_compared_where_neither_was_taught(house: House) -> None:
    ids = house.record(*added(9))
    house.adapter(kept(ids))
    house.adapter({**kept(ids[:8]), ids[8]: "trained"}, id="other")
    before = beside(house)
    assert before.difference is None and sorted(before.measurable) == sorted(ids[:8])
    house.script(("Add", RIGHT, ADAPTER), ("Add, one", RIGHT, None), ("Add", WRONG, None))
    for each in (ADAPTER, "other"):
        await house.evaluate(each)
    found = beside(house)
    assert found.difference is not None and (found.difference.tasks, found.measurable) == (8, [])
    assert (found.pass_rate, found.other_pass_rate, found.base_pass_rate) == (1.0, 0.125, 0.125)
    assert found.difference.low > 0 and found.verdict.startswith(f"{ADAPTER} is the better one")
    back = beside(house, "other", ADAPTER)
    assert back.difference is not None and back.difference.worse == found.difference.better == 7
    assert back.difference.high < 0 and back.verdict.startswith(f"{ADAPTER} is the better one")


async def test_only_what_was_drawn_alike_is_compared(house: House) -> None:
    ids = house.record(*added(2))
    for name in (ADAPTER, "other"):
        house.adapter(kept(ids), id=name)
    house.script(("Add", RIGHT, None))
    await house.evaluate(ADAPTER, out_of_domain_tasks=0)
    await house.evaluate("other", out_of_domain_tasks=0, seed=1)
    assert beside(house).difference is None
    result = await house.evaluate("other", trajectory_ids=ids, out_of_domain_tasks=0)
    assert result.fitness is None and "chose" in result.reason
    found = beside(house)
    assert found.difference is not None and "Too little" in found.verdict


def test_adapters_of_two_base_models_are_not_compared(house: House) -> None:
    house.adapter({})
    house.adapter({}, id="other", base_model_id="another")
    with pytest.raises(AdapterBaseModelMismatchError):
        beside(house)


@pytest.mark.parametrize(
    "params",
    [
        {"adapter_id": "none"},
        {"adapter_id": "none", "suite": "/there/is/none.jsonl"},
        {"suite": "relative.jsonl"},
        {"workspace": "/there/is/none"},
        {"samples": 2, "pass_at": [3]},
    ],
    ids=str,
)
async def test_what_could_only_fail_is_refused(house: House, params: dict[str, Any]) -> None:
    house.adapter({})
    house.script()
    with pytest.raises(InvalidInputError):
        await house.evaluate(**params)


def test_an_evaluation_is_write_once(house: House) -> None:
    result = EvaluateResult(
        evaluation_id="e", adapter_id="a", base_model_id="b", evaluated=False, reason="",
        tasks=0, undecided=0, per_task=[],
    )  # fmt: skip
    with house.evaluations.writing() as session:
        house.evaluations.add(session, result)
    for statement in (
        "UPDATE evaluations SET fitness = 1.0",
        "DELETE FROM evaluations",
        "INSERT OR REPLACE INTO evaluations SELECT * FROM evaluations",
    ):
        connection = sqlite3.connect(house.config.database_path)
        with pytest.raises(sqlite3.IntegrityError, match="write-once"):
            connection.execute(statement)
        connection.close()
    assert house.evaluations.page("a") == [result]
