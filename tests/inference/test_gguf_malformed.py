"""Whatever a GGUF file holds, the worker lives, and the right answers stay what they were."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from inference_support import BASE_MODEL_ID, ask
from malformed_gguf import ADAPTERS, BASES, Draft, spoilt

from rune_engine.config import ServingSettings
from rune_engine.errors import BaseModelCorruptedError, InferenceError
from rune_engine.gguf.bases import export_base
from rune_engine.inference.llama import LlamaProvider
from rune_engine.inference.provider import AdapterRef, Generation

pytest.importorskip("llama_cpp")
pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVING = ServingSettings(context=1024, adapter_memory_bytes=0)
"""No memory for adapters that are not in use: each use reads its file again."""


@pytest.fixture(scope="module")
def base_file(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("good") / "base.gguf"
    export_base(base_folder, file, base_model_id=BASE_MODEL_ID)
    return file


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def serving(
    base_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[LlamaProvider, Path]]:
    """A provider with a good base model, and where its adapters' files are kept."""
    cache = tmp_path_factory.mktemp("cache")
    provider = LlamaProvider(BASE_MODEL_ID, base_file, cache, 1, 60.0, serving=SERVING)
    yield provider, cache / "adapters"
    await provider.close()


async def one(provider: LlamaProvider, adapter: AdapterRef | None = None) -> Generation:
    [answer] = await provider.generate([ask("add", max_tokens=6)], adapter=adapter)
    return answer


@pytest.mark.parametrize("what", ADAPTERS)
async def test_a_spoilt_adapter_file_is_made_again(
    serving: tuple[LlamaProvider, Path], adapter_a: AdapterRef, adapter_b: AdapterRef, what: str
) -> None:
    provider, kept = serving
    good, other, base = [await one(provider, a) for a in (adapter_a, adapter_b, None)]
    worker = provider.status().worker_pids
    [file] = kept.glob(f"{adapter_a.sha256}-*.gguf")
    whole = file.read_bytes()
    assert Draft.of(file).to_bytes() == whole
    file.write_bytes(spoilt(ADAPTERS[what], file))
    assert file.read_bytes() != whole
    assert await one(provider, adapter_b) == other
    assert await one(provider, adapter_a) == good
    assert file.read_bytes() == whole
    assert await one(provider) == base
    assert provider.status().worker_pids == worker


async def test_a_spoilt_base_model_is_refused_by_a_worker_that_lives(
    serving: tuple[LlamaProvider, Path], base_file: Path, tmp_path: Path
) -> None:
    good = await one(serving[0])
    file = tmp_path / "base.gguf"
    provider = LlamaProvider(BASE_MODEL_ID, file, tmp_path, 1, 60.0, serving=SERVING)
    workers = set()
    try:
        for what, spoil in BASES.items():
            file.write_bytes(spoilt(spoil, base_file))
            with pytest.raises((BaseModelCorruptedError, InferenceError)) as refused:
                await one(provider)
            assert type(refused.value) in (BaseModelCorruptedError, InferenceError), what
            workers |= set(provider.status().worker_pids)
        file.write_bytes(base_file.read_bytes())
        assert await one(provider) == good
        assert len(workers) == 1
    finally:
        await provider.close()
