"""What attacks on memory, disk, processor and output are judged as.

That they have no effect outside is for `test_conformance.py`.
"""

from __future__ import annotations

import sys

import pytest
from watching_runs import Watch

from rune_engine.config import SandboxLimits
from rune_engine.sandbox import Sandbox

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux mechanisms")
QUICK = SandboxLimits(wall_seconds=2, cpu_seconds=1)


@pytest.mark.parametrize(
    "attack",
    [
        pytest.param("x = bytearray(2 * 1024**3)", id="R2-one-allocation"),
        pytest.param("x = []\nwhile True:\n    x.append(bytearray(10**6))", id="R2-many"),
        pytest.param("x = 'a'\nwhile True:\n    x += x", id="R2-doubling"),
        pytest.param(
            "f = open('big', 'wb')\nwhile True:\n    f.write(bytes(10**6))", id="R5-one-file"
        ),
        pytest.param(
            "for n in range(9):\n    open(f'{n}', 'wb').write(bytes(10**7))", id="R5-folder"
        ),
        pytest.param("for n in range(10**6):\n    open(f'{n}', 'w').close()", id="R6-many-files"),
        pytest.param("x = [open('/dev/null') for n in range(1000)]", id="R10-handles"),
    ],
)
async def test_more_than_the_limits_allow_is_resource_exceeded(
    attack: str, sandbox: Sandbox
) -> None:
    assert (await sandbox.run(attack, "assert True")).kind == "resource_exceeded"


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("while True: pass", id="R7-spin"),
        pytest.param("import time; time.sleep(600)", id="sleep"),
        pytest.param("import re; re.match(r'(a+)+$', 'a' * 60 + 'b')", id="R12-regex"),
        pytest.param(
            "import signal\n"
            "for n in (signal.SIGTERM, signal.SIGALRM, signal.SIGXCPU, signal.SIGINT):\n"
            "    signal.signal(n, signal.SIG_IGN)\n"
            "while True: pass",
            id="P1-signals-ignored",
        ),
        pytest.param("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", id="P6-stopped"),
    ],
)
async def test_what_does_not_end_is_a_timeout_and_is_ended(
    code: str, sandbox: Sandbox, watch: Watch
) -> None:
    verdict, seen = await watch(sandbox.run(code, "assert True", limits=QUICK))
    assert verdict.kind == "timeout"
    assert len(seen) >= 2
    assert not any(process.is_running() for process in seen)


async def test_r7_a_processor_limit_ends_a_run_before_its_wall_deadline(sandbox: Sandbox) -> None:
    limits = SandboxLimits(wall_seconds=60, cpu_seconds=1)
    verdict = await sandbox.run("while True: pass", "assert True", limits=limits)
    assert verdict.kind == "timeout"
    assert "processor time" in verdict.message


async def test_r8_endless_output_is_ended_and_cut(sandbox: Sandbox) -> None:
    verdict = await sandbox.run("while True: print('x' * 1000)", "assert True")
    assert verdict.kind == "resource_exceeded"
    assert len(verdict.evidence.stdout) < 70_000


async def test_r9_a_huge_line_keeps_its_head_and_tail(sandbox: Sandbox) -> None:
    code = "print('head' + 'x' * 5_000_000 + 'tail')"
    verdict = await sandbox.run(code, "assert True")
    assert verdict.kind == "pass"
    out = verdict.evidence.stdout
    assert out.startswith("head") and out.endswith("tail\n") and "bytes left out" in out
    assert len(out) < 70_000


FILL = """
import os, time
def child():
    block = bytearray(150 * 2**20)
    block[::4096] = b"x" * len(block[::4096])
    time.sleep(20)
    os._exit(0)
for _ in range(8):
    if os.fork() == 0:
        child()
time.sleep(20)
"""


async def test_r3_the_memory_of_a_projects_processes_is_added_up(sandbox: Sandbox) -> None:
    verdict = await sandbox.run(FILL, "assert True", profile="project")
    assert verdict.kind == "resource_exceeded", verdict
    assert "together" in verdict.message


FORKS = """
import os, time

def test_forks():
    block = bytearray(200 * 2**20)
    block[::4096] = b"x" * len(block[::4096])
    children = []
    for _ in range(4):
        children.append(os.fork())
        if children[-1] == 0:
            time.sleep(0.5)
            os._exit(0)
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
"""


async def test_r3_what_forks_share_counts_once(sandbox: Sandbox) -> None:
    verdict = await sandbox.run_project({}, {"test_forks.py": FORKS})
    assert verdict.kind == "pass", verdict


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def f(): f()\nf()", "RecursionError"),
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        ("import os; os.abort()", "SIGABRT"),
    ],
    ids=["recursion", "segfault", "abort"],
)
async def test_r11_a_crash_is_the_candidates(code: str, said: str, sandbox: Sandbox) -> None:
    verdict = await sandbox.run(code, "assert True")
    assert verdict.kind == "candidate_error"
    assert said in verdict.message
