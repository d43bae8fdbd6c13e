"""What ordinary code and ordinary tests end in, and what a model is told."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from rune_engine.config import SandboxLimits
from rune_engine.errors import InvalidInputError
from rune_engine.evaluation.suites import load_suite
from rune_engine.sandbox import Sandbox
from rune_engine.sandbox.verdict import tests_passed as passed

HUMAN_EVAL = Path(__file__).parents[2].parent / "shared/data/HumanEval.jsonl.gz"

NORMAL = {
    "threads": (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "def f():\n    with ThreadPoolExecutor(8) as p: return sum(p.map(abs, range(100)))",
        "assert f() == 4950",
    ),
    "many threads": (
        "import threading, time\nt = [threading.Thread(target=time.sleep, args=(0.2,))"
        " for n in range(20)]\n[x.start() for x in t]\n[x.join() for x in t]",
        "assert len(t) == 20",
    ),
    "asyncio": ("async def f(): return 1", "async def test_f(): assert await f() == 1"),
    "tempfile": (
        "import tempfile\ndef f():\n    with tempfile.NamedTemporaryFile('w+') as t:\n"
        "        t.write('a'); t.seek(0); return t.read()",
        "assert f() == 'a'",
    ),
    "json and dataclasses": (
        "import json, dataclasses\n@dataclasses.dataclass\nclass P:\n    x: int\n"
        "def f(): return json.dumps(dataclasses.asdict(P(1)))",
        "assert f() == '{\"x\": 1}'",
    ),
    "sqlite3": (
        "import sqlite3\ndef f():\n    c = sqlite3.connect('a.db')\n"
        "    c.execute('create table t (x)'); c.execute('insert into t values (1)')\n"
        "    c.commit(); return c.execute('select x from t').fetchall()",
        "assert f() == [(1,)]",
    ),
    "hashes, randomness, decimals": (
        "import hashlib, secrets, random, decimal, zoneinfo, datetime, subprocess, multiprocessing",
        "assert len(secrets.token_hex(4)) == 8 and hashlib.sha256(b'').hexdigest()",
    ),
    "import solution": ("def f(): return 1", "import solution\nassert solution.f() == 1"),
    "from solution import": ("def f(): return 1", "from solution import f as g\nassert g() == 1"),
    "check as in HumanEval": (
        "def f(x): return x",
        "def check(candidate):\n    assert candidate(1) == 1\n\ncheck(f)",
    ),
    "test functions": ("def f(): return 1", "def test_f():\n    assert f() == 1"),
    "test class": ("def f(): return 1", "class TestF:\n    def test_f(self): assert f() == 1"),
    "main guard": ("if __name__ == '__main__': 1 / 0", "assert True"),
    "unittest": (
        "def f(): return 1",
        "import unittest\nclass T(unittest.TestCase):\n"
        "    def test_f(self): self.assertEqual(f(), 1)\n"
        "if __name__ == '__main__': unittest.main()",
    ),
    "pickle and typing": (
        "import pickle\nclass A: pass\ndef f(): return pickle.loads(pickle.dumps(A()))",
        "assert isinstance(f(), A)",
    ),
}


@pytest.mark.parametrize("name", NORMAL)
async def test_normal_code_passes(name: str, sandbox: Sandbox) -> None:
    candidate, tests = NORMAL[name]
    verdict = await sandbox.run(candidate, tests)
    assert verdict.kind == "pass", verdict


FAILING = {
    "assert": ("def f(): return 0", "assert f() == 1", "fail"),
    "test function": ("def f(): return 0", "def test_f(): assert f() == 1", "fail"),
    "test class": ("f = 0", "class TestF:\n    def test_f(self): assert f", "fail"),
    "async test": ("f = 0", "async def test_f(): assert f", "fail"),
    "unittest": (
        "f = 0",
        "import unittest\nclass T(unittest.TestCase):\n def test_f(self): self.assertTrue(f)",
        "fail",
    ),
    "own assert": ("def f(x): assert x > 1", "f(1)", "candidate_error"),
    "syntax": ("def f(:", "assert f", "candidate_error"),
    "missing name": ("x = 1", "assert f() == 1", "candidate_error"),
    "missing module": ("import nosuchmodule", "assert True", "candidate_error"),
    "asks for input": ("x = input()", "assert True", "candidate_error"),
}


@pytest.mark.parametrize("name", FAILING)
async def test_failures_are_told_apart(name: str, sandbox: Sandbox) -> None:
    candidate, tests, kind = FAILING[name]
    verdict = await sandbox.run(candidate, tests)
    assert verdict.kind == kind, verdict
    assert passed(verdict) is False


@pytest.mark.parametrize(
    "tests",
    [
        "",
        " \n",
        "def helper(): return 1",
        "import math\nX = 1",
        "assert (",
        "def test_f(nosuchfixture): assert f()",
        "import nosuchmodule\nassert f() == 1",
        "import unittest\nclass T(unittest.TestCase):\n @unittest.skip('x')\n def test_f(self): 1",
    ],
)
async def test_tests_that_decide_nothing_give_no_verdict(tests: str, sandbox: Sandbox) -> None:
    verdict = await sandbox.run("def f(): return 1", tests)
    assert verdict.kind == "infra", verdict
    assert passed(verdict) is None


async def test_stderr_is_the_traceback_that_python_prints(sandbox: Sandbox) -> None:
    candidate = "def total(values):\n    result = sum(values)\n    return resul\n"
    verdict = await sandbox.run(candidate, "\nassert total([1]) == 1\n")
    assert verdict.evidence.stderr == (
        "Traceback (most recent call last):\n"
        '  File "tests.py", line 2, in <module>\n'
        "    assert total([1]) == 1\n"
        "           ^^^^^^^^^^\n"
        '  File "solution.py", line 3, in total\n'
        "    return resul\n"
        "           ^^^^^\n"
        "NameError: name 'resul' is not defined. Did you mean: 'result'?\n"
    )
    assert verdict.message in verdict.evidence.stderr


async def test_a_verdict_carries_what_reproduces_it(sandbox: Sandbox) -> None:
    limits = SandboxLimits(memory_bytes=256 * 1024**2)
    verdict = await sandbox.run("print('hello')", "assert True", limits=limits)
    evidence = verdict.evidence
    assert evidence.stdout == "hello\n"
    assert evidence.exit_code == 0
    assert evidence.in_process
    assert evidence.limits == limits.model_dump()
    assert evidence.tier == sandbox.describe()
    assert json.loads(verdict.model_dump_json())["kind"] == "pass"


async def test_a_workspace_can_be_imported_but_not_changed(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").write_text("PRICE = 7\n")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "inner.py").write_text("DEPTH = 2\n")
    tmp_path.chmod(0o700)
    candidate = "import shop, inner\ndef total(n): return n * shop.PRICE * inner.DEPTH"
    verdict = await sandbox.run(candidate, "assert total(1) == 14", workspace=tmp_path)
    assert verdict.kind == "pass", verdict

    before = time.time_ns()
    attack = "import shop, os\nopen(os.path.dirname(shop.__file__) + '/new.py', 'w')"
    verdict = await sandbox.run(attack, "assert True", workspace=tmp_path)
    assert verdict.kind == "candidate_error", verdict
    changed = [path for path in tmp_path.rglob("*") if path.stat().st_mtime_ns > before]
    assert changed == []


async def test_a_workspace_must_be_a_folder(sandbox: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="not a folder"):
        await sandbox.run("x = 1", "assert x", workspace=tmp_path / "missing")


@pytest.mark.skipif(not HUMAN_EVAL.exists(), reason="the data set is not here")
async def test_human_eval_solutions_pass_and_stubs_do_not(sandbox: Sandbox) -> None:
    tasks = load_suite(HUMAN_EVAL)[::6]
    kinds = {
        task.task_id: (await sandbox.run(task.reference_solution, task.test_suite)).kind
        for task in tasks
    }
    assert set(kinds.values()) == {"pass"}, kinds
    name = tasks[0].test_suite.rsplit("check(", 1)[1].rstrip(")\n")
    stub = f"def {name}(*arguments): return None"
    assert (await sandbox.run(stub, tasks[0].test_suite)).kind == "fail"
