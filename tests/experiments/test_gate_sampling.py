"""Answers are drawn once, judged once by the real sandbox, and undecided ones count neither way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from experiments_support import Narrow, answered, fenced, script, small_world

from rune_engine.errors import ContextTooLongError, InferenceError
from rune_engine.experiments import conditions
from rune_engine.experiments.asking import Question, conversation
from rune_engine.experiments.conditions import Asker
from rune_engine.experiments.figures import Bootstrap, pass_figures
from rune_engine.experiments.recording import Taught
from rune_engine.experiments.sampling import Draws, Sampler
from rune_engine.experiments.subjects import GateTask, Subject
from rune_engine.sandbox import Sandbox

DRAWS = Draws(base="b", samples=2, temperature=0.2, max_tokens=64, seed=0)
RIGHT, WRONG = fenced("def add(a, b):\n    return a + b"), fenced("def add(a, b):\n    return 0")
TESTS = "assert add(2, 3) == 5\n"
NO_TESTS = "assert True\n"


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return Sandbox()


def task(key: str, description: str, tests: str = TESTS) -> GateTask:
    return GateTask(key, "kind", description, tests, "")


def question(each: GateTask, workspace: Path) -> Question:
    return Question("s", each, conversation(each), workspace)


def rules(**answers: str) -> list[dict[str, Any]]:
    return [{"contains": words, "answers": [answer]} for words, answer in answers.items()]


async def test_every_sample_gets_a_verdict_and_what_decides_nothing_is_none(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    provider = Narrow(script(tmp_path, rules(right=RIGHT, wrong=WRONG, empty=RIGHT)))
    sampler = Sampler(provider, sandbox, DRAWS, tmp_path / "work")
    tasks = [task("1", "right"), task("2", "wrong"), task("3", "empty", NO_TESTS)]
    found = await sampler.ask([question(each, tmp_path) for each in tasks])
    assert [each.verdicts for each in found] == [(True, True), (False, False), (None, None)]
    assert [each.pass_at_1 for each in found] == [1.0, 0.0, None]
    assert found[0].prompt_tokens > 0
    figures = pass_figures(found, Bootstrap(100, 0))
    assert (figures["pass_at_1"], figures["tasks"]) == (0.5, 2)
    assert (figures["samples"], figures["undecided"]) == (4, 2)


async def test_a_run_that_goes_on_asks_and_judges_nothing_twice(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    provider = Narrow(script(tmp_path, rules(right=RIGHT)))
    asked = [question(task("1", "right"), tmp_path)]
    first = Sampler(provider, sandbox, DRAWS, tmp_path / "work")
    before = await first.ask(asked)
    first.close()
    (tmp_path / "work" / "answers.jsonl").open("ab").write(b'["half a li')
    mute = Narrow(script(tmp_path, rules(nothing=RIGHT)))
    second = Sampler(mute, sandbox, DRAWS, tmp_path / "work")
    assert await second.ask(asked) == before
    assert mute.asked == []
    with pytest.raises(InferenceError):
        await second.ask([question(task("2", "right"), tmp_path)])
    second.close()
    third = Sampler(provider, sandbox, DRAWS, tmp_path / "work")
    assert await third.ask(asked) == before


async def test_draws_differ_by_sample_and_task_but_not_by_condition(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    provider = Narrow(script(tmp_path, rules(right=RIGHT)))
    for work in ("base", "adapter"):
        sampler = Sampler(provider, sandbox, DRAWS, tmp_path / work)
        await sampler.ask([question(task(key, "right"), tmp_path) for key in "12"])
    one, other = [[request.seed for request in call] for call in provider.asked]
    assert one == other
    assert len(set(one)) == 4
    assert {request.temperature for call in provider.asked for request in call} == {0.2}


async def test_fewer_draws_are_the_first_of_more(tmp_path: Path, sandbox: Sandbox) -> None:
    provider = Narrow(script(tmp_path, rules(right=RIGHT)))
    sampler = Sampler(provider, sandbox, DRAWS, tmp_path / "work")
    asked = [question(task("1", "right"), tmp_path)]
    [more], [fewer] = await sampler.ask(asked), await sampler.drawing(1).ask(asked)
    assert (len(more.verdicts), len(fewer.verdicts)) == (2, 1)
    assert provider.asked[1] == provider.asked[0][:1]


async def test_a_question_that_does_not_fit_is_undecided_and_the_others_are_asked(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    provider = Narrow(script(tmp_path, rules(right=RIGHT)), words=30)
    sampler = Sampler(provider, sandbox, DRAWS, tmp_path / "work")
    tasks = [task("1", "right"), task("2", "right " * 50)]
    found = await sampler.ask([question(each, tmp_path) for each in tasks])
    assert [each.verdicts for each in found] == [(True, True), (None, None)]
    with pytest.raises(ContextTooLongError):
        await sampler.ask([question(task("3", "right " * 60), tmp_path)], whole=True)


async def test_where_the_context_is_short_the_newest_sessions_are_kept(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    world = small_world(tmp_path / "workspace")
    provider = Narrow(script(tmp_path, rules(In=RIGHT)), words=150)
    asker = Asker([world], Sampler(provider, sandbox, DRAWS, tmp_path / "work"), sandbox)
    found, shown = await asker.in_context()
    [count] = shown.values()
    assert 0 < count < len(world.trajectories)
    assert len(found) == len(world.subject.tasks)
    told = " ".join(message.content for message in provider.asked[-1][-1].messages)
    descriptions = [trajectory.task_description for trajectory in world.trajectories]
    assert all(each in told for each in descriptions[-count:])
    assert not any(each in told for each in descriptions[:-count])
    assert [len(call) for call in provider.asked] == [1, 2 * len(world.subject.tasks) - 1]


async def test_a_wrong_attempt_is_shown_with_what_the_sandbox_printed(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    wrong = replace(task("1", "right"), wrong="def added(a, b):\n    return a + b")
    passing = replace(task("2", "right"), wrong="def add(a, b):\n    return a + b")
    world = Taught(Subject("s", 0, (), (wrong, passing)), (), tmp_path)
    provider = Narrow(script(tmp_path, rules(right=RIGHT)))
    asker = Asker([world], Sampler(provider, sandbox, DRAWS, tmp_path / "work"), sandbox)
    found = await asker.repaired(in_context=False)
    assert [each.task for each in found] == ["1"], "what passes is no failed attempt"
    told = provider.asked[0][0].messages
    assert "def added" in told[-2].content
    assert "NameError" in told[-1].content


async def test_one_subjects_failure_is_the_runs(tmp_path: Path, sandbox: Sandbox) -> None:
    provider = Narrow(script(tmp_path, rules(nothing=RIGHT)))
    worlds = [small_world(tmp_path / str(n), n) for n in (0, 1)]
    asker = Asker(worlds, Sampler(provider, sandbox, DRAWS, tmp_path / "work"), sandbox)
    with pytest.raises(InferenceError):
        await asker.alone()


def test_wrong_adapters_come_from_the_next_project_of_the_seed(tmp_path: Path) -> None:
    subjects = {"a": 1, "b": 1, "c": 2, "d": 2, "e": 2}
    worlds = [Taught(Subject(n, g, (), ()), (), tmp_path) for n, g in subjects.items()]
    made: dict[str, Any] = {name: name.upper() for name in subjects}
    assert conditions.lent(worlds, made) == {"a": "B", "b": "A", "c": "D", "d": "E", "e": "C"}
    assert conditions.lent(worlds[:3], made) == {"a": "B", "b": "C", "c": "A"}
    assert conditions.lent(worlds[:1], made) is None


def test_gains_are_paired_by_task() -> None:
    """Tasks that were decided on one side only count in neither."""
    base = [answered("p", str(n), [verdict]) for n, verdict in enumerate((True, False, None))]
    other = [answered("p", str(n), [verdict]) for n, verdict in enumerate((True, True, True))]
    gain = Bootstrap(200, 0).gain(other, base)
    assert gain is not None
    assert (gain.value, gain.tasks) == (0.5, 2)
