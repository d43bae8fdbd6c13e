"""When the machine or the harness fails, there is no verdict: never a fail of the candidate's."""

from __future__ import annotations

import asyncio
import signal
import sys

import psutil
import pytest

from rune_engine.config import SandboxLimits
from rune_engine.sandbox import Sandbox
from rune_engine.sandbox.verdict import Verdict

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux mechanisms")
NAME = "rune-i-test"
TESTS = "assert add(1, 2) == 3\n"
SLOW = f"""
import ctypes, time
ctypes.CDLL(None).prctl(15, b"{NAME}", 0, 0, 0)

def add(a, b):
    time.sleep(1)
    return a + b
"""


async def _candidate() -> psutil.Process:
    """The candidate's process, once it has named itself."""
    async with asyncio.timeout(30):
        while True:
            for process in psutil.process_iter(["name"]):
                if process.info["name"] == NAME:
                    return process
            await asyncio.sleep(0.01)


async def _run_and_kill(sandbox: Sandbox, *, harness: bool) -> Verdict:
    await sandbox.probe()
    task = asyncio.create_task(sandbox.run(SLOW, TESTS, limits=SandboxLimits(wall_seconds=30)))
    process = await _candidate()
    victim = process.parent() if harness else process
    assert victim is not None
    victim.kill()
    return await task


async def test_a_candidate_killed_from_outside_is_no_verdict(sandbox: Sandbox) -> None:
    verdict = await _run_and_kill(sandbox, harness=False)
    assert verdict.kind == "infra", verdict


async def test_a_harness_that_dies_is_no_verdict(sandbox: Sandbox) -> None:
    """The engine may run it again: then the verdict is the second run's."""
    verdict = await _run_and_kill(sandbox, harness=True)
    assert verdict.kind in ("infra", "pass"), verdict
    assert (await sandbox.run("def add(a, b): return a + b", TESTS)).kind == "pass"


async def test_a_harness_that_hangs_is_no_verdict(sandbox: Sandbox) -> None:
    """A harness that no longer answers is given up, and is not held against the candidate."""
    await sandbox.probe()
    for process in psutil.Process().children(recursive=True):
        process.send_signal(signal.SIGSTOP)
    verdict = await sandbox.run("def add(a, b): return a + b", TESTS)
    assert verdict.kind in ("infra", "pass"), verdict
    assert (await sandbox.run("def add(a, b): return a + b", TESTS)).kind == "pass"
