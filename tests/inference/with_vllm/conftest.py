"""A provider on a real vLLM server, and what PEFT says in float32."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from inference_support import BASE_MODEL_ID
from running_vllm import running_vllm

from rune_engine.inference.provider import AdapterRef, GenerationRequest
from rune_engine.inference.vllm.chat import read_chat_format
from rune_engine.inference.vllm.provider import VllmProvider

Reference = Callable[[GenerationRequest, AdapterRef | None], tuple[float, ...]]


@pytest.fixture(scope="session")
def url(base_folder: Path) -> str:
    return running_vllm(base_folder)


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    return tmp_path / "staging"


@pytest_asyncio.fixture(loop_scope="module")
async def provider(url: str, base_folder: Path, staging: Path) -> AsyncIterator[VllmProvider]:
    provider = VllmProvider(BASE_MODEL_ID, base_folder, url, staging=staging)
    yield provider
    await provider.close()


@pytest_asyncio.fixture(loop_scope="module")
async def direct(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """The server itself, past our provider."""
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=120) as client:
        yield client


@pytest.fixture(scope="session")
def reference(base_folder: Path) -> Reference:
    """Plain Transformers and PEFT in float32: a greedy answer's log-probabilities."""
    torch = pytest.importorskip("torch")
    from transformers import AutoTokenizer

    chat = read_chat_format(base_folder)
    tokenizer = AutoTokenizer.from_pretrained(base_folder)

    @cache
    def model(adapter: AdapterRef | None) -> Any:
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32).eval()
        return PeftModel.from_pretrained(base, adapter.path).eval() if adapter else base

    @cache
    def logprobs(request: GenerationRequest, adapter: AdapterRef | None) -> tuple[float, ...]:
        ids = tokenizer(chat.prompt(request), add_special_tokens=False)["input_ids"]
        said: list[float] = []
        for _ in range(request.max_tokens):
            with torch.inference_mode():
                last = model(adapter)(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
            ids.append(int(last.argmax()))
            said.append(float(last.max()))
        return tuple(said)

    return logprobs
