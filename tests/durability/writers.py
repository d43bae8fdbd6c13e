"""Eight processes that write to one home at once: what they lost, what failed, who had to wait.

    python writers.py --seconds 60     (with this checkout and its tests on PYTHONPATH)

Prints JSON. `stores`: each process has the stores open and records a trajectory, queues a job,
claims one and ends it, over and over. `engine`: each is a client of one engine and records.
`slowest_over_mean` is the share of the process that got least.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import engines
import homes
import httpx
from forks import Say, call, start

from rune_engine.client import EngineClient
from rune_engine.jobs.store import JobStore
from rune_engine.models import RunTaskParams
from rune_engine.starter import is_listening

assert httpx  # imported for the forks

_LATE_SECONDS = 60.0


def main() -> None:
    parser = argparse.ArgumentParser(description="Processes that write to one home at once.")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to be measured")
    options = parser.parse_args()
    report = {}
    for name, run in (("stores", _through_stores), ("engine", _through_engine)):
        with homes.scratch(options.folder) as folder:
            report[name] = run(folder, options.processes, options.seconds)
    print(json.dumps(report))


def _through_stores(folder: Path, processes: int, seconds: float) -> dict[str, Any]:
    home = folder / "home"
    call(lambda: homes.make(home))

    def write(writer: int, until: float) -> dict[str, Any]:
        recorded, ended = [], []
        with homes.opened(home) as stores:
            jobs = JobStore(stores.database)
            while time.monotonic() < until:
                number = writer * 1_000_000 + len(recorded)
                homes.record(stores, number)
                recorded.append(number)
                jobs.enqueue("run_task", RunTaskParams(task_description=f"Task {number}"))
                job = jobs.claim(f"writer-{writer}")
                assert job is not None, "a job that was queued is gone"
                jobs.succeed(job, {})
                ended.append(job.id)
        return {"recorded": recorded, "ended": ended}

    return _judge(home, _at_once(processes, seconds, write))


def _through_engine(folder: Path, processes: int, seconds: float) -> dict[str, Any]:
    config = engines.config_of(folder)
    call(lambda: homes.make(config.home))
    engine = engines.start_engine(config, 0)

    async def record(writer: int, until: float) -> dict[str, Any]:
        recorded: list[int] = []
        async with EngineClient(config) as client:
            while time.monotonic() < until:
                number = writer * 1_000_000 + len(recorded)
                answer = await client.record(homes.trajectory(number))
                assert not answer.duplicate
                recorded.append(number)
        return {"recorded": recorded, "ended": []}

    try:
        homes.wait_until(lambda: is_listening(config), "the engine listens")
        said = _at_once(processes, seconds, lambda *given: asyncio.run(record(*given)))
    finally:
        with suppress(ProcessLookupError):
            engine.kill()
        engine.end()
    return _judge(config.home, said)


def _at_once(
    processes: int, seconds: float, write: Callable[[int, float], dict[str, Any]]
) -> list[dict[str, Any]]:
    """What each of the processes says that it wrote; all begin when all are there."""
    waiting, go = os.pipe()

    def work(writer: int, say: Say) -> None:
        os.close(go)
        say("here")
        os.read(waiting, 1)
        say(json.dumps(write(writer, time.monotonic() + seconds)))

    children = [start(lambda say, one=one: work(one, say)) for one in range(processes)]
    os.close(waiting)
    for child in children:
        assert child.line() == "here"
    os.close(go)
    said = [child.end() for child in children]
    assert all(child.exit_code == 0 for child in children), "a writer failed; see its traceback"
    return [json.loads(line) for (line,) in said]


def _judge(home: Path, said: list[dict[str, Any]]) -> dict[str, Any]:
    """Nothing lost, nothing twice; and how the turns were shared."""
    counts = [len(one["recorded"]) for one in said]
    ended = [job for one in said for job in one["ended"]]
    assert len(set(ended)) == len(ended), "a job was claimed twice"

    def check() -> int:
        with homes.opened(home) as stores:
            homes.check_database(stores)
            there = homes.check_trajectories(stores, [n for one in said for n in one["recorded"]])
            assert JobStore(stores.database).counts().get("succeeded", 0) == len(ended)
            return there

    assert call(check) == sum(counts), "there is a trajectory that nobody recorded"
    mean = sum(counts) / len(counts)
    return {
        "recorded": counts,
        "jobs": len(ended),
        "slowest_over_mean": round(min(counts) / mean, 3) if mean else 0.0,
    }


if __name__ == "__main__":
    main()
