"""The scripted back-end's own rules; what it shares with others is in the contract tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from inference_support import ask

from rune_engine.errors import InferenceError, InvalidInputError
from rune_engine.inference.provider import AdapterRef, ChatMessage, GenerationRequest
from rune_engine.inference.scripted import ScriptedProvider


def attempt(number: int) -> GenerationRequest:
    """The `number`-th attempt at the task "add"."""
    messages = [ChatMessage("user", "add")]
    for _ in range(number - 1):
        messages += [ChatMessage("assistant", "tried"), ChatMessage("user", "That failed")]
    return GenerationRequest(messages=tuple(messages))


async def test_each_attempt_gets_its_answer_and_the_last_repeats(tmp_path: Path) -> None:
    script = tmp_path / "script.jsonl"
    rules = [{"contains": "other", "answers": ["x"]}, {"contains": "add", "answers": ["1", "2"]}]
    script.write_text("\n".join(map(json.dumps, rules)) + "\n\n")
    provider = ScriptedProvider(script)
    answers = await provider.generate([attempt(1), attempt(2), attempt(3)])
    assert [answer.text for answer in answers] == ["1", "2", "2"]


async def test_tokens_are_words(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps([{"contains": "add", "answers": ["one  two\nthree"]}]))
    [whole] = await ScriptedProvider(script).generate([attempt(1)])
    assert (whole.prompt_tokens, whole.completion_tokens, whole.finish_reason) == (1, 3, "stop")


async def test_a_task_no_rule_answers_says_what_to_add(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps([{"contains": "add", "answers": ["1"]}]))
    with pytest.raises(InferenceError, match="multiply") as raised:
        await ScriptedProvider(script).generate([ask("multiply")])
    assert "contains" in raised.value.next_step


@pytest.mark.parametrize(
    "content",
    ["{", '[{"contains": "a"}]', '[{"contains": "a", "answers": []}]', '{"contain": "a"}'],
)
def test_a_file_that_is_no_script_is_refused(tmp_path: Path, content: str) -> None:
    script = tmp_path / "script.json"
    script.write_text(content)
    with pytest.raises(InvalidInputError, match="script"):
        ScriptedProvider(script)


async def test_a_rule_may_ask_for_any_adapter(tmp_path: Path, adapter_a: AdapterRef) -> None:
    script = tmp_path / "script.json"
    rules = [
        {"contains": "add", "answers": ["learnt"], "adapter_id": "*"},
        {"contains": "add", "answers": ["plain"]},
    ]
    script.write_text(json.dumps(rules))
    provider = ScriptedProvider(script, adapter_a.base_model_id)
    [plain] = await provider.generate([attempt(1)])
    [learnt] = await provider.generate([attempt(1)], adapter=adapter_a)
    assert (plain.text, learnt.text) == ("plain", "learnt")
