"""Runs every attack on one tier, and reports what held.

An attack escapes when any effect of any kind is seen outside, when the sandbox raises, or when it
does not answer in time. A forgery succeeds when it passes, in whichever form its tests come. Tests
that must share the candidate's process cannot be defended there: such a pass says so, and counts
as forged unless it is also marked as suspicious, which nothing is promoted or trained on.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import string
import sys
import time
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from typing import Any

from rune_engine.config import SandboxLimits
from rune_engine.errors import SandboxUnavailableError
from rune_engine.sandbox.conformance import machine, scene
from rune_engine.sandbox.conformance.attack import Attack, Forgery, program
from rune_engine.sandbox.conformance.forms import FORMS, RIGHT, WRONG
from rune_engine.sandbox.conformance.manifest import (
    ATTACKS,
    FORGERIES,
    NO_PROJECT,
    REQUIREMENTS,
    STATED_LIMITS,
)
from rune_engine.sandbox.conformance.report import Report, Row
from rune_engine.sandbox.process import Profile
from rune_engine.sandbox.sandbox import Sandbox
from rune_engine.sandbox.tiers import available
from rune_engine.sandbox.verdict import Infra, Oracle, Pass, Timeout, Verdict

_AT_ONCE = 3
_JUDGED_INSIDE = ("own tests", "asserts", "unittest")
_ANSWER_SECONDS = 90.0
_LIMITS = SandboxLimits(wall_seconds=10, cpu_seconds=8)
_ENDLESS_LIMITS = SandboxLimits(wall_seconds=2, cpu_seconds=1)
_BOUNDS = machine.Bounds(
    processes=_LIMITS.processes,
    memory_bytes=_LIMITS.memory_bytes * 5 // 4,
    shared_bytes=256 * 1024**2,
    disk_bytes=1024**3,
    files=50_000,
    handles=10_000,
)


@dataclass(frozen=True)
class _Answer:
    verdict: Verdict | None
    effects: frozenset[str] = frozenset()

    @property
    def said(self) -> str:
        return "" if self.verdict is None else self.verdict.model_dump_json()

    @property
    def printed(self) -> str:
        evidence = self.verdict.evidence if self.verdict is not None else None
        return evidence.stdout if evidence is not None else ""


async def check(
    sandbox: Sandbox,
    *,
    only: Collection[str] = (),
    progress: Callable[[str, int], None] = lambda label, total: None,
) -> Report:
    """Attack `sandbox`.

    Args:
        only: ids; every attack when empty.
        progress: called with each attack's label when it is over, and the number of all.

    Raises:
        SandboxUnavailableError: nothing can be run on this tier, or right answers do not pass.
    """
    began = time.monotonic()
    os.environ.setdefault(scene.SECRET_VARIABLE, secrets.token_hex(16))
    await _refuse_unless_it_judges(sandbox)
    limits = _stated_limits(sandbox)
    rows = [_stated(row, limits) for row in await _attack_all(sandbox, only, progress, limits)]
    await _refuse_unless_it_judges(sandbox)  # still, after all of that
    skipped = {row.label: row.no_verdict for row in rows if row.no_verdict is not None}
    if not only or set(only) & {"N6"}:
        skipped |= _unarmed()
    skipped |= _not_applicable(only)
    return Report(
        tier=sandbox.describe(),
        attacks=len(rows),
        escaped=tuple(row.label for row in rows if row.effects and not row.stated),
        forged=tuple(row.label for row in rows if row.forged),
        flagged=tuple(row.label for row in rows if row.flagged),
        limits=limits,
        skipped=skipped,
        seconds=round(time.monotonic() - began, 1),
        rows=tuple(rows),
    )


def _stated_limits(sandbox: Sandbox) -> tuple[str, ...]:
    name = sandbox.describe()
    return next(tier.limits for tier in available() if tier.name == name)


def _stated(row: Row, limits: tuple[str, ...]) -> Row:
    """Mark a row whose every effect is one that the tier says it does not hold."""
    words = [STATED_LIMITS.get((row.id, effect)) for effect in row.effects]
    named = all(w is not None and any(limit.startswith(w) for limit in limits) for w in words)
    return row.model_copy(update={"stated": bool(words) and named})


async def _refuse_unless_it_judges(sandbox: Sandbox) -> None:
    """Right candidates pass and wrong ones fail in every form, or nothing here means anything."""
    for form, tests in FORMS.items():
        right = await sandbox.run(RIGHT, tests, limits=_LIMITS)
        wrong = await sandbox.run(WRONG, tests, limits=_LIMITS)
        if (right.kind, wrong.kind) != ("pass", "fail"):
            raise SandboxUnavailableError(
                f"The sandbox misjudges plain code with tests as {form}: {right}, {wrong}",
                next_step="Report this with the output of `rune sandbox check --json`.",
            )


def number_of_attacks(
    only: Collection[str] = (), profiles: Collection[Profile] = ("pure", "project")
) -> int:
    """How many rows a report about `only` will have on a tier with these profiles."""
    attacks = sum(not only or attack.id in only for attack in ATTACKS)
    return attacks * len(profiles) + sum(
        len(_forms(each)) for each in FORGERIES if not only or each.id in only
    )


def _forms(forgery: Forgery) -> list[tuple[str, str, Oracle]]:
    """(name, tests, the strongest oracle) of every way in which `forgery` is judged."""
    forms = {"own tests": forgery.tests} if forgery.tests else FORMS
    best: list[tuple[str, str, Oracle]] = [
        (name, tests, "outside") for name, tests in forms.items()
    ]
    weakest = [name for name in forms if name in _JUDGED_INSIDE]
    return [*best, *((f"{name}, in its own process", forms[name], "inside") for name in weakest)]


async def _attack_all(
    sandbox: Sandbox,
    only: Collection[str],
    progress: Callable[[str, int], None],
    limits: tuple[str, ...],
) -> list[Row]:
    refused = any(limit.startswith(NO_PROJECT) for limit in limits)
    profiles: tuple[Profile, ...] = ("pure",) if refused else ("pure", "project")
    total = number_of_attacks(only, profiles)
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(work: Coroutine[Any, Any, Row]) -> Row:
        async with slots:
            row = await work
        progress(row.label, total)
        return row

    wanted = [attack for attack in ATTACKS if not only or attack.id in only]
    forged = [forgery for forgery in FORGERIES if not only or forgery.id in only]
    attacks = [(attack, profile) for profile in profiles for attack in wanted]
    together = [each for each in attacks if not each[0].alone]
    works = [_attacked(sandbox, *each) for each in together]
    works += [row for forgery in forged for row in _forged(sandbox, forgery)]
    rows = await asyncio.gather(*(one(work) for work in works))
    for number, each in enumerate(together):
        rows[number] = await _insist(sandbox, *each, rows[number])
    for each in attacks:
        if each[0].alone:
            row = await one(_attacked(sandbox, *each))
            rows.append(await _insist(sandbox, *each, row))
    order = {requirement.id: place for place, requirement in enumerate(REQUIREMENTS)}
    return sorted(rows, key=lambda row: order[row.id])


async def _insist(sandbox: Sandbox, attack: Attack, profile: Profile, row: Row) -> Row:
    """The row, or that of the same attack alone where beside others there was no verdict."""
    for _ in range(2):
        if row.no_verdict is None or not row.held:
            break
        row = await _attacked(sandbox, attack, profile)
    return row


async def _attacked(sandbox: Sandbox, attack: Attack, profile: Profile) -> Row:
    """One attack on its own scene."""
    # Time that is to run out is short; a flood ends by its size, however late it starts.
    by_time = attack.endless and attack.effect != "flooded"
    limits = _ENDLESS_LIMITS if by_time else _LIMITS
    after = _Answer(None)
    with scene.scene(scene.Sizes(confined=True)) as here:
        tests = string.Template(attack.tests).safe_substitute(expected=here.words.expected)
        async with machine.watching(here.name, shared=attack.alone) as seen:
            code = program(attack.program, here.target())
            answer = await _answer(sandbox, code, tests, limits, profile=profile)
            if attack.then:
                code = program(attack.then, here.target(marked=False))
                after = await _answer(sandbox, code, tests, limits, profile=profile)
        said = answer.said + after.said.replace(here.words.mark, "") if attack.then else answer.said
        effects = here.effects(said, answer.printed, after.said) | seen.effects(_BOUNDS)
    effects |= answer.effects | after.effects
    name = attack.name if profile == "pure" else f"{attack.name}; project"
    row = _row(attack.id, name, answer.verdict, tuple(sorted(effects)))
    timed_out = isinstance(answer.verdict, Timeout)
    if timed_out and sys.platform == "linux" and not seen.times:
        return row.model_copy(update={"no_verdict": "its processes could not be watched"})
    return row


def _row(id: str, name: str, verdict: Verdict | None, effects: tuple[str, ...] = ()) -> Row:
    return Row(
        id=id,
        name=name,
        verdict=verdict.kind if verdict is not None else "none",
        effects=effects,
        no_verdict=f"no verdict: {verdict.message}" if isinstance(verdict, Infra) else None,
    )


def _forged(sandbox: Sandbox, forgery: Forgery) -> list[Coroutine[Any, Any, Row]]:
    async def judge(form: str, tests: str, strongest: Oracle) -> Row:
        answer = await _answer(sandbox, forgery.candidate, tests, _ENDLESS_LIMITS, strongest)
        passed = isinstance(answer.verdict, Pass)
        flagged = passed and _is_flagged(answer.verdict)
        name = f"{forgery.name}; {form}"
        row = _row(forgery.id, name, answer.verdict, tuple(sorted(answer.effects)))
        # That a forgery brings the judge to say nothing is what it may well end in.
        return row.model_copy(
            update={"forged": passed and not flagged, "flagged": flagged, "no_verdict": None}
        )

    return [judge(*form) for form in _forms(forgery)]


def _is_flagged(verdict: Verdict | None) -> bool:
    evidence = verdict.evidence if verdict is not None else None
    return evidence is not None and evidence.in_process and bool(evidence.suspicion)


async def _answer(
    sandbox: Sandbox,
    code: str,
    tests: str,
    limits: SandboxLimits,
    strongest: Oracle = "outside",
    profile: Profile = "pure",
) -> _Answer:
    """The verdict, and the effects that can be seen on it or instead of it."""
    try:
        run = sandbox.run(code, tests, limits=limits, strongest=strongest, profile=profile)
        verdict = await asyncio.wait_for(run, _ANSWER_SECONDS)
        text = verdict.model_dump_json()
        same = type(verdict).model_validate_json(text).model_dump_json() == text
    except TimeoutError:
        return _Answer(None, frozenset({"does not end"}))
    except Exception as error:  # noqa: BLE001  what a candidate makes the engine raise is a finding
        return _Answer(None, frozenset({f"raises {type(error).__name__}"}))
    found = {"flooded": len(text) > _BOUNDS.answer_bytes, "no JSON": not same}
    return _Answer(verdict, frozenset(effect for effect, happened in found.items() if happened))


def _unarmed() -> dict[str, str]:
    """Attacks whose witness this machine cannot have."""
    with scene.scene(scene.SMALL) as here:
        if here.target()["vsock"]:
            return {}
    return {"N6 vsock": "this machine has no vsock to listen on"}


def _not_applicable(only: Collection[str]) -> dict[str, str]:
    return {
        f"{each.id} {each.title}": each.checked
        for each in REQUIREMENTS
        if each.checked != "attack" and (not only or each.id in only)
    }
