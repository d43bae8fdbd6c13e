"""The engine killed at random moments, with runs in flight that fork: nothing of it is left."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux mechanisms")
ROOT = Path(__file__).parents[2]
ROUNDS, AT_ONCE = 10, 4

ENGINES = """
import asyncio, os, signal, sys
from rune_engine.config import SandboxLimits
from rune_engine.sandbox import Sandbox

NAME = os.environ["RUN_NAME"]
NAMED = f"import ctypes, time\\nctypes.CDLL(None).prctl(15, b{NAME!r}, 0, 0, 0)\\n"
PURE = NAMED + "while True: time.sleep(0.01)"
PROJECT = NAMED + f'''
import os, subprocess, sys
sleep = "import time; time.sleep(100)"
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(100)
    os._exit(0)
subprocess.Popen([sys.executable, "-c", sleep, {NAME!r}], start_new_session=True)
while True:
    time.sleep(0.01)
    if os.fork() == 0:
        time.sleep(0.2)
        os._exit(0)
    os.waitpid(-1, os.WNOHANG)
'''
LONG = SandboxLimits(wall_seconds=120, cpu_seconds=100)

async def both():
    sandbox = Sandbox(LONG)
    project = sandbox.run(PROJECT, "assert True", profile="project")
    await asyncio.gather(sandbox.run(PURE, "assert True"), project)

async def one():
    print((await Sandbox().run("", "assert True")).kind, flush=True)

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    engine = os.fork()
    if engine == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        asyncio.run(both() if line == "both\\n" else one())
        sys.exit()
    print(engine, flush=True)
"""
"""Forks an engine for every line, from a process in which everything is imported."""


@asynccontextmanager
async def _nursery(name: str, home: Path) -> AsyncIterator[Process]:
    path = os.pathsep.join([str(ROOT), *sys.path])
    places = {"HOME": str(home), "TMPDIR": str(home), "PYTHONPATH": path, "RUN_NAME": name}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ENGINES, stdin=PIPE, stdout=PIPE, env={**os.environ, **places}
    )
    try:
        yield process
    finally:
        process.kill()
        await asyncio.wait_for(process.wait(), 10)


async def _said(nursery: Process, line: str = "") -> str:
    assert nursery.stdin and nursery.stdout
    nursery.stdin.write(line.encode())
    return (await asyncio.wait_for(nursery.stdout.readline(), 60)).decode().strip()


def _of_runs(name: str, engines: set[int]) -> list[str]:
    """What the engines' zygotes are or have started: each as its own name and its last word."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (folder / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")[:-1]
            own_name = (folder / "comm").read_text().strip()
            zygote = "linux_launcher" in " ".join(words) and words[-1] in map(str, engines)
            if words and (zygote or name in (own_name, words[-1])):
                found.append(f"{own_name} {words[-1]}")
    return found


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def _mounts() -> str:
    return Path("/proc/self/mountinfo").read_text()


async def _start_to_flight(nursery: Process, name: str) -> float:
    """How many seconds an engine takes until runs of both profiles are in flight; kills it."""
    clock = asyncio.get_running_loop().time
    began, engine = clock(), int(await _said(nursery, "both\n"))

    def in_flight() -> bool:
        seen = _of_runs(name, set())
        programs = [each for each in seen if each.endswith(f" {name}")]
        return len(programs) > 0 and len(seen) > 4

    await _until(in_flight)
    seconds = clock() - began
    os.kill(engine, signal.SIGKILL)
    await _until(lambda: not _of_runs(name, {engine}))
    return seconds


@pytest.mark.timeout(300)
async def test_killing_the_engine_at_random_moments_leaves_nothing(tmp_path: Path) -> None:
    moments, name = random.Random(20), f"k-{secrets.token_hex(5)}"
    before = _mounts()
    async with _nursery(name, tmp_path) as nursery:
        longest = 1.5 * await _start_to_flight(nursery, name)
        for _ in range(ROUNDS):
            engines = {int(await _said(nursery, "both\n")) for _ in range(AT_ONCE)}
            waits = [moments.uniform(0, longest) for _ in engines]
            await asyncio.gather(*map(_kill_after, waits, engines))
            await _until(lambda engines=engines: not _of_runs(name, engines))
        await _said(nursery, "one\n")
        assert await _said(nursery) == "pass"
    assert list(tmp_path.iterdir()) == []
    assert _mounts() == before


async def _kill_after(seconds: float, engine: int) -> None:
    await asyncio.sleep(seconds)
    os.kill(engine, signal.SIGKILL)
