"""The endpoint over a real model, the one that ships, in its worker process."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
import pytest
from engine_support import end_engines
from openai import AsyncOpenAI
from openai_support import reach, user

from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig, load_config

pytest.importorskip("torch")

TASK = user("Write a function `double(x)` that returns twice x.")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuneConfig]:
    home = tmp_path_factory.mktemp("model") / "home"
    config = load_config(home=home, base_model="rune-nano", openai_port=0, model_threads=1)
    yield config
    end_engines(config)


@pytest.fixture
async def sdk(config: RuneConfig) -> AsyncIterator[AsyncOpenAI]:
    async with EngineClient(config) as client:
        endpoint = await reach(config, client)
    async with endpoint.sdk() as sdk:
        yield sdk


async def test_a_stream_comes_in_pieces_and_is_the_whole_answer(sdk: AsyncOpenAI) -> None:
    asked: Any = {"model": "rune", "messages": TASK, "max_tokens": 40}
    whole = await sdk.chat.completions.create(**asked)
    stream = await sdk.chat.completions.create(**asked, stream=True)
    deltas = [c.choices[0].delta.content or "" async for c in stream]
    assert "".join(deltas) == whole.choices[0].message.content
    assert len([delta for delta in deltas if delta]) > 5


async def test_the_chosen_tokens_log_probabilities_are_told(sdk: AsyncOpenAI) -> None:
    answer = await sdk.chat.completions.create(
        model="rune", messages=TASK, max_tokens=8, logprobs=True
    )
    known = answer.choices[0].logprobs
    assert known is not None and known.content is not None and answer.usage is not None
    assert len(known.content) == answer.usage.completion_tokens
    assert all(math.isfinite(token.logprob) and token.logprob <= 0 for token in known.content)
    text = await sdk.completions.create(model="rune", prompt="def ", max_tokens=4, logprobs=1)
    lasting = text.choices[0].logprobs
    assert lasting is not None and lasting.token_logprobs is not None
    assert len(lasting.token_logprobs) == 4 or text.choices[0].finish_reason == "stop"


async def test_raw_text_is_continued_without_a_template(sdk: AsyncOpenAI) -> None:
    prompt = "def double(x):\n    return"
    raw = await sdk.completions.create(model="rune", prompt=prompt, max_tokens=8)
    chat = await sdk.chat.completions.create(model="rune", messages=user(prompt), max_tokens=8)
    assert raw.usage is not None and chat.usage is not None
    assert raw.usage.prompt_tokens < chat.usage.prompt_tokens


async def test_a_seed_makes_sampling_repeatable_and_copies_differ(sdk: AsyncOpenAI) -> None:
    asked: Any = {"model": "rune", "prompt": "def", "max_tokens": 24, "n": 4, "temperature": 1.5}
    first = await sdk.completions.create(**asked, seed=7)
    again = await sdk.completions.create(**asked, seed=7)
    texts = [choice.text for choice in first.choices]
    assert texts == [choice.text for choice in again.choices]
    assert len(set(texts)) > 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_prompt_that_is_too_long_has_the_code_that_clients_know(
    sdk: AsyncOpenAI, stream: bool
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await sdk.chat.completions.create(
            model="rune", messages=user("x = 1\n" * 2000), stream=stream
        )
    assert refused.value.code == "context_length_exceeded"
    assert "4096" in refused.value.message
