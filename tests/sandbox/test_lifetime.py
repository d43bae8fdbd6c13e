"""Nothing outlives a run, however it ends; and where the walls do not hold, nothing is run."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from rune_engine.config import SandboxLimits
from rune_engine.errors import SandboxUnavailableError
from rune_engine.sandbox import Sandbox, probe
from rune_engine.sandbox.verdict import Pass, Verdict

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux mechanisms")
ROOT = Path(__file__).parents[2]
LONG = SandboxLimits(wall_seconds=120, cpu_seconds=100)
SPIN = "import time\nwhile True: time.sleep(0.01)"
ENGINE = f"""
import asyncio
from rune_engine.config import SandboxLimits
from rune_engine.sandbox import Sandbox
limits = SandboxLimits(wall_seconds=120)
asyncio.run(Sandbox(limits).run({SPIN!r}, "assert True"))
"""


def _isolated(parent: psutil.Process) -> list[psutil.Process]:
    """Keeper, zygote, warden and candidate, once all four are there."""
    with suppress(psutil.NoSuchProcess):
        for keeper in parent.children():
            below = keeper.children(recursive=True)
            if len(below) == 3:
                return [keeper, *below]
    return []


async def _appear(parent: psutil.Process) -> list[psutil.Process]:
    async with asyncio.timeout(30):
        while True:
            if found := _isolated(parent):
                return found
            await asyncio.sleep(0.005)


def _all_gone(processes: list[psutil.Process]) -> bool:
    return psutil.wait_procs(processes, timeout=10)[1] == []


async def test_cancelling_a_run_kills_all_of_it(sandbox: Sandbox) -> None:
    await sandbox.probe()
    task = asyncio.create_task(sandbox.run(SPIN, "assert True", limits=LONG))
    processes = await _appear(psutil.Process())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not any(process.is_running() for process in processes[2:])


async def test_cancelling_at_any_moment_leaves_nothing(sandbox: Sandbox) -> None:
    await sandbox.probe()
    for step in range(12):
        task = asyncio.create_task(sandbox.run(SPIN, "assert True", limits=LONG))
        await asyncio.sleep(step * 0.004)
        seen = _isolated(psutil.Process())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert _all_gone(seen[2:])


async def test_killing_the_engine_ends_the_candidate() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    engine = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ENGINE, env=environment, cwd=ROOT
    )
    try:
        async with asyncio.timeout(60):
            while True:  # until the probe's own run is over and the long one stands
                processes = await _appear(psutil.Process(engine.pid))
                await asyncio.sleep(0.5)
                if all(process.is_running() for process in processes):
                    break
        engine.kill()
        assert _all_gone(processes)
    finally:
        with suppress(ProcessLookupError):
            engine.kill()
        await asyncio.wait_for(engine.wait(), timeout=10)


def _belonging_to(engine: int) -> list[int]:
    """Every process that a zygote of `engine` is or has forked: they keep its command line."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            command = process.cmdline()
            if "linux_launcher" in " ".join(command) and command[-1] == str(engine):
                found.append(process.pid)
    return found


@pytest.mark.parametrize("moment", range(6))
async def test_killing_the_engine_at_any_moment_leaves_no_survivor(moment: int) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    engine = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ENGINE, env=environment, cwd=ROOT
    )
    async with asyncio.timeout(60):
        while not _belonging_to(engine.pid):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    await asyncio.sleep(moment * 0.03)
    engine.kill()
    await asyncio.wait_for(engine.wait(), timeout=10)
    async with asyncio.timeout(20):
        while _belonging_to(engine.pid):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_run_killed_from_outside_is_no_verdict(sandbox: Sandbox) -> None:
    await sandbox.probe()
    task = asyncio.create_task(sandbox.run(SPIN, "assert True", limits=LONG))
    processes = await _appear(psutil.Process())
    await asyncio.sleep(0.2)
    processes[-1].kill()
    assert (await task).kind == "infra"


async def test_concurrent_runs_do_not_meet(sandbox: Sandbox) -> None:
    code = (
        "open('mine', 'w').write('{n}')\nimport os, time\ntime.sleep(0.1)\nx = open('mine').read()"
    )
    runs = [
        sandbox.run(code.format(n=n), f"assert x == '{n}' and len(os.listdir('.')) == 2")
        for n in range(8)
    ]
    assert {verdict.kind for verdict in await asyncio.gather(*runs)} == {"pass"}


async def test_the_probe_refuses_a_sandbox_that_leaks() -> None:
    async def bare(candidate: str, tests: str) -> Verdict:
        run = [sys.executable, "-c", f"{candidate.rsplit('attempt(', 1)[0]}\n{tests}"]
        process = await asyncio.create_subprocess_exec(*run)
        assert await process.wait() == 0
        return Pass()

    with pytest.raises(SandboxUnavailableError, match=r"the network, writing outside") as caught:
        await probe.attack(bare)
    assert "sysctl" in caught.value.next_step


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take root's privileges away")
def test_where_namespaces_are_refused_nothing_is_run() -> None:
    code = f"""
import asyncio, os
from rune_engine.errors import SandboxUnavailableError
from rune_engine.sandbox import Sandbox
sandbox = Sandbox()
for attempt in range(2):
    try:
        asyncio.run(sandbox.run("open({str(ROOT)!r})", "assert True"))
    except SandboxUnavailableError as error:
        print("refused:", error)
print(sandbox.describe())
"""
    result = subprocess.run(
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        timeout=60,
        check=False,
    )
    lines = result.stdout.splitlines()
    assert [line[:8] for line in lines] == ["refused:", "refused:", "unavaila"], result
    assert "Operation not permitted" in lines[0]
