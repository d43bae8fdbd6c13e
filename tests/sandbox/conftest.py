"""What the sandbox's tests share: one probed sandbox, and a look at processes from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator

import psutil
import pytest
from watching_runs import Watch

from rune_engine.config import SandboxLimits
from rune_engine.sandbox import Sandbox
from rune_engine.sandbox.verdict import Verdict
from rune_engine.sandbox.zygote import standing


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    return Sandbox(SandboxLimits(wall_seconds=20))


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """After every test here, whatever it did, this process has no descendant but idle zygotes."""
    yield
    _, alive = psutil.wait_procs(_runs(), timeout=5)
    assert alive == []


def _runs() -> list[psutil.Process]:
    """Every descendant of this process that is no zygote, nor the process that keeps one."""
    waiting = {psutil.Process(pid) for pid in standing()}
    waiting |= {child for keeper in waiting for child in keeper.children()}
    return [each for each in psutil.Process().children(recursive=True) if each not in waiting]


@pytest.fixture
def watch() -> Watch:
    """Awaits a run and returns its verdict with every process that was seen meanwhile."""

    async def watched(run: Awaitable[Verdict]) -> tuple[Verdict, list[psutil.Process]]:
        task, seen = asyncio.ensure_future(run), set[psutil.Process]()
        while not task.done():
            seen.update(_runs())
            await asyncio.sleep(0.02)
        return task.result(), list(seen)

    return watched
