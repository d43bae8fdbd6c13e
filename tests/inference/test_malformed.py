"""No file that a user could hand us is loaded, and none does harm."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from backends import BACKENDS, Backend
from inference_support import ask
from malformed import MALFORMED, Malformed

from rune_engine.errors import AdapterCorruptedError
from rune_engine.inference.adapter_files import check_adapter
from rune_engine.inference.provider import AdapterRef


def test_the_catalogue_is_not_a_small_one() -> None:
    assert len(MALFORMED) >= 100
    assert len({entry.what for entry in MALFORMED}) == len(MALFORMED)


def test_the_adapter_that_is_spoilt_is_a_good_one(adapter_a: AdapterRef) -> None:
    check_adapter(adapter_a)


@pytest.mark.parametrize("malformed", MALFORMED, ids=lambda entry: entry.what)
def test_the_strict_check_refuses_it(
    malformed: Malformed, adapter_a: AdapterRef, tmp_path: Path
) -> None:
    adapter = malformed.make(adapter_a, tmp_path / "adapter")
    if malformed.only_the_model_can_tell:
        check_adapter(adapter)
        return
    with pytest.raises(AdapterCorruptedError) as refused:
        check_adapter(adapter)
    assert "malformed-adapter cannot be loaded: " in refused.value.message
    assert len(refused.value.message) < 2000


@pytest_asyncio.fixture(params=[name for name in BACKENDS if name != "scripted"])
async def backend(
    request: pytest.FixtureRequest,
    base_folder: Path,
    adapter_a: AdapterRef,
    adapter_b: AdapterRef,
    tmp_path: Path,
) -> AsyncIterator[Backend]:
    made = BACKENDS[request.param](base_folder, [adapter_a, adapter_b], tmp_path)
    yield made
    await made.provider.close()


async def test_none_of_them_crashes_a_back_end_or_changes_its_answers(
    backend: Backend, tmp_path: Path
) -> None:
    adapters = (None, backend.adapter)
    request = ask("count", max_tokens=8, logprobs=backend.has_logprobs)
    before = [(await backend.provider.generate([request], adapter=a))[0] for a in adapters]
    pids = backend.provider.status().worker_pids
    has_model = backend.has_logprobs  # what tells none is a stand-in
    told = [each for each in MALFORMED if has_model or not each.only_the_model_can_tell]
    for number, malformed in enumerate(told):
        adapter = malformed.make(backend.adapter, tmp_path / str(number))
        with pytest.raises(AdapterCorruptedError) as refused:
            await backend.provider.generate([request], adapter=adapter)
            pytest.fail(f"{malformed.what} was served")
        assert adapter.id in refused.value.message
    assert backend.provider.status().worker_pids == pids
    for adapter, known in zip(adapters, before, strict=True):
        [after] = await backend.provider.generate([request], adapter=adapter)
        assert after.text == known.text
        assert after.token_logprobs == pytest.approx(known.token_logprobs, abs=1e-4)
