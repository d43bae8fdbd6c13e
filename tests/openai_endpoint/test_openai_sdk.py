"""The OpenAI SDK as it is, against a real engine."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai_support import Endpoint, store_adapter, teach_adapter, user

from rune_engine.config import RuneConfig

PROJECT = "github.com/acme/shop"
WHICH = user("Which memory answers?")
TOTAL = "In zabuto: total the invoices. Which memory answers?"


@pytest.fixture(scope="module")
def adapter_id(config: RuneConfig) -> str:
    return store_adapter(config, project_id=PROJECT).id


def memory_of(answer: Any) -> tuple[str, str | None, str]:
    """An answer's text, the adapter it names, and its model."""
    return answer.choices[0].message.content, answer.rune["adapter_id"], answer.model


async def test_models_are_listed_and_each_answers_to_its_name(
    sdk: AsyncOpenAI, adapter_id: str
) -> None:
    names = [model.id async for model in sdk.models.list()]
    assert names == ["rune", "rune:base", f"rune@{PROJECT}", f"rune:{adapter_id}"]
    for name in names:
        assert (await sdk.models.retrieve(name)).id == name
        assert (await sdk.chat.completions.create(model=name, messages=WHICH)).choices
    with pytest.raises(openai.NotFoundError):
        await sdk.models.retrieve("gpt-4o")


async def test_the_models_name_chooses_the_memory(sdk: AsyncOpenAI, adapter_id: str) -> None:
    ask = sdk.chat.completions.create
    with_memory = ("a memory", adapter_id, f"rune:{adapter_id}")
    without = ("no memory", None, "rune:base")
    assert memory_of(await ask(model=f"rune@{PROJECT}", messages=WHICH)) == with_memory
    assert memory_of(await ask(model=f"rune:{adapter_id}", messages=WHICH)) == with_memory
    assert memory_of(await ask(model="rune:base", messages=WHICH)) == without
    assert memory_of(await ask(model="rune", messages=WHICH)) == without
    assert memory_of(await ask(model="rune@other", messages=WHICH)) == without


async def test_without_a_project_the_users_words_tell_whose_memory_answers(
    sdk: AsyncOpenAI, config: RuneConfig
) -> None:
    taught = {
        name: teach_adapter(config, number, name, f"In {name}: {{}} {about}")
        for number, (name, about) in enumerate(
            {"zabuto": "the invoices", "mirola": "the comments", "tekavu": "a route"}.items()
        )
    }
    ask = sdk.chat.completions.create
    named = await ask(model="rune", messages=user(TOTAL))
    assert named.model == f"rune:{taught['zabuto']}"
    assert named.model_extra["rune"]["project_id"] == "zabuto"
    other = await ask(model="rune", messages=WHICH)
    assert other.model == "rune:base"
    elsewhere = await ask(model="rune@stranger", messages=user(TOTAL))
    assert elsewhere.model == "rune:base", "a named project gets no other project's memory"


async def test_headers_name_the_task_and_tell_the_choice(
    endpoint: Endpoint, adapter_id: str, config: RuneConfig
) -> None:
    special = store_adapter(
        config, 1, project_id="lib", domain="web", task_type="fix", hierarchy_level="task"
    )
    task = {"X-Rune-Project": "lib", "X-Rune-Domain": "web", "X-Rune-Task-Type": "fix"}
    async with endpoint.sdk(default_headers=task) as sdk:
        ask = sdk.chat.completions.with_raw_response.create
        chosen = await ask(model="rune", messages=WHICH)
        assert chosen.headers["x-rune-adapter"] == special.id
        assert chosen.headers["x-rune-project"] == "lib"
        assert "task type fix" in chosen.headers["x-rune-reason"]
        other = await ask(model="rune", messages=WHICH, extra_headers={"X-Rune-Domain": "cli"})
        assert other.headers["x-rune-adapter"] == "none"
        named = await ask(model=f"rune@{PROJECT}", messages=WHICH)
        assert named.headers["x-rune-adapter"] == adapter_id
        with pytest.raises(openai.BadRequestError, match="x-rune-project"):
            await ask(model="rune", messages=WHICH, extra_headers={"X-Rune-Project": "../x"})


async def test_a_stream_has_the_same_text_its_memory_and_its_tokens(
    sdk: AsyncOpenAI, adapter_id: str
) -> None:
    ask = sdk.chat.completions.create
    whole = await ask(model=f"rune@{PROJECT}", messages=WHICH)
    options: Any = {"include_usage": True}
    stream = await ask(model=f"rune@{PROJECT}", messages=WHICH, stream=True, stream_options=options)
    assert stream.response.headers["x-rune-adapter"] == adapter_id
    chunks = [chunk async for chunk in stream]
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    first: Any = chunks[0]
    assert first.rune["adapter_id"] == adapter_id
    assert {chunk.model for chunk in chunks} == {f"rune:{adapter_id}"}
    assert len({chunk.id for chunk in chunks}) == 1
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].choices == [] and chunks[-1].usage == whole.usage
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)


async def test_several_answers_are_made_at_once(sdk: AsyncOpenAI) -> None:
    ask = sdk.chat.completions.create
    whole = await ask(model="rune", messages=user("Echo"), n=3)
    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    assert whole.usage is not None
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (1, 15)
    texts, ended = {0: "", 1: "", 2: ""}, []
    async for chunk in await ask(model="rune", messages=user("Echo"), n=3, stream=True):
        [choice] = chunk.choices
        texts[choice.index] += choice.delta.content or ""
        ended += [choice.index] if choice.finish_reason else []
    assert set(texts.values()) == {"one two three four five"} and sorted(ended) == [0, 1, 2]


async def test_raw_text_is_completed(sdk: AsyncOpenAI) -> None:
    ask = sdk.completions.create
    whole = await ask(model="rune", prompt=["Echo a", "Which memory"], max_tokens=3)
    texts = [(choice.text, choice.finish_reason) for choice in whole.choices]
    assert texts == [("one two three", "length"), ("no memory", "stop")]
    stream = await ask(model="rune", prompt="Echo", stop=[" four", ""], stream=True)
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].text for chunk in chunks) == "one two three"
    assert chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("limit", [{"max_tokens": 2}, {"max_completion_tokens": 2}])
async def test_both_names_of_the_token_limit_are_kept(
    sdk: AsyncOpenAI, limit: dict[str, int]
) -> None:
    given: Any = limit
    answer = await sdk.chat.completions.create(model="rune", messages=user("Echo"), **given)
    assert answer.choices[0].message.content == "one two"
    assert answer.choices[0].finish_reason == "length"


async def test_a_stop_string_may_stand_alone(sdk: AsyncOpenAI) -> None:
    answer = await sdk.chat.completions.create(model="rune", messages=user("Echo"), stop=" two")
    assert answer.choices[0].message.content == "one"


async def test_a_wrong_key_and_a_wrong_model_raise_the_sdks_own_errors(
    sdk: AsyncOpenAI, endpoint: Endpoint
) -> None:
    async with endpoint.sdk(api_key="rune-wrong") as stranger:
        with pytest.raises(openai.AuthenticationError) as refused:
            await stranger.models.list()
    assert refused.value.code == "invalid_api_key"
    for model in ("gpt-4o", "rune:no-such-adapter", "rune:../x", "rune@../x", "runes"):
        with pytest.raises(openai.NotFoundError) as missing:
            await sdk.chat.completions.create(model=model, messages=WHICH)
        assert (missing.value.code, missing.value.param) == ("model_not_found", "model")


async def test_an_adapter_of_another_base_model_is_refused_once(
    endpoint: Endpoint, config: RuneConfig
) -> None:
    other = store_adapter(config, 2, base_model_id="somebody-elses", project_id="else")
    async with endpoint.sdk(max_retries=5) as sdk:
        with pytest.raises(openai.BadRequestError, match="somebody-elses"):
            await sdk.chat.completions.create(model=f"rune:{other.id}", messages=WHICH)


async def test_a_failure_of_the_model_is_an_error_with_or_without_a_stream(
    sdk: AsyncOpenAI,
) -> None:
    for stream in (False, True):
        with pytest.raises(openai.InternalServerError, match="No rule of the script") as failed:
            await sdk.chat.completions.create(
                model="rune", messages=user("something unheard of"), stream=stream
            )
        assert failed.value.code == "inference_error"
        assert failed.value.response.headers["x-should-retry"] == "false"


REFUSED: dict[str, dict[str, Any]] = {
    "response_format": {"response_format": {"type": "json_object"}},
    "top_logprobs": {"logprobs": True, "top_logprobs": 3},
    "tool_choice": {"tool_choice": "required", "tools": []},
    "temperature": {"temperature": 3},
    "top_p": {"top_p": float(2)},
    "n": {"n": 1000},
    "max_tokens": {"max_tokens": 0},
    "messages": {"messages": []},
}


@pytest.mark.parametrize("param", REFUSED)
async def test_what_cannot_be_honoured_is_refused_by_its_name(sdk: AsyncOpenAI, param: str) -> None:
    body: Any = {"model": "rune", "messages": WHICH, **REFUSED[param]}
    with pytest.raises(openai.BadRequestError) as refused:
        await sdk.chat.completions.create(**body)
    assert refused.value.param == param and param in refused.value.message


@pytest.mark.parametrize(
    "given",
    [{"prompt": [1, 2]}, {"suffix": "x"}, {"echo": True}, {"best_of": 2}, {"logprobs": 5}],
    ids=lambda given: next(iter(given)),
)
async def test_a_completion_that_cannot_be_made_is_refused(
    sdk: AsyncOpenAI, given: dict[str, Any]
) -> None:
    body: Any = {"model": "rune", "prompt": "Echo", **given}
    with pytest.raises(openai.BadRequestError) as refused:
        await sdk.completions.create(**body)
    assert refused.value.param == next(iter(given))


async def test_tools_that_may_be_used_are_ignored_and_named(sdk: AsyncOpenAI) -> None:
    tool: Any = {"type": "function", "function": {"name": "ls", "parameters": {}}}
    answer: Any = await sdk.chat.completions.create(
        model="rune", messages=user("Echo"), tools=[tool], presence_penalty=0.5, user="me"
    )
    assert answer.rune["ignored"] == ["presence_penalty", "tools"]
    assert answer.choices[0].message.tool_calls is None
