"""The loop with a scripted model: every way it can end, and what it keeps."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rune_engine.agent.graph import run_task
from rune_engine.errors import InferenceError, SandboxUnavailableError
from rune_engine.inference.provider import AdapterRef
from rune_engine.inference.scripted import ScriptedProvider
from rune_engine.models import RunTaskParams, TaskResult, Trajectory, TrajectoryDraft
from rune_engine.sandbox.verdict import Evidence, Fail, Infra, Pass, Verdict

RIGHT = "```python\ndef add(a, b):\n    return a + b\n```"
WRONG = "```python\ndef add(a, b):\n    return a - b\n```"
TESTS = "assert add(2, 2) == 4"


class Bench:
    """A scripted model, a trajectory list, and a sandbox that answers from a list of verdicts.

    The real sandbox has its own tests; here every verdict must be had on demand.
    """

    def __init__(self, folder: Path) -> None:
        self._script = folder / "script.json"
        self.verdicts: list[Verdict | Exception] = []
        self.runs: list[tuple[str, str, Path | None]] = []
        self.saved: list[TrajectoryDraft] = []
        self.progress: list[tuple[float, str]] = []
        self.answers(WRONG, RIGHT)

    def answers(self, *answers: str, **rule: Any) -> None:
        self._script.write_text(json.dumps([{"contains": "add", "answers": answers, **rule}]))

    async def run(self, candidate: str, tests: str, workspace: Path | None = None) -> Verdict:
        self.runs.append((candidate, tests, workspace))
        verdict = self.verdicts.pop(0) if self.verdicts else judged(candidate)
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    def record(self, draft: TrajectoryDraft) -> tuple[Trajectory, bool]:
        self.saved.append(draft)
        fields = draft.model_dump() | {"session_id": draft.session_id or "session-1"}
        stored = Trajectory(**fields, id="trajectory-1", content_hash="0", created_at="now")
        return stored, False

    async def solve(self, adapter: AdapterRef | None = None, **params: Any) -> TaskResult:
        wanted = {"task_description": "add two numbers", "test_suite": TESTS, **params}
        return await run_task(
            RunTaskParams(**wanted),
            provider=ScriptedProvider(self._script),
            sandbox=self,
            trajectories=self,
            adapter=adapter,
            adapter_reason="chosen by hand",
            on_progress=lambda fraction, message: self.progress.append((fraction, message)),
        )


def judged(candidate: str) -> Verdict:
    """What running the candidate against `TESTS` ends in, by its text."""
    right = "a + b" in candidate
    stderr = "" if right else "AssertionError: add(2, 2) is 0"
    evidence = Evidence(
        tier="none",
        in_process=False,
        limits={},
        runner_sha256="0",
        tests_sha256="0",
        candidate_sha256="0",
        wall_seconds=0.1,
        stdout="ran",
        stderr=stderr,
        exit_code=0 if right else 1,
    )
    return Pass(evidence=evidence) if right else Fail(message="add", evidence=evidence)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_it_tries_again_until_the_tests_pass(bench: Bench) -> None:
    result = await bench.solve()
    assert (result.outcome, result.tests_passed) == ("success", True)
    assert result.code == "def add(a, b):\n    return a + b"
    assert [attempt.tests_passed for attempt in result.attempts] == [False, True]
    first = result.attempts[0]
    assert (first.stdout, first.exit_code) == ("ran", 1)
    assert first.stderr == "AssertionError: add(2, 2) is 0"
    assert first.verdict is not None and first.verdict["kind"] == "fail"
    assert result.trajectory_id == "trajectory-1"
    assert result.base_model_id == "scripted"
    assert result.adapter_reason == "chosen by hand"


async def test_the_trajectory_saved_is_the_one_returned(bench: Bench, tmp_path: Path) -> None:
    weights = tmp_path / "adapter_model.safetensors"
    weights.write_bytes(b"weights")
    import hashlib

    adapter = AdapterRef("a-1", tmp_path, hashlib.sha256(b"weights").hexdigest(), "scripted")
    names = {"project_id": "p", "domain": "d", "task_type": "bug-fix", "session_id": "s-1"}
    result = await bench.solve(adapter, held_out=True, agent_id="me", **names)
    [draft] = bench.saved
    assert draft.attempts == result.attempts
    assert draft.model_dump(include=set(names)) == names
    assert (draft.outcome, draft.source, draft.held_out) == ("success", "agent_loop", True)
    assert (draft.adapter_id, draft.agent_id, draft.test_suite) == ("a-1", "me", TESTS)
    assert result.adapter_id == "a-1"


@pytest.mark.parametrize("max_attempts", [1, 3, 10])
async def test_it_never_tries_more_often_than_it_may(bench: Bench, max_attempts: int) -> None:
    bench.answers(WRONG)
    result = await bench.solve(max_attempts=max_attempts)
    assert (result.outcome, result.tests_passed) == ("exhausted", False)
    assert len(result.attempts) == len(bench.runs) == max_attempts
    assert [draft.outcome for draft in bench.saved] == ["exhausted"]


async def test_a_failed_attempt_and_its_error_are_part_of_the_next_prompt(bench: Bench) -> None:
    bench.answers(WRONG)
    once = await bench.solve(max_attempts=1)
    twice = await bench.solve(max_attempts=2)
    repeated = len(f"{WRONG} {once.attempts[0].stderr}".split())
    assert twice.prompt_tokens > 2 * once.prompt_tokens + repeated
    assert twice.completion_tokens == 2 * once.completion_tokens


async def test_without_tests_there_is_one_attempt_and_no_verdict(bench: Bench) -> None:
    result = await bench.solve(test_suite=" \n")
    assert bench.runs == []
    assert (result.outcome, result.tests_passed) == ("exhausted", False)
    assert [attempt.tests_passed for attempt in result.attempts] == [None]
    assert len(bench.saved) == 1


async def test_a_run_without_a_verdict_is_run_again_and_not_counted(bench: Bench) -> None:
    bench.answers(RIGHT)
    bench.verdicts = [Infra(message="the machine hiccuped")]
    result = await bench.solve(max_attempts=1)
    assert result.outcome == "success"
    assert len(bench.runs) == 2
    assert len(result.attempts) == 1


async def test_when_no_verdict_can_be_had_it_stops_and_says_none(bench: Bench) -> None:
    bench.verdicts = [Infra(message="broken"), Infra(message="broken")]
    result = await bench.solve()
    assert [attempt.tests_passed for attempt in result.attempts] == [None]
    assert result.outcome == "exhausted"


async def test_without_a_sandbox_the_code_is_saved_before_the_error(bench: Bench) -> None:
    bench.verdicts = [SandboxUnavailableError("No isolation here.")]
    with pytest.raises(SandboxUnavailableError, match="No isolation"):
        await bench.solve()
    [draft] = bench.saved
    assert draft.outcome == "exhausted"
    assert [attempt.tests_passed for attempt in draft.attempts] == [None]
    assert "a - b" in draft.attempts[0].generated_code


async def test_when_the_model_fails_at_once_nothing_is_saved(bench: Bench) -> None:
    with pytest.raises(InferenceError, match="No rule"):
        await bench.solve(task_description="multiply")
    assert bench.saved == []


async def test_the_workspace_reaches_the_sandbox(bench: Bench, tmp_path: Path) -> None:
    await bench.solve(workspace=str(tmp_path))
    assert {workspace for _, _, workspace in bench.runs} == {tmp_path}


async def test_progress_only_rises_and_ends_at_one(bench: Bench) -> None:
    await bench.solve()
    fractions = [fraction for fraction, _ in bench.progress]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0.0 and fractions[-1] == 1.0
    assert "attempt 2 of 3" in bench.progress[2][1]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def test_cancelling_saves_nothing(bench: Bench) -> None:
    bench.answers(RIGHT, delay_seconds=600)
    task = asyncio.create_task(bench.solve())
    await until(lambda: bench.progress)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.saved == []
    assert bench.runs == []
