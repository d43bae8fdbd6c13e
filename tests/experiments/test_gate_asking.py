"""What is put to the model is what the agent loop would put, with the sessions before it."""

from __future__ import annotations

from pathlib import Path

from experiments_support import small_world

import prompts
from rune_engine.experiments.asking import conversation
from rune_engine.feedback import failure_output
from rune_engine.models import Attempt


def test_alone_a_task_is_asked_as_the_agent_loop_asks_it(tmp_path: Path) -> None:
    task = small_world(tmp_path).subject.tasks[0]
    asked = [(m.role, m.content) for m in conversation(task)]
    assert asked == [(m["role"], m["content"]) for m in prompts.conversation(task.description)]


def test_sessions_stand_before_the_task_oldest_first_with_what_failed_in_them(
    tmp_path: Path,
) -> None:
    world = small_world(tmp_path, 1)
    messages = conversation(world.subject.tasks[0], world.trajectories)
    assert [m.role for m in messages].count("system") == 1
    assert messages[-1].content == world.subject.tasks[0].description
    contents = [message.content for message in messages]
    places = [contents.index(trajectory.task_description) for trajectory in world.trajectories]
    assert places == sorted(places)
    repaired = [t for t in world.trajectories if len(t.attempts) > 1]
    assert repaired
    for trajectory in repaired:
        place = contents.index(trajectory.task_description)
        wrong, right = trajectory.attempts
        assert contents[place + 1 : place + 4] == [
            prompts.render("answer", code=wrong.generated_code),
            prompts.render("repair", output=failure_output(wrong)),
            prompts.render("answer", code=right.generated_code),
        ]
    roles = [message.role for message in messages[1:]]
    assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]


def test_an_own_failed_attempt_comes_last(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    failed = Attempt(generated_code="wrong()", stderr="NameError: wrong", tests_passed=False)
    messages = conversation(world.subject.tasks[0], world.trajectories, [failed])
    assert [m.role for m in messages[-3:]] == ["user", "assistant", "user"]
    assert "wrong()" in messages[-2].content
    assert "NameError: wrong" in messages[-1].content
