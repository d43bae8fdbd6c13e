"""Real engines, forked from a process that has everything imported, and the jobs they are given.

The trainer is a stand-in process that trains nothing; everything else is what a user runs. Knows
nothing of who ends the engines, or how.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import homes
import uvicorn.lifespan.off
import uvicorn.protocols.http.h11_impl
from adapter_files import lora_config, weights
from forks import Child, Say, call, start

import rune_engine.agent.graph
import rune_engine.service.app
import rune_engine.service.engine
from rune_engine.config import RuneConfig, load_config
from rune_engine.jobs.store import JobStore
from rune_engine.models import DistillParams, ImportParams, JobKind, RunTaskParams
from rune_engine.service.process import main as engine_main

assert rune_engine.agent.graph and uvicorn  # imported for the forks, which import nothing

STAND_IN = Path(__file__).resolve().parent / "prepared_trainer"
JOBS_AT_ONCE = 2
PREPARED = 8
LINES, LINE_WORDS = 30, 4000


@dataclass(frozen=True)
class Workload:
    """A home and the jobs for its engines: the n-th is what `job(n)` says."""

    config: RuneConfig
    job: Callable[[int], tuple[JobKind, DistillParams | RunTaskParams | ImportParams]]


def distillations(folder: Path, model: Path) -> Workload:
    """Distillations for the base model that `prepare_model` made."""
    return Workload(
        config_of(folder),
        lambda number: (
            "distill",
            DistillParams(project_id="shop", base_model=str(model), seed=number % PREPARED),
        ),
    )


def tasks(folder: Path) -> Workload:
    """Tasks that the scripted model solves, and the sandbox tests."""
    return Workload(
        config_of(folder),
        lambda number: (
            "run_task",
            RunTaskParams(
                task_description=f"Add two numbers, {number}.",
                test_suite="assert add(2, 3) == 5\n",
                project_id="tasks",
            ),
        ),
    )


def imports(folder: Path) -> Workload:
    """Imports of files with so many lines that a job takes several steps."""
    config = config_of(folder)

    def job(number: int) -> tuple[JobKind, ImportParams]:
        path = folder / f"{number}.jsonl"
        drafts = [
            homes.trajectory(number * LINES + line).model_copy(
                update={"project_id": "imports", "test_suite": "# long\n" * LINE_WORDS}
            )
            for line in range(LINES)
        ]
        lines = [draft.model_dump_json() for draft in drafts]
        path.write_text("\n".join(lines), encoding="utf-8")
        return "import", ImportParams(path=str(path))

    return Workload(config, job)


def config_of(folder: Path) -> RuneConfig:
    """A home in which more is recorded at once than agents may elsewhere."""
    return load_config(
        home=folder / "home",
        idle_seconds=600.0,
        base_model=f"scripted:{folder / 'script.json'}",
        capture={"max_recorded_per_minute": 1_000_000},
    )


def prepare_model(model: Path) -> None:
    """Make a folder that counts as a base model, with what the stand-in trainer leaves."""
    model.mkdir()
    (model / "config.json").write_text("{}", encoding="utf-8")
    (model / "adapter_config.json").write_text(json.dumps(lora_config()), encoding="utf-8")
    for seed in range(PREPARED):
        content = weights(seed).safetensors
        assert isinstance(content, bytes)
        (model / f"{seed}.safetensors").write_bytes(content)


def begin(workload: Workload) -> float:
    """Make the home, with something to distill; how long a new engine takes for its jobs."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(STAND_IN), os.environ.get("PYTHONPATH", "")])

    def record_some() -> None:
        with homes.opened(workload.config.home) as stores:
            for number in range(3):
                homes.record(stores, number)

    call(record_some)
    call(lambda: top_up(workload, 0))
    return end_all(workload, 0)


def start_engine(config: RuneConfig, number: int) -> Child:
    """The engine as a starter runs it, with a model that answers as no earlier engine's did."""
    answer = f"```python\ndef add(a, b):\n    return a + b  # {number}\n```"
    script = Path(config.base_model.removeprefix("scripted:"))
    script.write_text(json.dumps([{"contains": "Add two numbers", "answers": [answer]}]))

    def work(_say: Say) -> None:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1):
            os.dup2(nowhere, standard)
        os.setsid()
        engine_main([config.model_dump_json()])

    return start(work)


def end_all(workload: Workload, number: int) -> float:
    """Let an engine end all jobs; how many seconds that took."""
    began = time.monotonic()
    engine = start_engine(workload.config, number)
    try:
        call(lambda: _wait(workload.config))
    finally:
        with suppress(ProcessLookupError):
            engine.kill()
        engine.end()
    return time.monotonic() - began


def _wait(config: RuneConfig) -> None:
    with homes.opened(config.home) as stores:
        jobs = JobStore(stores.database)
        homes.wait_until(lambda: not jobs.unfinished() and not _folders(config), "all jobs ended")


def top_up(workload: Workload, number: int) -> None:
    """Queue jobs until there are enough for one engine."""
    with homes.opened(workload.config.home) as stores:
        jobs = JobStore(stores.database)
        for one in range(JOBS_AT_ONCE - len(jobs.unfinished())):
            kind, params = workload.job(number * JOBS_AT_ONCE + one)
            jobs.enqueue(kind, params)


def most_starts(config: RuneConfig) -> int:
    """How often the unfinished job that was started most often was."""
    with homes.opened(config.home) as stores:
        return max((job.attempt for job in JobStore(stores.database).unfinished()), default=0)


def check_ended(config: RuneConfig) -> list[dict[str, Any]]:
    """Every job has succeeded and left no folder; the jobs."""
    with homes.opened(config.home) as stores:
        jobs = JobStore(stores.database).newest(500)
    failed = [job for job in jobs if job.status != "succeeded"]
    assert not failed, f"a job did not succeed: {failed[0]}"
    assert not _folders(config), "a job's folder was left behind"
    return [job.model_dump(mode="json") for job in jobs]


def check_distilled(config: RuneConfig) -> list[dict[str, Any]]:
    """Every distillation has made its one adapter, and there is no other; the jobs."""
    ended = check_ended(config)
    with homes.opened(config.home) as stores:
        made = homes.check_adapters(stores, [])
        wanted = [job["result"]["adapter_id"] for job in ended]
        assert sorted(wanted) == sorted(made), "not every job has made its one adapter"
        homes.check_swept(stores)
        homes.check_database(stores)
    return ended


def check_solved(config: RuneConfig) -> list[dict[str, Any]]:
    """Every task has its one trajectory, and there is no other; the jobs."""
    ended = check_ended(config)
    with homes.opened(config.home) as stores:
        found = stores.trajectories.page(project_id="tasks", limit=100)
        assert found.next_offset is None, "more tasks than this can look at"
        wanted = [job["result"]["trajectory_id"] for job in ended]
        kept = [trajectory.id for trajectory in found.trajectories]
        assert sorted(wanted) == sorted(kept), "not every task has its one trajectory"
        homes.check_database(stores)
    return ended


def check_imported(config: RuneConfig) -> list[dict[str, Any]]:
    """Every line of every file is there once; the jobs."""
    ended = check_ended(config)
    with homes.opened(config.home) as stores:
        for job in ended:
            result = job["result"]
            assert (result["stored"] + result["duplicates"], result["refused"]) == (LINES, 0)
        found = stores.trajectories.page(project_id="imports", limit=1)
        assert found.total == len(ended) * LINES, "not every line is there once"
        homes.check_database(stores)
    return ended


def _folders(config: RuneConfig) -> list[Path]:
    return list(config.jobs_path.iterdir()) if config.jobs_path.exists() else []
