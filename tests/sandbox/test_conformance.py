"""The shipped conformance suite: complete, made of attacks that are attacks, and held."""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from rune_engine.sandbox import Sandbox
from rune_engine.sandbox.conformance import bare, driver, inventions, scene
from rune_engine.sandbox.conformance.attack import Attack, program
from rune_engine.sandbox.conformance.forms import FORMS
from rune_engine.sandbox.conformance.manifest import ATTACKS, FORGERIES, REQUIREMENTS
from rune_engine.sandbox.conformance.report import Report
from rune_engine.sandbox.inside import landlock
from rune_engine.sandbox.tiers import available

ROOT = Path(__file__).parents[2]
_RESEARCHED = """
N1 N2 N3 N4 N5 N6 N7
F1 F2 F3 F4 F5 F6 F7 F8 F9 F10 F11 F12
R1 R2 R3 R4 R5 R6 R7 R8 R9 R10 R11 R12
P1 P2 P3 P4 P5 P6 P7 P8 P9 P10 P11 P12 P13
S1 S2 S3 S4 S5 S6
O1 O2 O3 O4
X1 X2 X3 X4 X5 X6 X7 X8 X9 X10 X11 X12 X13 X14 X15 X16 X17 X18 X19 X20
I1 I2 I3 I4
"""
RESEARCHED = _RESEARCHED.split()
SHOWN_BARE = [attack for attack in ATTACKS if attack.effect]
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="witnesses need /proc")


def test_every_known_attack_has_exactly_one_requirement() -> None:
    ids = [requirement.id for requirement in REQUIREMENTS]
    assert len(ids) == len(set(ids))
    assert set(RESEARCHED) <= set(ids)
    ours = [each for each in ids if each not in RESEARCHED]
    assert ours == [f"Y{number}" for number in range(1, len(ours) + 1)]
    assert len(ours) >= 20


def test_what_is_to_be_checked_by_an_attack_has_one_and_the_rest_has_none() -> None:
    attacked = {attack.id for attack in ATTACKS} | {forgery.id for forgery in FORGERIES}
    assert {each.id for each in REQUIREMENTS if each.checked == "attack"} == attacked


def _tests_in(file: Path) -> set[str]:
    body = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    return {node.name for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize(
    "checked", sorted({each.checked for each in REQUIREMENTS} - {"attack"}), ids=str
)
def test_every_other_requirement_names_a_test_that_exists_or_a_reason(checked: str) -> None:
    kind, _, rest = checked.partition(":")
    if kind == "not applicable":
        assert len(rest.split()) > 5
        return
    assert kind == "test"
    file, _, name = rest.partition("::")
    assert name.startswith("test_") and name in _tests_in(ROOT / file)


def test_every_test_that_the_list_of_rows_needs_is_listed_once() -> None:
    labels = [attack.label for attack in ATTACKS] + [forgery.label for forgery in FORGERIES]
    assert len(labels) == len(set(labels))
    assert all(attack.effect or attack.not_bare for attack in ATTACKS)


def test_every_program_and_every_form_of_the_tests_is_python() -> None:
    for attack in ATTACKS:
        for code in (attack.program, attack.then, attack.tests):
            compile(program(code, {}), attack.label, "exec")
    for forgery in FORGERIES:
        compile(forgery.candidate, forgery.label, "exec")
    for form, tests in FORMS.items():
        compile(tests, form, "exec")


def test_every_forgery_that_answers_at_all_answers_wrong() -> None:
    """Read from its text: none contains the right body, but for the one that is only too slow."""
    right = [forgery.label for forgery in FORGERIES if "return a + b" in forgery.candidate]
    assert right == ["X14 stopped clock"]
    assert len(inventions.FORGERIES) >= 20


@linux_only
@pytest.mark.parametrize("attack", SHOWN_BARE, ids=lambda attack: attack.label)
async def test_without_walls_an_attack_has_the_effect_that_it_is_after(attack: Attack) -> None:
    assert attack.effect in await bare.effects(attack)


NEIGHBOUR = """
import os, resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
taken = [os.open("/dev/null", os.O_RDONLY) for _ in range(min(hard - 50, 3000))]
print("ready", flush=True)
input()
"""


@linux_only
async def test_what_a_neighbour_closes_does_not_hide_what_an_attack_opens() -> None:
    [opening] = [attack for attack in SHOWN_BARE if attack.id == "R10"]
    neighbour = await asyncio.create_subprocess_exec(
        sys.executable, "-c", NEIGHBOUR, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert neighbour.stdout is not None and await neighbour.stdout.readline() == b"ready\n"
    seen = asyncio.create_task(bare.effects(opening))
    await asyncio.sleep(0.05)  # the table has been looked at, the attack is not there yet
    neighbour.kill()
    await neighbour.wait()
    assert "open files" in await seen


WRITING = ('TARGET["folders"]', 'TARGET["libraries"]', "__pycache__")


def _left_in(folders: list[Path], name: str) -> set[Path]:
    """What carries `name` in these folders, and the folders for byte code that they have."""
    places = [place for folder in folders for place in (folder, folder / "__pycache__")]
    named = {path for place in places for path in place.glob(f"{name}*")}
    return named | {place for place in places if place.name == "__pycache__" and place.exists()}


@linux_only
@pytest.mark.parametrize(
    "attack",
    [each for each in ATTACKS if any(word in each.program for word in WRITING)],
    ids=lambda attack: attack.label,
)
async def test_without_walls_an_attack_leaves_nothing_outside_its_scene(
    attack: Attack, tmp_path: Path
) -> None:
    told = tmp_path / "name"
    tell = f'open({str(told)!r}, "w").write(TARGET["name"])\n'
    folders = [Path(folder) for folder in scene.FOLDERS]
    folders += [Path.home(), Path.cwd(), Path(tempfile.gettempdir())]
    before = _left_in(folders, "no such name")
    await bare.effects(dataclasses.replace(attack, program=tell + attack.program))
    assert _left_in(folders, told.read_text()) == before


async def test_the_witnesses_see_nothing_where_nothing_is_attacked() -> None:
    quiet = Attack("N1", "nothing", "print('quiet')", "connected")
    assert await bare.effects(quiet) <= {"privileges"}  # there are no walls, and it says so


@pytest.fixture(scope="module")
def report() -> Report:
    return asyncio.run(driver.check(Sandbox()))


@pytest.mark.timeout(600)
@linux_only
def test_nothing_escapes_from_the_first_tier_and_nothing_is_forged(
    report: Report,
) -> None:
    assert report.escaped == ()
    assert report.forged == ()
    assert report.attacks == len(report.rows) == driver.number_of_attacks()


@linux_only
def test_every_attack_gets_a_verdict(report: Report) -> None:
    assert [(row.label, row.no_verdict) for row in report.rows if row.no_verdict] == []
    assert {row.id for row in report.rows} | {label.split()[0] for label in report.skipped} == {
        requirement.id for requirement in REQUIREMENTS
    }


@linux_only
def test_a_crash_or_a_bomb_is_judged_as_what_it_is(report: Report) -> None:
    verdicts = {row.label: row.verdict for row in report.rows}
    assert {verdicts[f"R12 {name}"] for name in ("sleep", "regular expression")} == {"timeout"}
    assert verdicts["R11 segmentation fault"] == verdicts["R11 recursion"] == "candidate_error"
    assert verdicts["O2 terminal escapes"] == "pass"
    assert verdicts["O3 markers of ours and of chats"] == "pass"
    assert verdicts["P6 stop itself"] == "timeout"
    assert verdicts["R8 endless output"] == "resource_exceeded"


async def test_only_what_is_asked_for_is_run(sandbox: Sandbox) -> None:
    seen: list[str] = []
    report = await driver.check(
        sandbox, only={"F4", "X1"}, progress=lambda label, total: seen.append(label)
    )
    assert {row.id for row in report.rows} == {"F4", "X1"}
    assert sorted(seen) == sorted(row.label for row in report.rows)
    assert report.attacks == driver.number_of_attacks({"F4", "X1"})


@pytest.mark.timeout(600)
@linux_only
@pytest.mark.skipif(landlock.abi() < 3, reason="without namespaces, Landlock version 3 is needed")
@pytest.mark.parametrize("tier", [tier.name for tier in available()[1:]])
def test_from_a_lower_tier_only_what_it_states_escapes(tier: str) -> None:
    sandbox = Sandbox(tier=tier)
    report = asyncio.run(driver.check(sandbox))
    assert report.tier == tier
    assert report.escaped == report.forged == ()
    assert report.limits
