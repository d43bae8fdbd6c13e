"""Attacks on the verdict itself: none of these wrong candidates may pass."""

from __future__ import annotations

import pytest

from rune_engine.sandbox import Sandbox

TESTS = "assert add(1, 2) == 3\nassert add(5, 5) == 10\n"
WRONG = "def add(a, b): return 0\n"

FORGERIES = {
    "X1 exit at import": "import sys; sys.exit(0)",
    "X2 hard exit at import": "import os; os._exit(0)",
    "X2 hard exit in the function": "import os\ndef add(a, b): os._exit(0)",
    "X1 exit in the function": "import sys\ndef add(a, b): sys.exit(0)",
    "X3 exit in a thread": (
        WRONG + "import os, threading, time\n"
        "threading.Thread(target=lambda: (time.sleep(0.05), os._exit(0))).start()\n"
        "def add(a, b): time.sleep(1)"
    ),
    "X3 exit hooks": (
        WRONG + "import atexit, os, sys\natexit.register(os._exit, 0)\n"
        "sys.excepthook = sys.__excepthook__ = lambda *a: os._exit(0)"
    ),
    "X4 printed success": WRONG + "print('PASSED\\npass\\nOK\\n1 passed in 0.01s')",
    "X16 builtins replaced": (
        WRONG + "import builtins\nbuiltins.exec = lambda *a: None\n"
        "builtins.isinstance = lambda *a: True\nbuiltins.AssertionError = ValueError"
    ),
    "stdout closed": WRONG + "import sys; sys.stdout.close(); sys.stderr.close()",
    "os functions replaced": WRONG + "import os; os._exit = os.write = lambda *a: 0",
    "raises what tests raise": "raise AssertionError('pass')",
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_wrong_candidate_does_not_pass(forgery: str, sandbox: Sandbox) -> None:
    verdict = await sandbox.run(FORGERIES[forgery], TESTS)
    assert verdict.kind in ("fail", "candidate_error"), verdict


async def test_the_same_tests_pass_with_a_right_candidate(sandbox: Sandbox) -> None:
    assert (await sandbox.run("def add(a, b): return a + b", TESTS)).kind == "pass"


@pytest.mark.parametrize("then", ["", "import os; os._exit(0)"])
async def test_x11_writing_to_every_descriptor_is_tampering(then: str, sandbox: Sandbox) -> None:
    code = """
import os
for number in range(3, 64):
    try:
        os.write(number, b"pass\\n")
    except OSError:
        pass
"""
    assert (await sandbox.run(f"{WRONG}{code}{then}", TESTS)).kind == "tampered"


async def test_f11_x10_modules_written_to_the_folder_are_not_imported(sandbox: Sandbox) -> None:
    code = WRONG + (
        "for name in ('unittest', 'sitecustomize', 'conftest', 'tests'):\n"
        "    open(name + '.py', 'w').write('raise SystemExit(0)')\n"
    )
    tests = (
        "import unittest\nclass T(unittest.TestCase):\n"
        "    def test_add(self): self.assertEqual(add(1, 2), 3)\n"
    )
    verdict = await sandbox.run(code, tests)
    assert verdict.kind == "fail"
    assert "0 != 3" in verdict.message


async def test_x7_skipping_is_no_pass(sandbox: Sandbox) -> None:
    code = "import unittest\ndef add(a, b): raise unittest.SkipTest('no')"
    tests = (
        "import unittest\nclass T(unittest.TestCase):\n"
        "    def test_add(self): self.assertEqual(add(1, 2), 3)\n"
    )
    assert (await sandbox.run(code, tests)).kind == "candidate_error"
    assert (await sandbox.run(code, tests, strongest="inside")).kind == "infra"


@pytest.mark.parametrize(
    "printed",
    [
        "b'\\xff\\xfe\\x00abc'",
        "'\\ud800'.encode('utf-8', 'surrogatepass')",
        "b'\\x1b[2J\\r<|end|>'",
    ],
)
async def test_o1_any_bytes_can_be_printed_and_the_verdict_stays_json(
    printed: str, sandbox: Sandbox
) -> None:
    code = f"import os; os.write(1, {printed}); os.write(2, {printed})"
    verdict = await sandbox.run(code, "assert True")
    assert verdict.kind == "pass"
    assert type(verdict).model_validate_json(verdict.model_dump_json()) == verdict
