"""No cheat passes, in whatever form the tests come, and most are flagged by their syntax."""

from __future__ import annotations

import asyncio

import cheats
import pytest

from rune_engine.config import SandboxLimits
from rune_engine.models import Attempt
from rune_engine.sandbox import Sandbox
from rune_engine.sandbox.verdict import Verdict
from rune_engine.sandbox.verdict import tests_passed as passed
from rune_engine.suspicion import may_teach, suspicion

ALL = cheats.KNOWN | cheats.OWN
HONESTLY_WRONG = {
    *("bool for int", "a list for a number", "complex that is close", "text that looks right"),
    *("nan", "huge", "deep", "circular", "generator", "printed success", "visible table"),
    *("raises a pass", "thread", "reads the tests"),
}
"""Nothing in their syntax is suspicious as such; only their answers are wrong."""


@pytest.mark.parametrize("name", ALL)
async def test_a_cheat_does_not_pass_in_any_form_of_tests(name: str, sandbox: Sandbox) -> None:
    code = cheats.WRONG + ALL[name]
    limits = SandboxLimits(wall_seconds=2, cpu_seconds=1)
    verdicts = await asyncio.gather(
        *(sandbox.run(code, tests, limits=limits) for tests in cheats.FORMS.values())
    )
    kinds = {form: verdict.kind for form, verdict in zip(cheats.FORMS, verdicts, strict=True)}
    assert "pass" not in kinds.values(), kinds
    oracles = [v.evidence.oracle for v in verdicts if v.evidence is not None]
    assert "inside" not in oracles


def _teaches(code: str, tests: str, verdict: Verdict) -> bool:
    recorded = verdict.model_dump(mode="json")
    attempt = Attempt(generated_code=code, tests_passed=passed(verdict), verdict=recorded)
    return may_teach(attempt, tests)


@pytest.mark.parametrize("name", ALL)
async def test_a_cheat_teaches_nothing_even_where_it_can_pass(name: str, sandbox: Sandbox) -> None:
    """In its own process some pass, and pass again; each is known for what it is."""
    code, limits = cheats.WRONG + ALL[name], SandboxLimits(wall_seconds=2, cpu_seconds=1)
    for tests in cheats.FORMS.values():
        verdict = await sandbox.run(code, tests, limits=limits, strongest="inside", confirm=True)
        assert not _teaches(code, tests, verdict), verdict


async def test_an_honest_pass_in_its_own_process_teaches_when_it_is_confirmed(
    sandbox: Sandbox,
) -> None:
    code, tests = "def add(a, b): return a + b", next(iter(cheats.FORMS.values()))
    for confirm in (True, False):
        verdict = await sandbox.run(code, tests, strongest="inside", confirm=confirm)
        assert verdict.kind == "pass" and verdict.evidence.in_process
        assert _teaches(code, tests, verdict) is confirm


@pytest.mark.parametrize("form", cheats.FORMS)
async def test_the_honest_solution_passes_every_form(form: str, sandbox: Sandbox) -> None:
    verdict = await sandbox.run("def add(a, b): return a + b", cheats.FORMS[form], confirm=True)
    assert verdict.kind == "pass", verdict
    assert verdict.evidence.confirmed and verdict.evidence.controls
    assert verdict.evidence.suspicion == ()


@pytest.mark.parametrize("name", sorted(ALL.keys() - HONESTLY_WRONG))
def test_a_cheat_is_suspicious(name: str) -> None:
    assert suspicion(ALL[name])


def test_a_table_of_the_tests_own_answers_is_suspicious() -> None:
    table = "def add(a, b): return {(1, 2): 3, (5, 5): 10}.get((a, b), 0)"
    chain = "def add(a, b):\n    if (a, b) == (1, 2): return 3\n    if (a, b) == (5, 5): return 10"
    for code in (table, chain):
        assert suspicion(code, cheats.FORMS["check"]) == ("literal-table",)
    assert suspicion("def add(a, b): return a + b", cheats.FORMS["check"]) == ()
