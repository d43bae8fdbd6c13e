"""The loop with a scripted model: every way it can end, and what it keeps."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rune_engine.agent.graph import run_task
from rune_engine.config import RuneConfig, SandboxLimits
from rune_engine.database import open_database
from rune_engine.errors import InferenceError, InvalidInputError, SandboxUnavailableError
from rune_engine.inference.provider import AdapterRef
from rune_engine.inference.scripted import ScriptedProvider
from rune_engine.models import RunTaskParams, TaskResult, Trajectory
from rune_engine.sandbox.sandbox import Sandbox
from rune_engine.sandbox.verdict import Infra, Oracle, Verdict
from rune_engine.trajectories import TrajectoryStore

RIGHT = "```python\ndef add(a, b):\n    return a + b\n```"
WRONG = "```python\ndef add(a, b):\n    return a - b\n```"
TESTS = "assert add(2, 2) == 4, 'add(2, 2) is not 4'"


class Unsteady(Sandbox):
    """The real sandbox, on a machine that first fails in the ways it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[Infra | SandboxUnavailableError] = []
        self.runs = 0
        self.began = asyncio.Event()

    async def run(
        self,
        candidate: str,
        tests: str,
        *,
        workspace: Path | None = None,
        limits: SandboxLimits | None = None,
        confirm: bool = False,
        strongest: Oracle = "outside",
    ) -> Verdict:
        self.runs += 1
        self.began.set()
        failure = self.failures.pop(0) if self.failures else None
        if isinstance(failure, SandboxUnavailableError):
            raise failure
        return failure or await super().run(
            candidate,
            tests,
            workspace=workspace,
            limits=limits,
            confirm=confirm,
            strongest=strongest,
        )


class Bench:
    """A scripted model, a real sandbox and a real trajectory store."""

    def __init__(self, folder: Path, store: TrajectoryStore) -> None:
        self._script = folder / "script.json"
        self.sandbox = Unsteady()
        self.store = store
        self.progress: list[tuple[float, str]] = []
        self.began = asyncio.Event()
        self.answers(WRONG, RIGHT)

    def answers(self, *answers: str, **rule: Any) -> None:
        self._script.write_text(json.dumps([{"contains": "add", "answers": answers, **rule}]))

    @property
    def saved(self) -> list[Trajectory]:
        return self.store.page().trajectories

    async def solve(self, adapter: AdapterRef | None = None, **params: Any) -> TaskResult:
        wanted = {"task_description": "add two numbers", "test_suite": TESTS, **params}
        return await run_task(
            RunTaskParams(**wanted),
            provider=ScriptedProvider(self._script),
            sandbox=self.sandbox,
            trajectories=self.store,
            adapter=adapter,
            adapter_reason="chosen by hand",
            on_progress=self._on_progress,
        )

    def _on_progress(self, fraction: float, message: str) -> None:
        self.progress.append((fraction, message))
        self.began.set()


@pytest.fixture
def bench(tmp_path: Path, config: RuneConfig) -> Iterator[Bench]:
    database = open_database(config)
    yield Bench(tmp_path, TrajectoryStore(database))
    database.close()


async def test_it_tries_again_until_the_tests_pass(bench: Bench) -> None:
    result = await bench.solve()
    assert (result.outcome, result.tests_passed) == ("success", True)
    assert result.code == "def add(a, b):\n    return a + b"
    assert [attempt.tests_passed for attempt in result.attempts] == [False, True]
    first = result.attempts[0]
    assert "AssertionError: add(2, 2) is not 4" in first.stderr
    assert first.verdict is not None and first.verdict["kind"] == "fail"
    assert [result.trajectory_id] == [trajectory.id for trajectory in bench.saved]
    assert result.base_model_id == "scripted"
    assert result.adapter_reason == "chosen by hand"


async def test_the_trajectory_saved_is_the_one_returned(bench: Bench, tmp_path: Path) -> None:
    weights = tmp_path / "adapter_model.safetensors"
    weights.write_bytes(b"weights")
    adapter = AdapterRef("a-1", tmp_path, hashlib.sha256(b"weights").hexdigest(), "scripted")
    names = {"project_id": "p", "domain": "d", "task_type": "bug-fix", "session_id": "s-1"}
    result = await bench.solve(adapter, held_out=True, agent_id="me", **names)
    [saved] = bench.saved
    assert saved.attempts == result.attempts
    assert saved.model_dump(include=set(names)) == names
    assert (saved.outcome, saved.source, saved.held_out) == ("success", "agent_loop", True)
    assert (saved.adapter_id, saved.agent_id, saved.test_suite) == ("a-1", "me", TESTS)
    assert result.adapter_id == "a-1"


@pytest.mark.parametrize("max_attempts", [1, 3, 10])
async def test_it_never_tries_more_often_than_it_may(bench: Bench, max_attempts: int) -> None:
    bench.answers(WRONG)
    result = await bench.solve(max_attempts=max_attempts)
    assert (result.outcome, result.tests_passed) == ("exhausted", False)
    assert len(result.attempts) == bench.sandbox.runs == max_attempts
    assert [saved.outcome for saved in bench.saved] == ["exhausted"]


async def test_a_failed_attempt_and_its_error_are_part_of_the_next_prompt(bench: Bench) -> None:
    bench.answers(WRONG)
    once = await bench.solve(max_attempts=1)
    twice = await bench.solve(max_attempts=2)
    repeated = len(f"{WRONG} {once.attempts[0].stderr}".split())
    assert twice.prompt_tokens > 2 * once.prompt_tokens + repeated
    assert twice.completion_tokens == 2 * once.completion_tokens


async def test_without_tests_there_is_one_attempt_and_no_verdict(bench: Bench) -> None:
    result = await bench.solve(test_suite=" \n")
    assert bench.sandbox.runs == 0
    assert (result.outcome, result.tests_passed) == ("unknown", False)
    assert [attempt.tests_passed for attempt in result.attempts] == [None]
    assert len(bench.saved) == 1


async def test_a_run_without_a_verdict_is_run_again_and_not_counted(bench: Bench) -> None:
    bench.answers(RIGHT)
    bench.sandbox.failures = [Infra(message="the machine hiccuped")]
    result = await bench.solve(max_attempts=1)
    assert result.outcome == "success"
    assert bench.sandbox.runs == 2
    assert len(result.attempts) == 1


async def test_when_no_verdict_can_be_had_it_stops_and_says_none(bench: Bench) -> None:
    bench.sandbox.failures = [Infra(message="broken"), Infra(message="broken")]
    result = await bench.solve()
    assert [attempt.tests_passed for attempt in result.attempts] == [None]
    assert result.outcome == "unknown"


async def test_without_a_sandbox_the_code_is_saved_before_the_error(bench: Bench) -> None:
    bench.sandbox.failures = [SandboxUnavailableError("No isolation here.")]
    with pytest.raises(SandboxUnavailableError, match="No isolation"):
        await bench.solve()
    [saved] = bench.saved
    assert saved.outcome == "unknown"
    assert [attempt.tests_passed for attempt in saved.attempts] == [None]
    assert "a - b" in saved.attempts[0].generated_code


async def test_when_the_model_fails_at_once_nothing_is_saved(bench: Bench) -> None:
    with pytest.raises(InferenceError, match="No rule"):
        await bench.solve(task_description="multiply")
    assert bench.saved == []


async def test_the_code_may_import_from_the_workspace(bench: Bench, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "sums.py").write_text("def plus(a, b):\n    return a + b\n")
    bench.answers("```python\nfrom sums import plus as add\n```")
    result = await bench.solve(workspace=str(workspace))
    assert result.outcome == "success"


async def test_a_workspace_that_is_not_there_loses_nothing(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="workspace"):
        await bench.solve(workspace=str(tmp_path / "nowhere"))
    assert [saved.attempts[0].tests_passed for saved in bench.saved] == [None]


async def test_output_the_store_cannot_hold_does_not_lose_the_trajectory(bench: Bench) -> None:
    bench.answers("```python\nprint('a\\0b')\ndef add(a, b):\n    return a + b\n```")
    result = await bench.solve()
    assert result.outcome == "success"
    assert bench.saved[0].attempts == result.attempts


async def test_progress_only_rises_and_ends_at_one(bench: Bench) -> None:
    await bench.solve()
    fractions = [fraction for fraction, _ in bench.progress]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0.0 and fractions[-1] == 1.0
    assert "attempt 2 of 3" in bench.progress[2][1]


async def test_cancelling_saves_nothing(bench: Bench) -> None:
    bench.answers(RIGHT, delay_seconds=600)
    task = asyncio.create_task(bench.solve())
    await asyncio.wait_for(bench.began.wait(), 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.saved == []
    assert bench.sandbox.runs == 0


async def test_cancelling_while_the_tests_run_saves_nothing(bench: Bench) -> None:
    bench.answers("```python\nimport time\ntime.sleep(9)\n```")
    task = asyncio.create_task(bench.solve(max_attempts=1))
    await asyncio.wait_for(bench.sandbox.began.wait(), 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.saved == []
