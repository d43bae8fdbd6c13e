"""What Rune is held to: its own choice at the end, and policies that are fixed beforehand.

Rune answers from a copy of the home as the weeks have left it. The fixed policies have a home of
their own: the same sessions are recorded there, and adapters are made of them as the policy says.
All answer the same tasks, through the same `run_task`.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.lifecycle.asking import AUTO, NONE, Answers, ask, finished
from benchmarks.lifecycle.living import arm_config, draft_of, running
from benchmarks.lifecycle.telling import tell
from benchmarks.lifecycle.worlds import POISONS, Arm, FinalTask, Nature, World, natures_of
from rune_engine.models import DistillParams
from rune_engine.models.training import DistillMethod
from rune_engine.service.engine import Engine

RUNE = "rune"
BASE = "no adapter"
NEWEST, NEWEST_OWN = "newest adapter", "newest adapter of the project"
FAST, DIRECT = "made at once per project", "trained directly per project"
ALL_FAST, ALL_CLOSED = "one adapter for all, made at once", "one adapter for all, closed form"
FIXED = (BASE, NEWEST, NEWEST_OWN, ALL_FAST, ALL_CLOSED, FAST, DIRECT)
"""The fixed policies that Rune has to be at least as good as."""

_EVERYTHING = "everything"
"""The project under which the sessions of all are recorded together."""


def poisoned_by(nature: Nature) -> str:
    """What is made at once of the clean sessions and those of one kind that are not."""
    return f"{FAST}, with {nature} sessions"


async def ask_rune(world: World, arm: Arm, folder: Path, workspaces: Mapping[str, str]) -> None:
    """Ask the home of this arm: as Rune chooses, without an adapter, and with the newest."""
    answers = Answers(folder / "answers-rune.jsonl")
    policies = (RUNE, BASE, NEWEST, NEWEST_OWN)
    if any(answers.missing(policy, world.tasks) for policy in policies):
        copy = folder / "asked"
        if not copy.exists():
            # A copy that was cut off must not count as one.
            await asyncio.to_thread(_copy, folder / "home", copy)
        async with running(arm_config(copy, schedule=False)) as engine:
            newest = _newest(engine)
            rules: dict[str, Callable[[FinalTask], str]] = {
                RUNE: lambda _task: AUTO,
                BASE: lambda _task: NONE,
                NEWEST: lambda _task: newest.get(None, NONE),
                NEWEST_OWN: lambda task: newest.get(task.project_id, NONE),
            }
            for policy, rule in rules.items():
                await ask(engine, answers, policy, world.tasks, workspaces, rule)
                tell(arm, f"asked: {policy}")
    answers.close()


def _copy(home: Path, copy: Path) -> None:
    partial = copy.with_name(copy.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(home, partial, ignore=shutil.ignore_patterns("engine.*"))
    partial.rename(copy)


def _newest(engine: Engine) -> dict[str | None, str]:
    """The adapter that was distilled last, of each project and (None) of all; in use or not."""
    found: dict[str | None, str] = {}
    for adapter in engine.registry.list_all():  # the newest first
        if adapter.source == "distillation":
            found.setdefault(None, adapter.id)
            found.setdefault(adapter.project_id, adapter.id)
    return found


async def ask_fixed(
    world: World, arm: Arm, folder: Path, workspaces: Mapping[str, str], *, direct: bool
) -> None:
    """Make the adapters of the fixed policies, and ask with them.

    Args:
        direct: whether the direct trainings are made, which take the longest.
    """
    answers = Answers(folder / "answers-fixed.jsonl")
    async with running(arm_config(folder / "fixed", schedule=False)) as engine:
        ids = _record(engine, world, arm, workspaces)
        for policy in _policies(arm, direct=direct):
            if answers.missing(policy.name, world.tasks):
                made = await _make(engine, policy, ids)
                rule = policy.rule(made)
                await ask(engine, answers, policy.name, world.tasks, workspaces, rule)
                tell(arm, f"asked: {policy.name}")
    answers.close()


@dataclass(frozen=True, slots=True)
class _Policy:
    """How a policy's adapters are made, and of which sessions."""

    name: str
    method: DistillMethod
    natures: tuple[Nature, ...]
    together: bool = False

    def rule(self, made: Mapping[str, str]) -> Callable[[FinalTask], str]:
        """The adapter for a task."""
        return lambda task: made[_EVERYTHING if self.together else task.project_id]


def _policies(arm: Arm, *, direct: bool) -> list[_Policy]:
    all_natures = natures_of(arm)
    found = [
        _Policy(FAST, "auto", all_natures),
        _Policy(ALL_FAST, "auto", all_natures, together=True),
        _Policy(ALL_CLOSED, "closed_form", all_natures, together=True),
    ]
    if arm == "poisoned":
        found += [_Policy(poisoned_by(kind), "auto", ("clean", kind)) for kind in POISONS]
    return [*found, _Policy(DIRECT, "direct", all_natures)] if direct else found


def _record(
    engine: Engine, world: World, arm: Arm, workspaces: Mapping[str, str]
) -> dict[str, dict[Nature, list[str]]]:
    """Record the sessions, each under its project and under the one of all; the ids, by nature."""
    ids: dict[str, dict[Nature, list[str]]] = defaultdict(lambda: defaultdict(list))
    for session in world.lived(arm):
        draft = draft_of(session, workspaces)
        for project_id in (session.project_id, _EVERYTHING):
            stored = engine.record(draft.model_copy(update={"project_id": project_id}))
            ids[project_id][session.nature].append(stored.trajectory_id)
    return ids


async def _make(
    engine: Engine, policy: _Policy, ids: Mapping[str, Mapping[Nature, list[str]]]
) -> dict[str, str]:
    """The policy's adapters, by project; what was made before is not made again."""
    made = {}
    for project_id, found in ids.items():
        if (project_id == _EVERYTHING) != policy.together:
            continue
        chosen = [each for nature in policy.natures for each in found.get(nature, ())]
        params = DistillParams(project_id=project_id, method=policy.method, trajectory_ids=chosen)
        key = f"{policy.name}/{project_id}"
        job = await finished(engine, await engine.submit_distill(params, idempotency_key=key))
        made[project_id] = str(job["adapter_id"])
    return made
