"""Answers outlive a run that was killed, and nothing is asked twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.lifecycle.__main__ import main
from benchmarks.lifecycle.asking import NONE, Answers
from benchmarks.lifecycle.worlds import Settings, make_world
from rune_engine.errors import InvalidInputError

TASKS = make_world(Settings(projects=1, sessions=4, days=1, tasks=1)).tasks


def _answer(policy: str, number: int, adapter_id: str | None) -> dict[str, object]:
    task = TASKS[number].key
    return {"policy": policy, "task": task, "passed": True, "adapter_id": adapter_id, "reason": ""}


def test_what_was_answered_before_a_kill_is_known_and_what_was_cut_off_is_asked_again(
    tmp_path: Path,
) -> None:
    file = tmp_path / "answers.jsonl"
    answers = Answers(file)
    answers.add(_answer("rune", 0, "a"))
    answers.close()
    with file.open("a", encoding="utf-8") as cut:
        cut.write('{"policy": "rune", "task": "' + TASKS[1].key)
    known = Answers(file)
    assert known.missing("rune", TASKS) == [TASKS[1]]
    known.add(_answer("rune", 1, None))
    known.close()
    again = Answers(file)
    assert again.missing("rune", TASKS) == []
    assert again.of("rune")[TASKS[1].key]["adapter_id"] is None
    again.close()


def test_a_task_that_an_adapter_has_answered_is_not_put_to_it_again(tmp_path: Path) -> None:
    answers = Answers(tmp_path / "answers.jsonl")
    answers.add(_answer("rune", 0, "a"))
    answers.add(_answer("rune", 1, None))
    first, second = (task.key for task in TASKS)
    assert (answers.same(first, "a") or {})["policy"] == "rune"
    assert answers.same(first, "b") is None
    assert answers.same(first, NONE) is None
    assert answers.same(second, NONE) is not None
    answers.close()


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"seed": 7}', encoding="utf-8")
    with pytest.raises(InvalidInputError, match="other settings"):
        main(["--work", str(tmp_path), "--quick"])
