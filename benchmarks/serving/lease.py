"""The accelerator's lease: clients ask without pause while a distillation has it to itself.

    python -m benchmarks.serving.lease --clients 8 --json lease.json

A real engine, model worker and trainer on rune-nano, with `exclusive = "always"`, twice: once the
trainer is left alone, once it is killed (-9) midway. Half of the clients ask by `run_task` jobs,
half by streams of the OpenAI-compatible endpoint; a wait is the time that a job's row, or a comment
in the stream, says that it waits.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil

from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig, load_config
from rune_engine.models import FINISHED, Attempt, DistillParams, Job, RunTaskParams, TrajectoryDraft
from rune_engine.service.openai.key import api_key

SESSIONS = 12
_AFTER_SECONDS = 2.0
_KILL_AT = 0.3
_POLL_SECONDS = 0.05
_HOPELESS_SECONDS = 1800.0


Ask = Callable[[int, "Requests"], Coroutine[Any, Any, None]]


@dataclass(slots=True)
class Requests:
    """What became of the clients' requests; times in seconds."""

    failed: list[dict[str, Any]] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)

    def answered(self, took: float, waited: float) -> None:
        self.took.append(took)
        if waited:
            self.waited.append(waited)

    def figures(self) -> dict[str, Any]:
        return {
            "answered": len(self.took),
            "waited": len(self.waited),
            "failed": len(self.failed),
            "longest_wait_seconds": round(max(self.waited, default=0.0), 2),
            "longest_request_seconds": round(max(self.took, default=0.0), 2),
            "median_request_seconds": round(statistics.median(self.took or [0.0]), 3),
            "errors": self.failed[:3],
        }


def measure(clients: int = 8, max_steps: int = 20, threads: int = 1) -> dict[str, Any]:
    """Both runs.

    Args:
        clients: how many ask at the same time, each again as soon as it is answered.
        max_steps: of the distillation.
        threads: of the model worker and the trainer.
    """
    runs = {}
    for name, kill in (("trained", False), ("killed", True)):
        with tempfile.TemporaryDirectory(prefix="rune-bench-") as folder:
            config = load_config(
                home=Path(folder) / "home",
                base_model="rune-nano",
                exclusive="always",
                openai_port=0,
                model_threads=threads,
                checkpoint_seconds=0.5,
                consolidation={"enabled": False},
            )
            runs[name] = asyncio.run(_run(config, clients, max_steps, kill))
    return {"clients": clients, "max_steps": max_steps, **runs}


async def _run(config: RuneConfig, clients: int, max_steps: int, kill: bool) -> dict[str, Any]:
    async with EngineClient(config) as client:
        for number in range(SESSIONS):
            await client.record(_session(number))
        http = await _endpoint(config, client)
        asks = [partial(_ask, client), partial(_stream, http)]
        for ask in asks:
            await ask(0, Requests())  # loads the model
        requests, stopping = [Requests(), Requests()], asyncio.Event()
        asking = [
            asyncio.create_task(_client(asks[number % 2], number, requests[number % 2], stopping))
            for number in range(clients)
        ]
        try:
            began = time.monotonic()
            job = await client.distill(DistillParams(project_id="shop", max_steps=max_steps))
            job = await _followed(client, job, _killer(await client.health()) if kill else None)
            trained = time.monotonic() - began
            await asyncio.sleep(_AFTER_SECONDS)
            stopping.set()
            await asyncio.gather(*asking)
            events = [entry.kind for entry in (await client.history(limit=200)).entries]
            cpu = _cpu_seconds((await client.health()).pid)
        finally:
            stopping.set()
            await http.aclose()
            await client.stop()
    return {
        "failed": sum(len(each.failed) for each in requests),
        "jobs": requests[0].figures(),
        "endpoint": requests[1].figures(),
        "distillation": job.status,
        "distillation_attempts": job.attempt,
        "distillation_seconds": round(trained, 1),
        "times_slept": events.count("serving_slept"),
        "times_woke": events.count("serving_woke"),
        "cpu_seconds": round(cpu, 1),
    }


def _session(number: int) -> TrajectoryDraft:
    code = f"def scaled_{number}(value):\n    return value * {number + 2}\n"
    return TrajectoryDraft(
        project_id="shop",
        task_description=f"Write a function scaled_{number} that multiplies by {number + 2}.",
        attempts=[Attempt(generated_code=code, tests_passed=True)],
        outcome="success",
        session_id=f"session-{number}",
    )


async def _client(ask: Ask, number: int, requests: Requests, stopping: asyncio.Event) -> None:
    while not stopping.is_set():
        await ask(number, requests)


async def _endpoint(config: RuneConfig, client: EngineClient) -> httpx.AsyncClient:
    status = await client.openai()
    assert status.base_url is not None, status.detail
    headers = {"authorization": f"Bearer {api_key(config)}"}
    timeout = _HOPELESS_SECONDS
    return httpx.AsyncClient(base_url=status.base_url, headers=headers, timeout=timeout)


async def _stream(http: httpx.AsyncClient, number: int, requests: Requests) -> None:
    """One answer by the endpoint; whatever is not a whole answer is a failure."""
    began, waits_since, waited, last = time.monotonic(), 0.0, 0.0, ""
    message = {"role": "user", "content": f"Write a function that adds {number}."}
    body = {"model": "rune:base", "messages": [message], "max_tokens": 24, "stream": True}
    try:
        async with http.stream("POST", "/chat/completions", json=body) as answer:
            async for line in answer.aiter_lines():
                if line.startswith(": rune: waits"):
                    waits_since = waits_since or time.monotonic()
                elif line.startswith("data:"):
                    waited = waited or (time.monotonic() - waits_since if waits_since else 0.0)
                    last = line.removeprefix("data:").strip()
                elif line and not line.startswith(":"):
                    last = line
    except httpx.HTTPError as error:
        last = repr(error)
    if last == "[DONE]":
        requests.answered(time.monotonic() - began, waited)
    else:
        requests.failed.append({"said": last[:300]})


async def _ask(client: EngineClient, number: int, requests: Requests) -> None:
    began = time.monotonic()
    waits_since, waited = None, 0.0
    job = await client.run_task(
        RunTaskParams(
            task_description=f"Write a function that adds {number}.",
            project_id="shop",
            adapter="none",
            max_attempts=1,
            max_tokens=24,
        )
    )
    while job.status not in FINISHED:
        if job.message.startswith("waits"):
            waits_since = waits_since or time.monotonic()
        elif waits_since is not None:
            waited, waits_since = waited + time.monotonic() - waits_since, None
        job = await client.wait_job(job.id, after_revision=job.revision, timeout=5)
    if waits_since is not None:
        waited += time.monotonic() - waits_since
    if job.status != "succeeded":
        requests.failed.append(job.error or {"status": job.status})
        return
    requests.answered(time.monotonic() - began, waited)


def _killer(health: Any) -> Callable[[], bool]:
    """Kills this engine's trainer; whether there was one."""

    def kill() -> bool:
        for process in psutil.Process(health.pid).children(recursive=True):
            if "trainers" in process.cmdline():
                process.kill()
                return True
        return False

    return kill


async def _followed(client: EngineClient, job: Job, kill: Callable[[], bool] | None) -> Job:
    """The distillation to its end, its trainer killed once it is well under way."""
    while job.status not in FINISHED:
        if kill is not None and job.progress >= _KILL_AT and kill():
            kill = None
        await asyncio.sleep(_POLL_SECONDS)
        job = await client.get_job(job.id)
    return job


def _cpu_seconds(pid: int) -> float:
    """Of the engine and all that it started, what has ended included."""
    times = psutil.Process(pid).cpu_times()
    alive = [child.cpu_times() for child in psutil.Process(pid).children(recursive=True)]
    ended = times.children_user + times.children_system
    return float(times.user + times.system + ended + sum(t.user + t.system for t in alive))


def report(figures: dict[str, Any]) -> str:
    """Two lines a run."""
    lines = []
    for name in ("trained", "killed"):
        run = figures[name]
        lines.append(
            f"{name}: the distillation {run['distillation']} in {run['distillation_seconds']} s "
            f"and {run['distillation_attempts']} attempts, {run['failed']} requests failed"
        )
        lines += [
            f"  {how:<9} {run[how]['answered']} answered, {run[how]['waited']} of them waited, at "
            f"most {run[how]['longest_wait_seconds']:.1f} s"
            for how in ("jobs", "endpoint")
        ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="What training costs those who are served.")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--max-steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures = measure(options.clients, options.max_steps, options.threads)
    print(json.dumps(figures), report(figures), sep="\n")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
