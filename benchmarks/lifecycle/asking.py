"""The final tasks, put to the engine as a host puts them: `run_task`, one greedy attempt, no retry.

Every answer is kept in a file, so that a run that was killed asks what is missing. Knows nothing of
how adapters came about.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.lifecycle.worlds import FinalTask
from rune_engine.models import FINISHED, Job, RunTaskParams
from rune_engine.service.engine import Engine
from rune_engine.service.work import TASKS_AT_ONCE

AUTO, NONE = "auto", "none"

_WAIT_SECONDS = 600.0


class Answers:
    """What was answered under each policy, in a file of JSON lines.

    An answer is `policy`, `task`, `passed` (null where no verdict was reached), `adapter_id` and
    `reason`.
    """

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        known = file.read_text(encoding="utf-8") if file.exists() else ""
        lines = map(_read, known.splitlines())
        self._found = {(one["policy"], one["task"]): one for one in lines if one}
        self._file = file.open("a", encoding="utf-8")
        if not known.endswith("\n"):  # a kill has cut the last line off
            self._file.write("\n")

    def close(self) -> None:
        self._file.close()

    def add(self, answer: dict[str, Any]) -> None:
        self._found[answer["policy"], answer["task"]] = answer
        self._file.write(json.dumps(answer) + "\n")
        self._file.flush()

    def missing(self, policy: str, tasks: Sequence[FinalTask]) -> list[FinalTask]:
        return [task for task in tasks if (policy, task.key) not in self._found]

    def of(self, policy: str) -> dict[str, dict[str, Any]]:
        """A policy's answers, by the task's key."""
        return {task: one for (name, task), one in self._found.items() if name == policy}

    def same(self, task: str, adapter: str) -> dict[str, Any] | None:
        """What the task was answered with the same adapter, under whatever policy.

        Answers are greedy, so that asking again would find the same.
        """
        wanted = None if adapter == NONE else adapter
        found = (one for (_, key), one in self._found.items() if key == task)
        return next((one for one in found if one["adapter_id"] == wanted), None)

    @property
    def policies(self) -> list[str]:
        return list(dict.fromkeys(policy for policy, _ in self._found))


def _read(line: str) -> dict[str, Any] | None:
    """A line; None for one that a kill has cut off."""
    try:
        found: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return found


async def ask(
    engine: Engine,
    answers: Answers,
    policy: str,
    tasks: Sequence[FinalTask],
    workspaces: Mapping[str, str],
    adapter_of: Callable[[FinalTask], str],
) -> None:
    """Ask what is not answered yet.

    Args:
        adapter_of: what `run_task` is told of the adapter: an id, "auto" or "none".
    """
    at_once = asyncio.Semaphore(TASKS_AT_ONCE)

    async def one(task: FinalTask) -> None:
        async with at_once:
            result = await _run(engine, task, workspaces[task.project_id], adapter_of(task))
            answers.add({"policy": policy, "task": task.key, **result})

    async with asyncio.TaskGroup() as group:
        for task in answers.missing(policy, tasks):
            known = answers.same(task.key, adapter_of(task))
            if known is None:
                group.create_task(one(task))
            else:
                answers.add({**known, "policy": policy})


async def _run(engine: Engine, task: FinalTask, workspace: str, adapter: str) -> dict[str, Any]:
    params = RunTaskParams(
        task_description=task.description,
        test_suite=task.tests,
        project_id=task.project_id,
        domain=task.domain,
        task_type=task.task_type,
        adapter=adapter,
        max_attempts=1,
        temperature=0.0,
        workspace=workspace,
        held_out=True,
    )
    result = await finished(engine, await engine.submit_run_task(params))
    return {
        "passed": result["attempts"][-1]["tests_passed"],
        "adapter_id": result["adapter_id"],
        "reason": result["adapter_reason"],
    }


async def finished(engine: Engine, job: Job) -> dict[str, Any]:
    """What a job has answered, once it ends.

    Raises:
        RuntimeError: it failed.
    """
    while job.status not in FINISHED:
        job = await engine.wait_for_job(job.id, job.revision, _WAIT_SECONDS)
    if job.result is None:
        raise RuntimeError(f"The {job.kind} job {job.id} ended without a result: {job.error}")
    return job.result
