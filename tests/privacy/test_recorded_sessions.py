"""200 planted secrets through a real engine: no byte of them is in its home, whatever it does."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from engine_support import ADD_TESTS, base_model_folder, finished, is_alive, until

from benchmarks.planted_secrets import TOKENS, Planted, all_kinds
from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig
from rune_engine.models import Attempt, DistillParams, RunTaskParams, TrajectoryDraft

FIELDS = (
    "task_description", "test_suite", "generated_code", "stdout", "stderr", "verdict", "evidence",
)  # fmt: skip
CLEAN = "def add(a, b):\n    return a + b\n"


def sessions(planted: list[Planted], rng: random.Random) -> list[TrajectoryDraft]:
    """Trajectories of ten secrets each, spread over every field that holds text."""
    return [_session(number, planted[number : number + 10], rng) for number in range(0, 200, 10)]


def _session(number: int, planted: list[Planted], rng: random.Random) -> TrajectoryDraft:
    texts = dict.fromkeys(FIELDS, f"Add two numbers, {number}.\n")
    texts["generated_code"] = CLEAN
    for position, secret in enumerate(planted):
        texts[FIELDS[(number // 10 + position) % len(FIELDS)]] += f"\n{secret.text}\n"
    verdict = {
        "kind": "pass",
        "message": texts["verdict"],
        "evidence": {"stdout": texts["stdout"], "calls": [{"shown": [texts["evidence"]]}]},
    }
    attempt: dict[str, Any] = {"stdout": texts["stdout"], "stderr": texts["stderr"]}
    return TrajectoryDraft(
        project_id="shop",
        task_description=texts["task_description"],
        test_suite=texts["test_suite"],
        attempts=[
            Attempt(generated_code=CLEAN, tests_passed=False, **attempt),
            Attempt(generated_code=texts["generated_code"], tests_passed=True, verdict=verdict),
        ],
        outcome="success",
        agent_id=f"agent {TOKENS['github'](rng)}",
        session_id=TOKENS["npm"](rng),
    )


def raw_text(folder: Path) -> bytes:
    """Every byte of every file below a folder, the database's journal too."""
    return b"\0".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def found_in(folder: Path, needles: list[str]) -> list[str]:
    everything = raw_text(folder)
    return [needle for needle in needles if needle.encode() in everything]


async def test_no_planted_secret_is_in_database_logs_or_training_data(
    client: EngineClient, config: RuneConfig, tmp_path: Path
) -> None:
    rng = random.Random(2)
    planted = all_kinds(1)
    drafts = sessions(planted, rng)
    needles = [needle for one in planted for needle in one.needles]
    needles += [str(draft.agent_id).split()[1] for draft in drafts]
    needles += [str(draft.session_id) for draft in drafts]

    answers = [await client.record(draft) for draft in drafts]
    assert sum(sum(answer.redacted.values()) for answer in answers) >= 200
    assert found_in(config.home, needles) == []
    again = [await client.record(draft) for draft in drafts]
    assert all(answer.duplicate for answer in again)
    assert [a.redacted for a in again] == [a.redacted for a in answers]

    model = base_model_folder(tmp_path, "hang")
    job = await client.distill(DistillParams(project_id="shop", base_model=str(model)))
    trajectories = config.jobs_path / job.id / "trajectories.jsonl"
    await until((model / "trainer.pid").exists, "the trainer trains")
    assert b"[secret:" in trajectories.read_bytes()
    assert found_in(config.home, needles) == []
    await client.cancel_job(job.id)
    await finished(client, job)
    assert not is_alive(int((model / "trainer.pid").read_text()))
    assert found_in(config.home, needles) == []
    await client.stop()
    assert found_in(config.home, needles) == []


async def test_a_task_with_secrets_is_queued_and_solved_without_them(
    client: EngineClient, config: RuneConfig
) -> None:
    planted = all_kinds(7, 40)
    params = RunTaskParams(
        task_description="Add two numbers\n" + "\n".join(one.text for one in planted[:20]),
        test_suite=ADD_TESTS + "".join(f"\n{one.text!r}" for one in planted[20:]),
        project_id="shop",
        agent_id=TOKENS["gitlab"](random.Random(3)),
    )
    job = await client.run_task(params)
    assert "[secret:" in job.params["task_description"]
    assert job.params["agent_id"] == "secret-gitlab-token"
    job = await finished(client, job)
    assert job.result is not None, job.error
    assert job.result["tests_passed"] is True
    needles = [needle for one in planted for needle in one.needles]
    assert found_in(config.home, [*needles, str(params.agent_id)]) == []
    assert [needle for needle in needles if needle in json.dumps(job.result)] == []


async def test_an_error_that_repeats_a_secret_is_kept_without_it(
    client: EngineClient, config: RuneConfig
) -> None:
    token = TOKENS["anthropic"](random.Random(4))
    job = await client.run_task(RunTaskParams(task_description=f"Nobody knows this: {token}"))
    job = await finished(client, job)
    assert job.status == "failed"
    assert token not in job.model_dump_json()
    assert found_in(config.home, [token]) == []
