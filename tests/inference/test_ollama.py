"""The Ollama back-end against its documented protocol; no real server and no model is involved."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from adapter_files import weights
from inference_support import BASE_MODEL_ID, ask
from ollama_stand_in import Files, Ollama, render, running

from rune_engine.errors import (
    AdapterCorruptedError,
    BackendUnavailableError,
    ContextTooLongError,
    InferenceError,
    InvalidInputError,
)
from rune_engine.inference.ollama.provider import OllamaProvider
from rune_engine.inference.provider import AdapterRef, Generation, GenerationRequest


def adapter(folder: Path, name: str, seed: int) -> AdapterRef:
    made = weights(seed)
    assert isinstance(made.safetensors, bytes)
    path = folder / name
    path.mkdir()
    (path / "adapter_model.safetensors").write_bytes(made.safetensors)
    (path / "adapter_config.json").write_text(json.dumps(made.config))
    return AdapterRef(name, path, hashlib.sha256(made.safetensors).hexdigest(), BASE_MODEL_ID)


@pytest.fixture
def ollama() -> Iterator[Ollama]:
    with running(Ollama()) as server:
        yield server


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
def one(tmp_path: Path) -> AdapterRef:
    return adapter(tmp_path, "one", 1)


@pytest.fixture
def two(tmp_path: Path) -> AdapterRef:
    return adapter(tmp_path, "two", 2)


@asynccontextmanager
async def provider(ollama: Ollama, files: Files, **more: Any) -> AsyncIterator[OllamaProvider]:
    made = OllamaProvider(BASE_MODEL_ID, ollama.url, render, files.gguf(), **more)
    yield made
    await made.close()


async def say(ollama: OllamaProvider, adapter: AdapterRef | None = None, **more: Any) -> Generation:
    [answer] = await ollama.generate([ask("count", **more)], adapter=adapter)
    return answer


async def test_each_adapter_is_a_model_of_its_own_made_once(
    ollama: Ollama, files: Files, one: AdapterRef, two: AdapterRef
) -> None:
    async with provider(ollama, files) as serving:
        asked = [None, one, two, one, None, two] * 5
        answers = await asyncio.gather(*(say(serving, adapter) for adapter in asked))
        alone = {a: await say(serving, a) for a in (None, one, two)}
        assert answers == [alone[adapter] for adapter in asked]
        assert len({answer.text for answer in answers}) == 3
    assert sorted(files.made) == ["base", "lora-one", "lora-two"]
    created = ollama.bodies("/api/create")
    assert ["adapters" in body for body in created] == [False, True, True]
    assert {body["from"] for body in created[1:]} == {created[0]["model"]}


async def test_another_process_finds_the_models_and_uploads_nothing(
    ollama: Ollama, files: Files, one: AdapterRef
) -> None:
    async with provider(ollama, files) as first:
        before = await say(first, one)
    ollama.asked.clear()
    async with provider(ollama, files) as second:
        assert await say(second, one) == before
    assert ollama.bodies("/api/create") == []


async def test_other_bytes_are_another_model(
    ollama: Ollama, files: Files, one: AdapterRef, tmp_path: Path
) -> None:
    moved = adapter(tmp_path, "moved", 9)
    async with provider(ollama, files) as serving:
        await say(serving, one)
        await say(serving, moved)
    assert len(ollama.models) == 3


@pytest.mark.parametrize("engine", ["refuses", "ignores"])
async def test_an_adapter_that_the_engine_does_not_apply_is_merged(
    files: Files, one: AdapterRef, two: AdapterRef, engine: Any
) -> None:
    with running(Ollama(engine)) as ollama:
        async with provider(ollama, files) as serving:
            answers = [await say(serving, adapter) for adapter in (None, one, two)]
            assert len({answer.text for answer in answers}) == 3
            assert [answer.adapter_id for answer in answers] == [None, "one", "two"]
    assert files.made.count("merged-one") == files.made.count("merged-two") == 1
    tried = ["lora-one"] if engine == "refuses" else ["lora-one", "lora-two"]
    assert [name for name in files.made if name.startswith("lora")] == tried


async def test_requests_are_raw_neutral_and_refuse_to_be_cut(ollama: Ollama, files: Files) -> None:
    async with provider(ollama, files, context=512) as serving:
        await say(serving, temperature=0.5, top_p=0.9, seed=7, stop=("\n",), max_tokens=5)
    body = ollama.bodies("/api/generate")[-2]  # before the one that unloads
    assert body["prompt"].startswith("<system> You write Python.") and body["raw"] is True
    assert (body["truncate"], body["shift"]) == (False, False)
    options = body["options"]
    given = ("temperature", "top_p", "seed", "stop", "num_predict", "num_ctx")
    assert [options[name] for name in given] == [0.5, 0.9, 7, ["\n"], 5, 512]
    assert (options["repeat_penalty"], options["top_k"], options["min_p"]) == (1.0, 0, 0.0)


async def test_a_prompt_that_does_not_fit_is_refused(ollama: Ollama, files: Files) -> None:
    async with provider(ollama, files, context=64) as serving:
        with pytest.raises(ContextTooLongError, match="exceeds"):
            await serving.generate([ask("word " * 100)])
        with pytest.raises(InvalidInputError, match="empty"):
            await serving.generate([GenerationRequest(prompt="")])


async def test_leaving_a_stream_closes_its_connection(ollama: Ollama, files: Files) -> None:
    async with provider(ollama, files) as serving:
        stream = serving.stream(ask("slow", max_tokens=100_000))
        assert isinstance(await anext(stream), str)
        assert not ollama.broken_off.is_set()
        await stream.aclose()
        assert await asyncio.to_thread(ollama.broken_off.wait, 30)


async def test_sleep_and_close_free_every_model(
    ollama: Ollama, files: Files, one: AdapterRef
) -> None:
    ollama.loaded.add("somebody-elses:latest")
    async with provider(ollama, files) as serving:
        before = await say(serving, one)
        assert len(ollama.loaded) == 3
        await serving.sleep()
        assert ollama.loaded == {"somebody-elses:latest"}
        assert await say(serving, one) == before
    assert ollama.loaded == {"somebody-elses:latest"}


async def test_a_model_that_was_removed_is_made_again(
    ollama: Ollama, files: Files, one: AdapterRef, two: AdapterRef
) -> None:
    async with provider(ollama, files) as serving:
        before = await say(serving, one)
        ollama.remove_everything()
        assert await say(serving, one) == before
        ollama.remove_everything()
        assert (await say(serving, two)).adapter_id == "two"


async def test_changed_weights_never_reach_the_server(
    ollama: Ollama, files: Files, one: AdapterRef, tmp_path: Path
) -> None:
    shutil.copytree(one.path, tmp_path / "changed")
    with (tmp_path / "changed" / "adapter_model.safetensors").open("ab") as file:
        file.write(b"x")
    changed = dataclasses.replace(one, path=tmp_path / "changed")
    async with provider(ollama, files) as serving:
        with pytest.raises(AdapterCorruptedError, match="hash"):
            await say(serving, changed)
    assert files.made == []


async def test_log_probabilities_are_told_where_the_server_tells_them(
    ollama: Ollama, files: Files
) -> None:
    async with provider(ollama, files) as serving:
        answer = await say(serving, logprobs=True)
    assert len(answer.token_logprobs) == answer.completion_tokens


async def test_a_server_that_is_not_there_is_named(files: Files) -> None:
    unreachable = OllamaProvider(BASE_MODEL_ID, "http://127.0.0.1:9", render, files.gguf())
    with pytest.raises(BackendUnavailableError, match=r"127\.0\.0\.1:9"):
        await say(unreachable)
    await unreachable.close()


async def test_a_server_that_refuses_everything_is_quoted(ollama: Ollama, files: Files) -> None:
    async with provider(ollama, files, context=1) as serving:
        with pytest.raises(InferenceError, match="context of 1 tokens"):
            await say(serving)
