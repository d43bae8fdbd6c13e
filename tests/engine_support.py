"""Homes with a scripted base model, engines to wait for, and processes to look after."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig, load_config
from rune_engine.models import FINISHED, Attempt, Job, TrajectoryDraft

TESTS = Path(__file__).resolve().parent
WAIT_SECONDS = 60.0
"""Bound of every wait; nothing here takes so long unless it hangs."""

RIGHT = "```python\ndef add(a, b):\n    return a + b\n```"
ADD_TESTS = "assert add(2, 3) == 5\n"
SCRIPT = [
    {"contains": "Add two numbers", "answers": [RIGHT]},
    {"contains": "Think for ever", "answers": [RIGHT], "delay_seconds": 600},
    {"contains": "Think a while", "answers": [RIGHT], "delay_seconds": 2},
]


BY_HELD_OUT_TASKS = {"out_of_domain_tasks": 0, "alpha": 1.0, "fewest_tasks": 1}
"""A script has no answer to generated tasks, so that fitness is the pass rate here."""


def scripted_config(folder: Path, **overrides: Any) -> RuneConfig:
    """A home in `folder` whose base model answers from `SCRIPT`; its engine goes when idle."""
    script = folder / "script.json"
    script.write_text(json.dumps(SCRIPT), encoding="utf-8")
    given = {"idle_seconds": 60.0, "base_model": f"scripted:{script}"}
    given |= {"evaluation": BY_HELD_OUT_TASKS, **overrides}
    return load_config(home=folder / "home", **given)


def base_model_folder(folder: Path, behaviour: str = "finish") -> Path:
    """A folder that counts as a base model; the stand-in trainer reads its behaviour there."""
    model = folder / "tiny-base"
    model.mkdir(exist_ok=True)
    (model / "config.json").write_text("{}", encoding="utf-8")
    (model / "behaviour").write_text(behaviour, encoding="utf-8")
    return model


def make_fast(model: Path) -> None:
    """Let the folder look like a base model that has a way without training."""
    (model / "config.json").write_text('{"model_type": "qwen2"}', encoding="utf-8")
    (model / "model.safetensors").touch()


def stand_in_trainer_path() -> str:
    """A PYTHONPATH under which `trainers` is the stand-in."""
    found = [str(TESTS / "stand_in"), str(TESTS), os.environ.get("PYTHONPATH", "")]
    return os.pathsep.join(filter(None, found))


def draft(number: int = 0, **changes: Any) -> TrajectoryDraft:
    """A successful trajectory; another number is another one."""
    given = {
        "project_id": "shop",
        "task_description": f"Add two numbers, {number}.",
        "attempts": [Attempt(generated_code="def add(a, b): return a + b", tests_passed=True)],
        "outcome": "success",
        "session_id": f"session-{number}",
    }
    return TrajectoryDraft.model_validate({**given, **changes})


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """Poll until `condition` gives something true, and return it."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited in vain until {what}")


async def until(condition: Callable[[], Any], what: str) -> Any:
    """`wait_until` for tests that run on an event loop."""
    return await asyncio.to_thread(wait_until, condition, what)


async def finished(client: EngineClient, job: Job) -> Job:
    """The job when it has ended."""
    async with asyncio.timeout(WAIT_SECONDS):
        while job.status not in FINISHED:
            job = await client.wait_job(job.id, after_revision=job.revision, timeout=5)
    return job


async def until_job(client: EngineClient, job: Job, condition: Callable[[Job], bool]) -> Job:
    """The job as soon as `condition` holds for it."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition(job):
            assert job.status not in FINISHED, f"the job ended before: {job}"
            job = await client.wait_job(job.id, after_revision=job.revision, timeout=5)
    return job


def engines(config: RuneConfig) -> list[psutil.Process]:
    """The engine processes of this home that are alive (a zombie is not)."""

    def is_engine(process: psutil.Process) -> bool:
        arguments = process.info["cmdline"] or []
        return "rune_engine.service" in arguments and str(config.home) in "".join(arguments)

    found = [
        process
        for process in psutil.process_iter(["cmdline", "status", "ppid"])
        if process.info["status"] != psutil.STATUS_ZOMBIE and is_engine(process)
    ]
    # A child that has forked and not become its own program yet looks like its parent.
    pids = {process.pid for process in found}
    return [process for process in found if process.info["ppid"] not in pids]


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def end_engines(config: RuneConfig) -> None:
    """End this home's engines, whatever state a test left them in."""
    for process in engines(config):
        process.kill()
    wait_until(lambda: not engines(config), "the engine is gone")


def kill_engine(config: RuneConfig) -> int:
    """`kill -9` the one engine; its pid."""
    (engine,) = engines(config)
    engine.kill()
    wait_until(lambda: not is_alive(engine.pid), "the killed engine is gone")
    return engine.pid
