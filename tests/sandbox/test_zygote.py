"""The warm path: what a run sees there, and what happens when the zygote does not serve.

Runs are asked for beneath the verdicts, and judged by what they print.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from rune_engine.config import SandboxLimits
from rune_engine.sandbox import Sandbox, zygote
from rune_engine.sandbox.inside import project
from rune_engine.sandbox.process import run_isolated
from rune_engine.sandbox.tiers import available, choose

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux mechanisms")
TESTS = "assert f() == 1"
GOOD = "def f(): return 1"
CANDIDATES = {
    GOOD: "pass",
    "def f(): return 2": "fail",
    "import os\nos._exit(0)": "candidate_error",
    "import os\nos.fork()": "candidate_error",
    "import json, unittest, random\ndef f(): return 1": "pass",
    "x = bytearray(2 * 1024**3)": "resource_exceeded",
}


def _request(candidate: str) -> dict[str, Any]:
    return {"candidate": candidate, "tests": "assert True", "to_call": [], "secret": b"0" * 32}


@pytest.fixture
async def warm(sandbox: Sandbox) -> psutil.Process:
    """The process that keeps the one zygote, which stands."""
    zygote.close_all()  # other tests may have left theirs
    assert (await sandbox.run(GOOD, TESTS)).kind == "pass"
    (keeper,) = zygote.standing()
    return psutil.Process(keeper)


async def _appear(keeper: psutil.Process) -> psutil.Process:
    """The candidate of the one run."""
    async with asyncio.timeout(30):
        while len(found := keeper.children(recursive=True)) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        return found[-1]


@pytest.mark.parametrize("candidate", CANDIDATES)
async def test_warm_and_cold_runs_end_alike(
    candidate: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm = await sandbox.run(candidate, TESTS)
    assert warm.kind == CANDIDATES[candidate], warm
    monkeypatch.setattr(zygote.Zygote, "submit", _refuse_warm(zygote.Zygote.submit))
    cold = await sandbox.run(candidate, TESTS)
    assert (cold.kind, cold.evidence.stderr) == (warm.kind, warm.evidence.stderr)


def _refuse_warm(submit: Any) -> Any:
    def refuse(self: zygote.Zygote, handles: list[int]) -> bool:
        return bool(self.pid not in zygote.standing() and submit(self, handles))

    return refuse


async def test_a_zygote_killed_between_runs_is_replaced(
    sandbox: Sandbox, warm: psutil.Process
) -> None:
    warm.children()[0].kill()
    assert (await sandbox.run(GOOD, TESTS)).kind == "pass"
    assert (await sandbox.run(GOOD, TESTS)).kind == "pass"
    assert zygote.standing() != [warm.pid]
    assert psutil.wait_procs([warm], timeout=10)[1] == []


@pytest.mark.parametrize("victim", ["keeper", "zygote"])
async def test_a_run_whose_zygote_is_killed_is_run_again(
    victim: str, sandbox: Sandbox, warm: psutil.Process
) -> None:
    task = asyncio.create_task(sandbox.run(f"import time; time.sleep(1)\n{GOOD}", TESTS))
    candidate = await _appear(warm)
    (warm if victim == "keeper" else warm.children()[0]).kill()
    assert (await task).kind == "pass"
    assert not candidate.is_running()


async def test_a_stopped_zygote_is_given_up(
    sandbox: Sandbox, warm: psutil.Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rune_engine.sandbox.process._ANSWER_SECONDS", 2.0)
    warm.children()[0].send_signal(signal.SIGSTOP)
    task = asyncio.create_task(sandbox.run(GOOD, TESTS))
    async with asyncio.timeout(30):
        while warm.is_running() and not task.done():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    monkeypatch.undo()
    assert (await task).kind == "pass"
    assert (await sandbox.run(GOOD, TESTS)).kind == "pass"
    assert warm.pid not in zygote.standing()


async def test_a_zygote_is_replaced_after_its_share_of_runs(
    sandbox: Sandbox, warm: psutil.Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zygote, "MOST_RUNS", 1)
    assert (await sandbox.run(GOOD, TESTS)).kind == "pass"
    assert not warm.is_running()


async def test_concurrent_runs_do_not_mix(sandbox: Sandbox) -> None:
    code = "import time\nprint('{n}')\nopen('{n}', 'w')\ntime.sleep(0.05)\ndef f(): return {n}"
    runs = [sandbox.run(code.format(n=n), f"assert f() == {n}") for n in range(24)]
    verdicts = await asyncio.gather(*runs)
    assert {verdict.kind for verdict in verdicts} == {"pass"}
    assert all(f"{n}\n" in verdict.evidence.stdout for n, verdict in enumerate(verdicts))


async def test_a_run_holds_no_handle_of_the_engine_or_of_another_run(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    handle = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(handle, True)
    code = (
        "import os, time\ntime.sleep(0.05)\n"
        "for name in os.listdir('/proc/self/fd'):\n"
        "    if int(name) > 2:\n"
        "        try: print(os.readlink('/proc/self/fd/' + name).split(':')[0])\n"
        "        except OSError: pass\n" + GOOD
    )
    try:
        verdicts = await asyncio.gather(*(sandbox.run(code, TESTS) for _ in range(4)))
    finally:
        os.close(handle)
    for verdict in verdicts:
        assert verdict.kind == "pass", verdict
        assert set(verdict.evidence.stdout.split()) <= {"pipe"}


async def test_random_numbers_differ_between_runs(sandbox: Sandbox) -> None:
    code = "import random, uuid\nprint(random.random(), uuid.uuid4())\n" + GOOD
    verdicts = [await sandbox.run(code, TESTS) for _ in range(3)]
    assert len({verdict.evidence.stdout for verdict in verdicts}) == 3


ATTEMPTS = """
import os, socket
for attempt in (
    lambda: open({canary!r}).read(),
    lambda: open({planted!r}, "w"),
    lambda: os.chmod({folder!r}, 0o777),
    lambda: os.truncate({canary!r}, 0),
    lambda: os.listdir({folder!r}),
    lambda: socket.create_connection(("127.0.0.1", {port}), 1),
    lambda: os.kill({pid}, 0),
    lambda: os.setsid(),
    lambda: os.fork(),
):
    try:
        print("did it:", attempt())
    except OSError:
        print("refused")
def f(): return 1
"""


async def test_without_namespaces_what_is_outside_is_out_of_reach(tmp_path: Path) -> None:
    plain = available()[1]
    (tmp_path / "canary").write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        code = ATTEMPTS.format(
            canary=str(tmp_path / "canary"),
            planted=str(tmp_path / "planted"),
            folder=str(tmp_path),
            port=listener.getsockname()[1],
            pid=os.getpid(),
        )
        ended = await run_isolated(plain, _request(code), None, SandboxLimits())
    assert ended.ready, ended
    assert ended.stdout.split() == ["refused"] * 9
    assert [path.name for path in tmp_path.iterdir()] == ["canary"]
    assert (tmp_path / "canary").read_text() == "secret"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives up a user's rights")
async def test_an_interpreter_that_root_alone_may_read_is_named(tmp_path: Path) -> None:
    private = tmp_path / "lib"
    private.mkdir(mode=0o700)
    shown = {"interpreter": [str(private)]}
    plain = replace(available()[1], name="with another interpreter", extra=lambda: shown)
    ended = await run_isolated(plain, _request("def f(): return 1"), None, SandboxLimits())
    assert not ended.ready
    assert f"{private} is for root alone" in ended.stderr.splitlines()[-1]
    assert "start Rune as a user" in ended.stderr


async def test_a_project_makes_processes_in_its_own_space_only(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("PRICE = 7")
    code = f"""
import os, subprocess, sys
run = lambda text: subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
print(run("import sys; sys.path[:0] = [{project.WORK!r}]; import shop; print(shop.PRICE)").stdout)
print(open("{project.TESTS}/inner/test_it.py").read())
open("{project.WORK}/new.py", "w").close()
try:
    open("{project.TESTS}/new.py", "w")
except OSError:
    print("refused")
if os.fork() == 0:
    os.setsid()
    while True: os.read(os.pipe()[0], 1)
def f(): return 1
"""
    request = _request(code) | {"files": {"inner/test_it.py": "trusted"}}
    ended = await run_isolated(choose(), request, tmp_path, SandboxLimits(), "project")
    assert ended.stdout.split() == ["7", "trusted", "refused"], ended
    assert [path.name for path in tmp_path.iterdir()] == ["shop.py"]


async def test_children_do_not_meet() -> None:
    code = "import os\nprint(os.listdir('.'), os.listdir('/tmp'))\nos.makedirs('a/b/c')\n"
    code += "open('/tmp/left', 'w')\nos.chmod('a', 0)\ndef f(): return 1"
    request = _request(code) | {"children": 3}
    ended = await run_isolated(choose(), request, None, SandboxLimits())
    assert ended.stdout == "['solution.py'] []\n" * 3
    assert [child.exit_code for child in ended.children] == [0, 0, 0]


async def test_no_child_follows_one_that_was_ended_when_asked() -> None:
    code = "import ctypes; ctypes.string_at(0)"
    for stop_early, expected in ((True, 1), (False, 2)):
        request = _request(code) | {"children": 2, "stop_early": stop_early}
        ended = await run_isolated(choose(), request, None, SandboxLimits())
        assert [child.exit_code for child in ended.children] == [-signal.SIGSEGV] * expected


def test_every_tier_says_what_it_does_not_keep_out() -> None:
    assert all(tier.limits for tier in available())
    assert len({tier.name for tier in available()}) == len(available())
