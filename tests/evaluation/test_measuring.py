"""Models are asked and judged for real: a script answers, the sandbox runs what it answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from adapter_files import weights
from engine_support import ADD_TESTS, RIGHT, draft

from rune_engine.database import Database
from rune_engine.errors import InferenceError
from rune_engine.evaluation.measuring import NotKept, measure
from rune_engine.evaluation.out_of_domain import generated_tasks
from rune_engine.evaluation.outcomes import Remembered
from rune_engine.evaluation.predicting import predictions, same, unseen_calls
from rune_engine.evaluation.tasks import HeldOutTask
from rune_engine.inference.provider import AdapterRef
from rune_engine.inference.scripted import ScriptedProvider
from rune_engine.models import Attempt, Trajectory
from rune_engine.sandbox.sandbox import Sandbox

WRONG = "```python\ndef add(a, b):\n    return a - b\n```"
TASK = HeldOutTask("Add two numbers.", ADD_TESTS, reference="def add(a, b):\n    return a + b")


def scripted(folder: Path, *rules: dict[str, Any]) -> ScriptedProvider:
    path = folder / "script.json"
    path.write_text(json.dumps(rules))
    return ScriptedProvider(path)


def candidate(folder: Path) -> AdapterRef:
    """An adapter's folder that no registry knows."""
    made = weights()
    assert isinstance(made.safetensors, bytes)
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(made.safetensors)
    (folder / "adapter_config.json").write_text(json.dumps(made.config))
    digest = hashlib.sha256(made.safetensors).hexdigest()
    return AdapterRef("candidate", folder, digest, "scripted")


class Counting(NotKept):
    """Notes which steps were done."""

    def __init__(self) -> None:
        self.done: list[str] = []

    async def run(self, name: str, work: Callable[[], Awaitable[Any]]) -> Any:
        self.done.append(name)
        return await super().run(name, work)


async def test_an_adapter_that_nobody_registered_is_measured_beside_the_base(
    tmp_path: Path,
) -> None:
    adapter = candidate(tmp_path / "candidate")
    provider = scripted(
        tmp_path,
        {"contains": "Add", "answers": [RIGHT], "adapter_id": "candidate"},
        {"contains": "Add", "answers": [WRONG]},
    )
    sandbox = Sandbox()
    ours = await measure([TASK], adapter, provider=provider, sandbox=sandbox, samples=2)
    base = await measure([TASK], None, provider=provider, sandbox=sandbox, samples=2)
    assert (ours, base) == ({TASK.task: [True, True]}, {TASK.task: [False, False]})


async def test_a_task_whose_own_solution_fails_here_judges_nobody(tmp_path: Path) -> None:
    """As where its project's folder is gone: a missing module is no failure of the model."""
    homeless = replace(TASK, reference="import shop_of_nobody\ndef add(a, b):\n    return a + b")
    provider = scripted(tmp_path, {"contains": "Add", "answers": [RIGHT]})
    found = await measure([homeless], None, provider=provider, sandbox=Sandbox())
    assert found == {homeless.task: [None]}
    unknown = replace(homeless, reference=None)
    found = await measure([unknown], None, provider=provider, sandbox=Sandbox())
    assert found == {unknown.task: [True]}, "without a solution there is nothing to tell it by"


async def test_a_model_that_fails_ends_all_of_it_with_its_own_error(tmp_path: Path) -> None:
    provider = scripted(tmp_path, {"contains": "Add", "answers": [RIGHT], "delay_seconds": 600})
    other = replace(TASK, description="Nobody knows this.")
    with pytest.raises(InferenceError, match="Nobody knows"):
        await measure([TASK, other], None, provider=provider, sandbox=Sandbox())


async def test_the_base_model_is_not_asked_again_what_it_has_answered(
    tmp_path: Path, database: Database
) -> None:
    provider = scripted(tmp_path, {"contains": "Add", "answers": [RIGHT]})
    homeless = replace(TASK, description="Add in a folder.", workspace=tmp_path)
    sandbox, counts = Sandbox(), []
    for run_as in ("one", "one", "another"):
        steps = Counting()
        remember = Remembered(database, steps, run_as)
        found = await measure(
            [TASK, homeless], None, provider=provider, sandbox=sandbox, remember=remember
        )
        assert found == {TASK.task: [True], homeless.task: [True]}
        counts.append([name.split("/")[0] for name in steps.done])
    assert counts == [[TASK.task], [], [TASK.task]], "what a folder decides is asked again"


async def test_tasks_outside_the_domain_follow_from_the_seed_and_can_be_solved(
    tmp_path: Path,
) -> None:
    tasks = generated_tasks(6, tmp_path)
    again = generated_tasks(6, tmp_path / "elsewhere")
    assert [t.task for t in tasks] == [t.task for t in again]
    assert len({t.task for t in (*tasks, *generated_tasks(6, tmp_path, seed=1))}) == 12
    assert sum(t.workspace is not None for t in tasks) == 3, "half need a package"
    rules = [
        {"contains": t.description, "answers": [f"```python\n{t.reference}\n```"]} for t in tasks
    ]
    provider = scripted(tmp_path, *rules)
    found = await measure(tasks, None, provider=provider, sandbox=Sandbox())
    assert list(found.values()) == [[True]] * 6


# --- predictions ------------------------------------------------------------------------------

CODE = "print('loading')\ndef total(xs):\n    return [sum(xs), len(xs) > 2]\n"
TESTS = "assert total([1, 2, 3]) == [6, True]\nassert total([]) == [0, False]\n"


def learnt(code: str = CODE, tests: str = TESTS) -> Trajectory:
    made = draft(
        task_description="Total the list.",
        test_suite=tests,
        attempts=[Attempt(generated_code=code, tests_passed=True)],
    )
    own = {"id": "one", "session_id": "s", "content_hash": "", "created_at": "now"}
    return Trajectory.model_validate(made.model_dump(exclude={"session_id"}) | own)


async def test_programs_are_asked_for_inputs_that_no_test_has(tmp_path: Path) -> None:
    tasks = await predictions([learnt()], Sandbox())
    assert tasks and tasks == await predictions([learnt()], Sandbox())
    for task in tasks:
        assert "return" not in task.description, "the program itself is not shown"
        assert "total([1, 2, 3])" not in task.description
        assert task.trajectory_id == "one" and task.answer is not None
        exec(f"{CODE}\n{task.tests}", {})  # the truth is what the program really gives
    rules = [
        {"contains": tasks[0].description, "answers": [f"```python\n{tasks[0].answer}\n```"]},
        {"contains": "Total", "answers": [CODE]},
    ]
    found = await measure(tasks, None, provider=scripted(tmp_path, *rules), sandbox=Sandbox())
    assert found == {t.task: [n == 0] for n, t in enumerate(tasks)}


@pytest.mark.parametrize(
    ("code", "tests"),
    [
        ("def total(xs):\n    return object()\n", TESTS),
        ("def total(xs):\n    raise ValueError\n", TESTS),
        (CODE, "assert total(make()) == 3\n"),
        (CODE, "assert other([1]) == 3\n"),
        ("not python", TESTS),
    ],
)
async def test_what_gives_no_plain_value_is_not_asked(code: str, tests: str) -> None:
    assert await predictions([learnt(code, tests)], Sandbox()) == []


def test_inputs_are_like_those_of_the_tests_and_follow_from_the_seed() -> None:
    calls = unseen_calls(CODE, TESTS, seed=3)
    assert calls == unseen_calls(CODE, TESTS, seed=3)
    for call in calls:
        assert call.function == "total" and len(call.arguments[0]) == 3
        assert all(isinstance(each, int) for each in call.arguments[0])


@pytest.mark.parametrize(
    ("answer", "expected", "is_same"),
    [
        ("```python\n[6, True]\n```", "[6, True]", True),
        (" [6,\n True] ", "[6, True]", True),
        ("[6, 1]", "[6, True]", False),
        ("(6, True)", "[6, True]", False),
        ("6.0", "6", False),
        ("{'b': 1, 'a': 2}", "{'a': 2, 'b': 1}", False),
        ("sum([6])", "6", False),
        ("it is 6", "6", False),
        ("", "6", False),
        ("(" * 5000, "6", False),
    ],
)
def test_an_answer_is_a_value_of_the_same_types_and_never_run(
    answer: str, expected: str, is_same: bool
) -> None:
    assert same(answer, expected) is is_same
