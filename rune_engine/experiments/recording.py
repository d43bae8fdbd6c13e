"""Subjects' sessions become trajectories: every attempt really runs, and prints what it prints.

What was recorded is kept in the work folder, so that a run that goes on teaches the same. Knows
neither models nor adapters.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rune_engine.durable import write_file
from rune_engine.errors import InvalidInputError
from rune_engine.experiments.subjects import Lesson, Subject
from rune_engine.models import Attempt, Trajectory, TrajectoryDraft
from rune_engine.sandbox.sandbox import Sandbox
from rune_engine.sandbox.verdict import Infra, Verdict, tests_passed
from rune_engine.trajectories.checks import content_hash


@dataclass(frozen=True, slots=True)
class Taught:
    """A subject with what was recorded of it; code of its tasks may import from `workspace`."""

    subject: Subject
    trajectories: tuple[Trajectory, ...]
    workspace: Path


async def record(
    subjects: Sequence[Subject], work: Path, sandbox: Sandbox, advance: Callable[[], None]
) -> list[Taught]:
    """Record every subject that `work` does not hold yet.

    Raises:
        InvalidInputError: a lesson's last attempt does not pass its own tests.
        SandboxUnavailableError: this machine cannot isolate code.
    """
    taught = []
    for subject in subjects:
        workspace = _lay_out(subject, work)
        file = work / "trajectories" / f"{subject.name}-{_digest(subject)}.jsonl"
        if not file.is_file():
            trajectories = [
                await _recorded(subject, number, workspace, sandbox)
                for number in range(len(subject.lessons))
            ]
            file.parent.mkdir(parents=True, exist_ok=True)
            write_file(file, "".join(f"{t.model_dump_json()}\n" for t in trajectories))
        taught.append(Taught(subject, read_trajectories(file), workspace))
        advance()
    return taught


def read_trajectories(file: Path) -> tuple[Trajectory, ...]:
    """JSON Lines of trajectories."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return tuple(Trajectory.model_validate_json(line) for line in lines)


def _lay_out(subject: Subject, work: Path) -> Path:
    workspace = work / "workspaces" / subject.name
    workspace.mkdir(parents=True, exist_ok=True)
    for name, text in subject.files.items():
        path = workspace / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return workspace


def _digest(subject: Subject) -> str:
    made_of = [list(map(asdict, subject.lessons)), sorted(subject.files.items())]
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]


async def _recorded(subject: Subject, number: int, workspace: Path, sandbox: Sandbox) -> Trajectory:
    lesson = subject.lessons[number]
    attempts = [await _attempt(code, lesson, workspace, sandbox) for code in lesson.attempts]
    if attempts[-1].tests_passed is not True:
        raise InvalidInputError(
            f"Lesson {number} of {subject.name} ends in code that does not pass its own tests: "
            f"{attempts[-1].stderr.strip()[-300:]}",
            next_step="Take this task out of the suite; if there is none, please report it.",
        )
    draft = TrajectoryDraft(
        project_id=subject.name,
        task_description=lesson.description,
        test_suite=lesson.tests,
        attempts=attempts,
        outcome="success",
        agent_id="gate",
    )
    own = {
        "id": f"{subject.name}-{number}",
        "session_id": f"{subject.name}-{number}",
        "content_hash": content_hash(draft),
        "created_at": f"2026-01-01T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}Z",
    }
    return Trajectory.model_validate(draft.model_dump(exclude={"session_id"}) | own)


async def _attempt(code: str, lesson: Lesson, workspace: Path, sandbox: Sandbox) -> Attempt:
    verdict = await judged(sandbox, code, lesson.tests, workspace)
    evidence = verdict.evidence
    return Attempt(
        generated_code=code,
        stdout=evidence.stdout if evidence else "",
        stderr=evidence.stderr if evidence else "",
        exit_code=evidence.exit_code if evidence else None,
        tests_passed=tests_passed(verdict),
        verdict=verdict.model_dump(mode="json"),
    )


async def judged(sandbox: Sandbox, code: str, tests: str, workspace: Path) -> Verdict:
    """The verdict as the agent loop reaches it: a pass has to come twice, no verdict is retried."""
    verdict = await sandbox.run(code, tests, workspace=workspace, confirm=True)
    if isinstance(verdict, Infra):
        verdict = await sandbox.run(code, tests, workspace=workspace, confirm=True)
    return verdict
