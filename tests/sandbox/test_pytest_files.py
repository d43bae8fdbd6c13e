"""Pytest files on a small repository: what passes, what a failure tells, what is not believed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rune_engine.config import SandboxLimits
from rune_engine.errors import InvalidInputError
from rune_engine.sandbox import Sandbox
from rune_engine.sandbox.process import ChildEnded, Ended
from rune_engine.sandbox.pytest_files import as_file, plan_files
from rune_engine.sandbox.pytest_judge import judge_pytest
from rune_engine.sandbox.suite import ready
from rune_engine.sandbox.verdict import Evidence
from rune_engine.sandbox.verdict import tests_passed as passed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="projects need namespaces")

SHOP = {
    "shop/__init__.py": "",
    "shop/prices.py": "PRICES = {'pen': 2, 'ink': 5}\n",
    "shop/cart.py": (
        "from shop.prices import PRICES\n\n\nclass Cart:\n    def __init__(self):\n"
        "        self.lines = []\n\n    def add(self, name, count=1):\n"
        "        if count < 1:\n            raise ValueError('count')\n"
        "        self.lines.append((name, count))\n\n    def total(self):\n"
        "        return sum(PRICES[name] * count for name, count in self.lines)\n"
    ),
}
TESTS = {
    "conftest.py": (
        "import pytest\nfrom shop.cart import Cart\n\n"
        "@pytest.fixture\ndef cart():\n    return Cart()\n"
    ),
    "test_cart.py": (
        "import pytest, subprocess, sys\n\n"
        "@pytest.mark.parametrize('count, total', [(1, 2), (3, 6)])\n"
        "def test_total(cart, count, total):\n"
        "    cart.add('pen', count)\n    assert cart.total() == total\n\n"
        "def test_refusal(cart):\n    with pytest.raises(ValueError, match='count'):\n"
        "        cart.add('pen', 0)\n\n"
        "class TestOutside:\n    def test_file(self, cart, tmp_path):\n"
        "        (tmp_path / 'a').write_text('5')\n        cart.add('ink')\n"
        "        assert cart.total() == int((tmp_path / 'a').read_text())\n\n"
        "    def test_program(self):\n        code = 'import shop.prices as p; print(p.PRICES)'\n"
        "        done = subprocess.run([sys.executable, '-c', code], capture_output=True)\n"
        "        assert b'pen' in done.stdout\n\n"
        "    def test_the_tests_cannot_be_changed(self):\n"
        "        with pytest.raises(OSError):\n            open(__file__, 'a')\n"
    ),
    "inner/old_test.py": (
        "import unittest\nfrom shop.cart import Cart\n\n"
        "class Old(unittest.TestCase):\n    def test_empty(self):\n"
        "        self.assertEqual(Cart().total(), 0)\n"
    ),
}
ADD = "def test_add():\n    from solution import add\n    assert add(1, 2) == 3\n"
MORE = "\ndef test_more():\n    from solution import add\n    assert add(2, 2)\n"
TWO = {"test_add.py": ADD + MORE}
AT_THE_TOP = {"test_add.py": "from solution import add\n" + ADD}
WRONG = "def add(a, b):\n    return 7\n"


async def test_a_small_repository_passes_twice_and_not_without_its_code(sandbox: Sandbox) -> None:
    verdict = await sandbox.run_project(SHOP, TESTS, confirm=True)
    assert verdict.kind == "pass", verdict
    evidence = verdict.evidence
    assert evidence.confirmed and evidence.controls
    assert (evidence.oracle, evidence.in_process, evidence.profile) == ("inside", True, "project")
    assert evidence.not_outside == "pytest"
    assert evidence.suspicion == ()


async def test_the_candidates_files_replace_those_of_a_copy(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.py"
    outside.write_text("untouched")
    workspace = tmp_path / "workspace"
    for name, text in SHOP.items():
        (workspace / name).parent.mkdir(parents=True, exist_ok=True)
        (workspace / name).write_text(text)
    (workspace / "shop/cart.py").unlink()
    (workspace / "shop/cart.py").symlink_to(outside)
    changed = {"shop/cart.py": SHOP["shop/cart.py"]}
    verdict = await sandbox.run_project(changed, TESTS, workspace=workspace)
    assert verdict.kind == "pass", verdict
    assert outside.read_text() == "untouched"
    assert sorted(path.name for path in workspace.rglob("*.py")) == [
        "__init__.py",
        "cart.py",
        "prices.py",
    ]


async def test_a_failure_is_told_as_pytest_tells_it(sandbox: Sandbox) -> None:
    cart = SHOP["shop/cart.py"].replace("* count", "+ count")
    verdict = await sandbox.run_project({**SHOP, "shop/cart.py": cart}, TESTS)
    assert verdict.kind == "fail", verdict
    assert "assert 3 == 2" in verdict.message
    assert verdict.message in verdict.evidence.stderr


@pytest.mark.parametrize(
    ("solution", "tests", "kind", "told"),
    [
        ("import nosuchmodule", AT_THE_TOP, "candidate_error", "nosuchmodule"),
        ("def add(:", AT_THE_TOP, "candidate_error", "SyntaxError"),
        ("def add(a, b): return a + c", TWO, "candidate_error", "NameError"),
        ("def add(a, b): assert a > 1", TWO, "candidate_error", "solution.py:1: in add"),
        ("import ctypes; ctypes.string_at(0)", AT_THE_TOP, "candidate_error", "SIGSEGV"),
        ("while True: pass", AT_THE_TOP, "timeout", "processor time"),
    ],
)
async def test_what_the_candidate_does_wrong_is_its_error(
    sandbox: Sandbox, solution: str, tests: dict[str, str], kind: str, told: str
) -> None:
    limits = SandboxLimits(wall_seconds=20, cpu_seconds=3)
    verdict = await sandbox.run_project({"solution.py": solution}, tests, limits=limits)
    assert verdict.kind == kind, verdict
    assert told in verdict.message


async def test_the_evidence_says_how_each_test_came_out(sandbox: Sandbox) -> None:
    verdict = await sandbox.run_project({"solution.py": WRONG}, TWO)
    first, second = verdict.evidence.cases
    assert (first.id, first.ok) == ("test_add.py::test_add", False)
    assert "assert 7 == 3" in first.message
    assert (second.id, second.ok, second.message) == ("test_add.py::test_more", True, "")
    assert second.cpu_seconds >= 0 and 0 < second.wall_seconds < verdict.evidence.wall_seconds
    passing = await sandbox.run_project(SHOP, TESTS)
    assert [case.ok for case in passing.evidence.cases] == [True] * 7
    assert "test_cart.py::test_total[3-6]" in {case.id for case in passing.evidence.cases}


ASYNC = {
    "test_later.py": (
        "import asyncio, pytest\nfrom solution import later\n\n"
        "@pytest.mark.asyncio\nasync def test_marked(tmp_path):\n"
        "    assert await later(1) == 2 and tmp_path.is_dir()\n\n"
        "@pytest.mark.parametrize('n', [1, 5])\nasync def test_plain(n):\n"
        "    assert await asyncio.wait_for(later(n), 5) == n + 1\n\n"
        "class TestIt:\n    async def test_method(self):\n"
        "        with pytest.raises(TypeError):\n            await later(None)\n"
    )
}
FIXTURE = {
    "conftest.py": (
        "import pytest\nfrom solution import later\n\n"
        "@pytest.fixture\nasync def two():\n    yield await later(1)\n"
    ),
    "test_two.py": "async def test_two(two):\n    assert two == 2\n",
}
LATER = "async def later(n):\n    return n + %d\n"


@pytest.mark.parametrize("tests", [ASYNC, FIXTURE], ids=["tests", "fixtures"])
async def test_async_tests_are_run(sandbox: Sandbox, tests: dict[str, str]) -> None:
    right = await sandbox.run_project({"solution.py": LATER % 1}, tests, confirm=True)
    assert right.kind == "pass", right
    wrong = await sandbox.run_project({"solution.py": LATER % 2}, tests)
    assert wrong.kind == "fail", wrong
    never = {"solution.py": "async def later(n):\n    raise SystemExit(0)\n"}
    assert passed(await sandbox.run_project(never, tests)) is False
    plain = {"solution.py": "def later(n):\n    return n + 1\n"}
    assert (await sandbox.run_project(plain, tests)).kind == "candidate_error"


SKIPPING = "import pytest\n" + ADD + "@pytest.mark.%s\ndef test_no():\n    assert not add\n"


@pytest.mark.parametrize(
    "tests",
    [
        {},
        {"test_add.py": "import solution\n"},
        {"helper.py": ADD},
        {"test_add.py": "def test_add(:"},
        {"test_add.py": ADD + "def test_it(nosuchfixture): pass\n"},
        {"test_add.py": SKIPPING % "skip"},
        {"test_add.py": SKIPPING % "xfail"},
        {"test_add.py": "import pytest\npytest.skip('x', allow_module_level=True)\n" + ADD},
        {"test_add.py": "import pytest\n" + ADD.replace("\n", "\n    pytest.skip('x')\n", 1)},
    ],
)
async def test_tests_that_do_not_all_run_give_no_verdict(
    sandbox: Sandbox, tests: dict[str, str]
) -> None:
    verdict = await sandbox.run_project({"solution.py": "def add(a, b): return a + b"}, tests)
    assert verdict.kind == "infra", verdict
    assert passed(verdict) is None


ON_REPORT = (
    "from _pytest.reports import TestReport\nmake = TestReport.from_item_and_call.__func__\n"
    "def fake(cls, item, call):\n    report = make(cls, item, call)\n"
    "    report.outcome, report.longrepr = 'passed', None\n    return report\n"
    "TestReport.from_item_and_call = classmethod(fake)\n"
)
CHEATS = {
    "hard exit": "import os\nos._exit(0)\n",
    "hard exit in a test": "import os\ndef add(a, b): os._exit(0)\n",
    "exit": "import sys\nsys.exit(0)\n",
    "exit hook": "import atexit, os\natexit.register(os._exit, 0)\n",
    "pytest.exit": "import pytest\npytest.exit('done', returncode=0)\n",
    "pytest.exit in a test": "import pytest\ndef add(a, b): pytest.exit('ok', returncode=0)\n",
    "skip in a test": "import pytest\ndef add(a, b): pytest.skip('no')\n",
    "skip at import": "import pytest\npytest.skip('no', allow_module_level=True)\n",
    "xfail": "import pytest\ndef add(a, b): pytest.xfail('no')\n",
    "patched reports": ON_REPORT,
    "patched function": "import pytest\npytest.Function.runtest = lambda self: None\n",
    "patched call": "import pytest\npytest.Function.obj = property(lambda s: lambda **k: None)\n",
    "patched count of failures": (
        "import pytest\npytest.Session.testsfailed = property(lambda s: 0, lambda s, v: None)\n"
    ),
    "nothing collected": (
        "import pytest\npytest.Session.items = property(lambda s: [], lambda s, v: None)\n"
    ),
    "forged words": (
        "import os\nfor fd in range(3, 60):\n    try: os.write(fd, b'[\"finished\", 0]\\n')\n"
        "    except OSError: pass\n"
    ),
}
SUSPECTED = {"patched call"}


@pytest.mark.parametrize("when", ["import in the test", "import at the top"])
@pytest.mark.parametrize("name", CHEATS)
async def test_a_wrong_candidate_does_not_pass(sandbox: Sandbox, name: str, when: str) -> None:
    cheat = CHEATS[name]
    solution = cheat if "def add" in cheat else cheat + WRONG
    tests = TWO if when == "import in the test" else AT_THE_TOP
    verdict = await sandbox.run_project({"solution.py": solution}, tests)
    if verdict.kind == "pass":  # in its own process it can lie; then it is known for it
        assert name in SUSPECTED and verdict.evidence.suspicion, verdict
    else:
        assert passed(verdict) is False, verdict


HOOK = "def pytest_runtest_call(item): item.obj = lambda: None\n"


@pytest.mark.parametrize(
    "name",
    ["conftest.py", "a/conftest.py", "pytest.ini", "tox.ini", "setup.cfg", "sitecustomize.py",
     "usercustomize.py", "a.pth"],
)  # fmt: skip
async def test_settings_of_the_candidates_are_refused(sandbox: Sandbox, name: str) -> None:
    verdict = await sandbox.run_project({"solution.py": WRONG, name: HOOK}, TWO)
    assert verdict.kind == "tampered"
    assert name in verdict.message


async def test_settings_of_the_workspace_do_not_count(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(HOOK)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --collect-only\n")
    (tmp_path / "sitecustomize.py").write_text("import os; os._exit(0)")
    verdict = await sandbox.run_project({"solution.py": WRONG}, TWO, workspace=tmp_path)
    assert verdict.kind == "fail", verdict


@pytest.mark.parametrize("name", ["pytest", "_pytest", "unittest", "pluggy", "json"])
async def test_no_module_is_shadowed(sandbox: Sandbox, name: str) -> None:
    shadow = {f"{name}.py": "import os\nos._exit(0)\n", f"src/{name}/__init__.py": "1 / 0\n"}
    tests = {"test_add.py": f"import {name}\n" + ADD}
    verdict = await sandbox.run_project({"solution.py": WRONG, **shadow}, tests)
    assert verdict.kind == "fail", verdict


@pytest.mark.parametrize("name", ["../x.py", "/etc/x", "a//b.py", "", "_rune/boot.py", "a\0"])
async def test_paths_out_of_the_project_are_refused(sandbox: Sandbox, name: str) -> None:
    with pytest.raises(InvalidInputError):
        await sandbox.run_project({name: ""}, TWO)
    with pytest.raises(InvalidInputError):
        await sandbox.run_project({}, {name: ""})


FIXTURES = (
    '"""Doc."""\nfrom __future__ import annotations\nimport pytest\n\n'
    "@pytest.mark.parametrize('a, b', [(1, 2), (5, 3)])\n"
    "def test_add(a, b, tmp_path):\n    assert add(a, b) == a + b\n"
)


async def test_one_text_that_needs_pytest_goes_to_pytest(sandbox: Sandbox) -> None:
    right = await sandbox.run("def add(a, b): return a + b", FIXTURES, confirm=True)
    assert right.kind == "pass", right
    assert right.evidence.not_outside == "pytest" and right.evidence.confirmed
    wrong = await sandbox.run(WRONG, FIXTURES)
    assert wrong.kind == "fail", wrong
    nowhere = await sandbox.run(WRONG, "import pytest, nosuchmodule\n" + TWO["test_add.py"])
    assert nowhere.kind == "infra" and "nosuchmodule" in nowhere.message, nowhere


def test_only_tests_that_need_pytest_take_it() -> None:
    assert ready("def test_f(tmp_path): assert f(tmp_path)").pytest is not None
    marked = "import pytest\n@pytest.mark.parametrize('a', [1])\ndef test_f(a=1): assert f(a)"
    assert ready(marked).pytest is not None
    compiled = "import pytest\ndef test_f():\n    with pytest.raises(ValueError): f(1)"
    assert ready(compiled).oracle == "outside"
    assert ready("def test_f(): assert f() == 1").pytest is None


def test_the_candidates_names_come_after_what_must_be_first() -> None:
    lines = as_file(FIXTURES)["test_solution.py"].splitlines()
    assert lines[2:4] == ["from solution import *", "import pytest"]
    assert as_file(ADD) == {"test_solution.py": ADD}


def test_what_must_be_collected_is_read_from_the_files() -> None:
    plan = plan_files(TESTS)
    assert dict(plan.expected) == {
        "test_cart.py::test_total": True,
        "test_cart.py::test_refusal": True,
        "test_cart.py::TestOutside::test_file": True,
        "test_cart.py::TestOutside::test_program": True,
        "test_cart.py::TestOutside::test_the_tests_cannot_be_changed": True,
        "inner/old_test.py::Old::test_empty": False,
    }


def _record(text: str) -> str:
    return f"SECRET{text}\n"


STARTED = _record('["started"]')
COLLECTED = STARTED + _record('["collected", ["test_a.py::test_a"]]')
RAN = _record(
    '["ran", "test_a.py::test_a", true, false, ["passed", "passed", "passed"], 0.5, 0.25]'
)
FINISHED = _record('["finished", 0]')


@pytest.mark.parametrize(
    ("report", "kind"),
    [
        (COLLECTED + RAN + FINISHED, "pass"),
        (_record('["no pytest"]'), "infra"),
        ("", "infra"),
        (COLLECTED, "candidate_error"),
        (COLLECTED + FINISHED, "candidate_error"),
        (COLLECTED + RAN, "candidate_error"),
        (COLLECTED + RAN + RAN + FINISHED, "tampered"),
        (COLLECTED + RAN.replace("true", "false") + FINISHED, "tampered"),
        (COLLECTED + RAN.replace("0.25", "NaN") + FINISHED, "tampered"),
        (COLLECTED + RAN.replace("0.25", "-1.0") + FINISHED, "tampered"),
        (_record('["no plugin"]'), "infra"),
        (COLLECTED + RAN.replace("true, false", "true, true") + FINISHED, "tampered"),
        (COLLECTED + RAN.replace(', "passed"]', "]") + FINISHED, "tampered"),
        (COLLECTED + RAN + FINISHED.replace("0", "1"), "tampered"),
        (COLLECTED.replace("::test_a", "::test_b") + RAN + FINISHED, "candidate_error"),
        ((COLLECTED + RAN).replace("::test_a", "::test_b") + FINISHED, "tampered"),
        ("x" + COLLECTED + RAN + FINISHED, "tampered"),
        (COLLECTED + RAN + FINISHED + "x", "tampered"),
        (COLLECTED + _record("[[]]") + RAN + FINISHED, "tampered"),
        (COLLECTED + _record('["finished"]') + RAN, "tampered"),
        (STARTED + _record('["collected", 3]') + RAN + FINISHED, "tampered"),
    ],
)
def test_only_a_whole_report_that_agrees_with_itself_is_a_pass(report: str, kind: str) -> None:
    plan = plan_files({"test_a.py": "def test_a(): pass"})
    child = ChildEnded(0, 0.0, 0.0, report.encode())
    ended = Ended(True, (child,), "", "", 0.0, timed_out=False, flooded=False)
    evidence = Evidence(
        tier="t", oracle="inside", in_process=True, limits={}, runner_sha256="", tests_sha256="",
        candidate_sha256="", wall_seconds=0.0, stdout="", stderr="", exit_code=0,
    )  # fmt: skip
    assert judge_pytest(plan, ended, b"SECRET", SandboxLimits(), evidence).kind == kind
