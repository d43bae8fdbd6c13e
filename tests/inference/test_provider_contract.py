"""What every back-end promises, asked of each of them."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from backends import BACKENDS, Backend
from inference_support import ask

from rune_engine.errors import AdapterBaseModelMismatchError, AdapterCorruptedError
from rune_engine.inference.provider import (
    AdapterRef,
    ChatMessage,
    Generation,
    GenerationRequest,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=BACKENDS)
async def backend(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Backend]:
    folder: Path = request.getfixturevalue("base_folder")
    adapters = [request.getfixturevalue("adapter_a"), request.getfixturevalue("adapter_b")]
    made = BACKENDS[request.param](folder, adapters, tmp_path_factory.mktemp("backend"))
    yield made
    await made.provider.close()


async def test_answers_come_in_the_order_of_the_requests(backend: Backend) -> None:
    requests = [ask("count"), ask("other"), ask("count")]
    together = await backend.provider.generate(requests)
    alone = [(await backend.provider.generate([request]))[0] for request in requests]
    assert together == alone
    assert together[0] != together[1]


async def test_no_requests_get_no_answers(backend: Backend) -> None:
    assert await backend.provider.generate([]) == []


async def test_an_adapter_changes_the_answer_and_is_named_in_it(backend: Backend) -> None:
    [base] = await backend.provider.generate([ask("count")])
    [adapted] = await backend.provider.generate([ask("count")], adapter=backend.adapter)
    assert base.text != adapted.text
    assert (base.adapter_id, adapted.adapter_id) == (None, "adapter-a")


async def test_max_tokens_is_kept_and_reported(backend: Backend) -> None:
    [cut] = await backend.provider.generate([ask("count", max_tokens=3)])
    assert (cut.finish_reason, cut.completion_tokens) == ("length", 3)
    assert cut.prompt_tokens > 0


async def test_the_answer_ends_before_the_stop_string(backend: Backend) -> None:
    [whole] = await backend.provider.generate([ask("count")])
    stop = whole.text[8:11]
    [stopped] = await backend.provider.generate([ask("count", stop=("never said", stop))])
    assert stopped.finish_reason == "stop"
    assert stopped.text == whole.text[: whole.text.index(stop)]


async def test_an_adapter_of_another_base_model_is_refused(backend: Backend) -> None:
    other = dataclasses.replace(backend.adapter, base_model_id="somebody-elses")
    with pytest.raises(AdapterBaseModelMismatchError, match="somebody-elses"):
        await backend.provider.generate([ask("count")], adapter=other)


async def test_changed_weights_are_refused_and_harm_nobody(
    backend: Backend, tmp_path: Path
) -> None:
    before = await backend.provider.generate([ask("count")], adapter=backend.adapter)
    folder = tmp_path / "changed"
    shutil.copytree(backend.adapter.path, folder)
    weights = folder / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    changed = dataclasses.replace(backend.adapter, path=folder)
    with pytest.raises(AdapterCorruptedError, match="hash"):
        await backend.provider.generate([ask("count")], adapter=changed)
    assert await backend.provider.generate([ask("count")], adapter=backend.adapter) == before


async def test_missing_weights_are_refused(backend: Backend, tmp_path: Path) -> None:
    missing = dataclasses.replace(backend.adapter, path=tmp_path)
    with pytest.raises(AdapterCorruptedError, match="cannot be read"):
        await backend.provider.generate([ask("count")], adapter=missing)


async def test_cancelling_ends_a_call_that_would_take_minutes(backend: Backend) -> None:
    call = asyncio.create_task(backend.provider.generate([ask("slow", max_tokens=100_000)]))
    await asyncio.sleep(0.5)
    assert not call.done()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    answers = await asyncio.wait_for(backend.provider.generate([ask("count")]), 60)
    assert len(answers) == 1


async def test_a_closed_provider_may_be_used_again(backend: Backend) -> None:
    before = await backend.provider.generate([ask("count")])
    await backend.provider.close()
    assert backend.provider.status().worker_pids == ()
    assert await backend.provider.generate([ask("count")]) == before


async def test_it_answers_as_before_after_it_slept(backend: Backend) -> None:
    before = await backend.provider.generate([ask("count")])
    await backend.provider.sleep()
    assert backend.provider.status().worker_pids == ()
    await backend.provider.wake()
    assert await backend.provider.generate([ask("count")]) == before


async def test_a_stream_is_the_answer_in_pieces(backend: Backend) -> None:
    for adapter in (None, backend.adapter):
        [answer] = await backend.provider.generate([ask("count")], adapter=adapter)
        *pieces, last = [i async for i in backend.provider.stream(ask("count"), adapter=adapter)]
        assert last == answer
        assert "".join(str(piece) for piece in pieces) == answer.text


async def test_a_stream_never_shows_a_stop_string(backend: Backend) -> None:
    [whole] = await backend.provider.generate([ask("count")])
    request = ask("count", stop=(whole.text[8:11],))
    [answer] = await backend.provider.generate([request])
    *pieces, last = [item async for item in backend.provider.stream(request)]
    assert last == answer
    assert "".join(str(piece) for piece in pieces) == answer.text


async def test_leaving_a_stream_ends_its_generation(backend: Backend) -> None:
    stream = backend.provider.stream(ask("count", max_tokens=100_000))
    await asyncio.wait_for(anext(stream), 60)
    await stream.aclose()  # type: ignore[attr-defined]
    answers = await asyncio.wait_for(backend.provider.generate([ask("count")]), 60)
    assert len(answers) == 1


async def test_raw_text_is_completed_without_a_chat_template(backend: Backend) -> None:
    raw = GenerationRequest(prompt="count the", max_tokens=4)
    [answer] = await backend.provider.generate([raw])
    [longer] = await backend.provider.generate([ask("count the", max_tokens=4)])
    assert 0 < answer.prompt_tokens < longer.prompt_tokens


async def test_log_probabilities_come_when_they_are_asked_for(backend: Backend) -> None:
    [silent] = await backend.provider.generate([ask("count")])
    assert silent.token_logprobs == ()
    [told] = await backend.provider.generate([ask("count", logprobs=True)])
    if backend.has_logprobs:
        assert len(told.token_logprobs) == told.completion_tokens
        assert all(value <= 0 for value in told.token_logprobs)
    assert told.text == silent.text


async def test_a_thousand_calls_in_any_order_never_get_anothers_memory(backend: Backend) -> None:
    """Several at once, prompts that begin alike and go on from one another, streams between."""
    task = "count the words of this sentence and then say which of them are verbs " * 3
    turns = [
        ChatMessage("user", task),
        ChatMessage("assistant", "one"),
        ChatMessage("user", "more"),
    ]
    settings: dict[str, Any] = {"max_tokens": 4, "logprobs": backend.has_logprobs}
    requests = [
        ask("count", **settings),
        ask(f"{task} quickly", **settings),
        GenerationRequest(messages=tuple(turns[:1]), **settings),
        GenerationRequest(messages=tuple(turns), **settings),
        GenerationRequest(prompt="count", **settings),
    ]
    calls = [(r, adapter) for adapter in (None, *backend.adapters) for r in requests]
    known = []
    for number, (request, adapter) in enumerate(calls):
        if number % len(requests) == 0:
            await backend.provider.close()  # so that nobody's memory is there but this one's
        known += await backend.provider.generate([request], adapter=adapter)
    assert known[0].text != known[len(requests)].text
    chosen = random.Random(7)
    most = 1000 if backend.has_logprobs else 200  # what tells none is a stand-in, and slow at HTTP
    done = 0
    while done < most:
        numbers = chosen.choices(range(len(calls)), k=chosen.randint(1, 12))
        answers = await asyncio.gather(*(_asked(backend, *calls[n], n % 5 == 0) for n in numbers))
        for number, answer in zip(numbers, answers, strict=True):
            assert answer.text == known[number].text
            assert answer.adapter_id == known[number].adapter_id
            expected = pytest.approx(known[number].token_logprobs, abs=1e-3)
            assert answer.token_logprobs == expected
        done += len(numbers)


async def _asked(
    backend: Backend, request: GenerationRequest, adapter: AdapterRef | None, streamed: bool
) -> Generation:
    if not streamed:
        return (await backend.provider.generate([request], adapter=adapter))[0]
    *_, last = [item async for item in backend.provider.stream(request, adapter=adapter)]
    assert isinstance(last, Generation)
    return last
