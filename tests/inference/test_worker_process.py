"""The worker's life: started when needed, replaced when killed, never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from inference_support import BASE_MODEL_ID, ask

from rune_engine.errors import MissingExtraError, WorkerDiedError
from rune_engine.inference.transformers import TransformersProvider

ENDLESS = ask("add", max_tokens=100_000)


@pytest_asyncio.fixture
async def provider(base_folder: Path) -> AsyncIterator[TransformersProvider]:
    provider = TransformersProvider(BASE_MODEL_ID, base_folder, 1, 60.0)
    yield provider
    await provider.close()


def is_gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 60
    while not is_gone(pid):
        assert time.monotonic() < deadline, f"process {pid} still runs"
        time.sleep(0.05)


async def test_nothing_runs_before_the_first_call_or_after_close(
    provider: TransformersProvider,
) -> None:
    assert not provider.status().loaded
    await provider.generate([ask("add")])
    status = provider.status()
    assert status.loaded
    [pid] = status.worker_pids
    assert not is_gone(pid)
    await provider.close()
    assert is_gone(pid)
    assert not provider.status().loaded


async def test_a_killed_worker_fails_its_calls_and_the_next_call_works(
    provider: TransformersProvider,
) -> None:
    before = await provider.generate([ask("add")])
    [pid] = provider.status().worker_pids
    calls = [asyncio.create_task(provider.generate([ENDLESS])) for _ in range(2)]
    await asyncio.sleep(0.3)
    os.kill(pid, signal.SIGKILL)
    failures = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 60)
    assert all(isinstance(failure, WorkerDiedError) for failure in failures)
    assert "-9" in str(failures[0])
    assert await provider.generate([ask("add")]) == before
    assert provider.status().worker_pids != (pid,)


async def test_a_worker_killed_while_idle_is_replaced_without_an_error(
    provider: TransformersProvider,
) -> None:
    before = await provider.generate([ask("add")])
    [pid] = provider.status().worker_pids
    os.kill(pid, signal.SIGKILL)
    wait_until_gone(pid)
    assert await provider.generate([ask("add")]) == before


async def test_an_idle_worker_is_ended_and_started_again_by_the_next_call(
    base_folder: Path,
) -> None:
    provider = TransformersProvider(BASE_MODEL_ID, base_folder, 1, 0.05)
    before = await provider.generate([ask("add")])
    deadline = time.monotonic() + 60
    while provider.status().loaded:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert await provider.generate([ask("add")]) == before
    await provider.close()


async def test_a_base_model_that_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    provider = TransformersProvider("broken", tmp_path, 1, 60.0)
    with pytest.raises(WorkerDiedError, match=r"status 1\. It last said: (.|\n)*tokenizer"):
        await provider.generate([ask("add")])
    await provider.close()


PARENT = """
import asyncio, sys
from pathlib import Path
from rune_engine.inference.provider import ChatMessage, GenerationRequest
from rune_engine.inference.transformers import TransformersProvider

async def main():
    provider = TransformersProvider("tiny-random", Path(sys.argv[1]), 1, 60.0)
    request = GenerationRequest(messages=(ChatMessage("user", "add"),), max_tokens=2)
    await provider.generate([request])
    print(provider.status().worker_pids[0], flush=True)
    await provider.generate([GenerationRequest(request.messages, max_tokens=100_000)])

asyncio.run(main())
"""


def test_the_worker_ends_when_its_engine_is_killed(base_folder: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(base_folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert not is_gone(worker)
        parent.kill()
    wait_until_gone(worker)


async def test_without_the_torch_extra_the_error_names_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    provider = TransformersProvider("any", tmp_path, 1, 60.0)
    with pytest.raises(MissingExtraError, match=r"rune-mcp\[torch\]") as raised:
        await provider.generate([ask("add")])
    assert "peft" in raised.value.message
