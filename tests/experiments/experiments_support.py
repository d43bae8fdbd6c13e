"""Subjects, answers and figures for the tests of the gate."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rune_engine.errors import ContextTooLongError
from rune_engine.experiments.conditions import Condition
from rune_engine.experiments.decision import decide
from rune_engine.experiments.figures import Bootstrap, Figures, condition_figures, pass_figures
from rune_engine.experiments.leaks import Check
from rune_engine.experiments.promises import judge
from rune_engine.experiments.recording import Taught
from rune_engine.experiments.sampling import Answered
from rune_engine.experiments.settings import GateSettings
from rune_engine.experiments.subjects import Subject, world_subject
from rune_engine.inference.provider import AdapterRef, Generation, GenerationRequest
from rune_engine.inference.scripted import ScriptedProvider
from rune_engine.models import Attempt, Trajectory

KINDS = ("new_combinations", "new_wordings")
SMALL = GateSettings(seeds=(1,), projects=2, sessions=6, tasks=2, plain=2, samples=2)


def suite_file(folder: Path, count: int = 6) -> Path:
    """A suite of tasks that add a number."""
    file = folder / "adding.jsonl"
    rows = [
        {
            "task_id": f"add/{number}",
            "prompt": f"def add_{number}(x):\n    # adds {number}\n",
            "canonical_solution": f"    return x + {number}\n",
            "test": f"def check(candidate):\n    assert candidate(1) == {number + 1}\n",
            "entry_point": f"add_{number}",
        }
        for number in range(count)
    ]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return file


def taught_without_running(subject: Subject, folder: Path) -> Taught:
    """The subject's trajectories as they would be, but for what its attempts print."""
    trajectories = []
    for number, lesson in enumerate(subject.lessons):
        *wrong, right = lesson.attempts
        attempts = [
            Attempt(generated_code=code, stderr="NameError: it is wrong", tests_passed=False)
            for code in wrong
        ]
        attempts.append(Attempt(generated_code=right, tests_passed=True))
        trajectories.append(
            Trajectory(
                id=f"t{number}",
                session_id=f"s{number}",
                content_hash="0" * 64,
                created_at="2026-01-01T00:00:00Z",
                project_id=subject.name,
                task_description=lesson.description,
                test_suite=lesson.tests,
                attempts=attempts,
                outcome="success",
            )
        )
    folder.mkdir(parents=True, exist_ok=True)
    return Taught(subject, tuple(trajectories), folder)


def small_world(folder: Path, number: int = 0) -> Taught:
    return taught_without_running(world_subject(1, number, SMALL), folder)


def answered(
    subject: str, task: str, verdicts: Sequence[bool | None], kind: str = "new_combinations"
) -> Answered:
    return Answered(subject, f"{subject}/{task}", kind, tuple(verdicts), 20, 30.0)


class Narrow(ScriptedProvider):
    """The scripted provider with a context of so many words; remembers what it was asked."""

    def __init__(self, script: Path, words: int = 10**9) -> None:
        super().__init__(script)
        self.words = words
        self.asked: list[list[GenerationRequest]] = []

    async def generate(
        self, requests: Sequence[GenerationRequest], *, adapter: AdapterRef | None = None
    ) -> list[Generation]:
        for request in requests:
            if sum(len(m.content.split()) for m in request.messages) > self.words:
                raise ContextTooLongError("The prompt is too long.")
        self.asked.append(list(requests))
        return await super().generate(requests, adapter=adapter)


def script(folder: Path, rules: Sequence[dict[str, Any]]) -> Path:
    file = folder / "script.json"
    file.write_text(json.dumps(rules), encoding="utf-8")
    return file


def fenced(code: str) -> str:
    return f"```python\n{code}\n```"


def planted_figures(rates: Mapping[str, float | None]) -> Figures:
    """Figures of a run of six projects in which conditions pass this share of the tasks.

    None is a condition that is not available.
    """
    bootstrap = Bootstrap(300, 0)

    def under(rate: float, kinds: Sequence[str] = KINDS) -> list[Answered]:
        passing = [number < round(10 * rate) for number in range(10)]
        return [
            answered(f"p{p}", f"{kind}{n}", [passed], kind)
            for p in range(6)
            for kind in kinds
            for n, passed in enumerate(passing)
        ]

    base, closed_form = (under(rates[name] or 0.0) for name in ("base", "closed_form"))
    conditions = {
        name: condition_figures(
            Condition(name, reason="There is none.")
            if rate is None
            else Condition(name, under(rate)),
            base,
            closed_form,
            bootstrap,
        )
        for name, rate in rates.items()
    }
    decision = decide(conditions)
    figures: Figures = {
        "decision": decision.text,
        "decided_by": {"condition": decision.condition, "reason": decision.reason},
        "command": SMALL.command(),
        "settings": asdict(SMALL),
        "base_model": {
            "name": "tiny",
            "id": "tiny",
            "sha256": "0" * 64,
            "backend": "scripted",
            "precision": "auto",
        },
        "versions": {"rune": "0"},
        "conditions": conditions,
        "timing": {},
        "diagnostics": {},
        "leaks": [asdict(Check("something", 3, 0)) | {"clean": True}],
        "subjects": [
            {
                "name": f"p{p}",
                "seed": 1,
                "trajectories": 6,
                "with_failed_attempts": 2,
                "tasks": 20,
                "plain": 0,
                "new_wordings_of_recorded_code": 1,
            }
            for p in range(6)
        ],
        "adapters": {"closed_form-p0": {}},
        "plain": {"base": pass_figures(under(1.0, ["plain"]), bootstrap)},
        "repair": {},
        "growth": {},
        "consolidation": None,
        "seconds": 60.0,
    }
    figures["promises"] = [asdict(promise) for promise in judge(figures)]
    return figures
