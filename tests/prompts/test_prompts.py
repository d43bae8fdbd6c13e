from __future__ import annotations

import jinja2
import pytest

import prompts


def test_a_conversation_ends_with_what_the_user_wants() -> None:
    messages = prompts.conversation("Sum them.")
    assert [m["role"] for m in messages] == ["system", "user"]
    assert "Sum them." in messages[-1]["content"]


def test_failed_attempts_stand_between_task_and_correction_in_order() -> None:
    messages = prompts.conversation("Sum them.", [("a = 1", "first error"), ("a = 2", "second")])
    roles = [m["role"] for m in messages]
    assert roles == ["system", "user", "assistant", "user", "assistant", "user"]
    assert "a = 1" in messages[2]["content"] and "first error" in messages[3]["content"]
    assert "a = 2" in messages[4]["content"] and "second" in messages[5]["content"]


def test_a_missing_variable_is_an_error_not_an_empty_prompt() -> None:
    with pytest.raises(jinja2.UndefinedError):
        prompts.render("task")


def test_code_is_put_into_an_answer_unescaped() -> None:
    assert prompts.render("answer", code="if a < b: pass") == "```python\nif a < b: pass\n```"
