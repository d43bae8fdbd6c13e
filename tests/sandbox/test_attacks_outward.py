"""Attacks on what is outside: network, files, secrets.

Each is first run bare, to see that it is an attack at all, then inside, where it must have no
effect. Effects are looked for from outside, not in what the candidate says.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from rune_engine.sandbox import Sandbox

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="a Linux mechanism")
WORD = "canary-8d1f0c"


@dataclass
class Scene:
    """Targets for attacks. `effect` names what an attack has done so far."""

    folder: Path
    tcp: socket.socket
    udp: socket.socket
    path: socket.socket
    abstract: socket.socket

    def effect(self, printed: str) -> str:
        for listener in (self.tcp, self.path, self.abstract):
            if _succeeds(listener.accept):
                return "connected"
        if _succeeds(lambda: self.udp.recv(10)):
            return "datagram"
        if (self.folder / "planted").exists():
            return "wrote"
        if (self.folder / "canary").read_text() != WORD:
            return "changed"
        return "read" if WORD in printed else ""


def _succeeds(action: Callable[[], object]) -> bool:
    try:
        action()
    except BlockingIOError:
        return False
    return True


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    (tmp_path / "canary").write_text(WORD)
    with ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        path = stack.enter_context(socket.socket(socket.AF_UNIX))
        path.bind(str(tmp_path / "s"))
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind(f"\0rune-test-{os.getpid()}")
        for listener in (path, abstract):
            listener.listen()
        for each in (tcp, udp, path, abstract):
            each.setblocking(False)
        yield Scene(tmp_path, tcp, udp, path, abstract)


ATTACKS = {
    "N1-N3 tcp": (
        "import socket; socket.create_connection(('127.0.0.1', {tcp}), timeout=2)",
        "connected",
    ),
    "N2 udp": (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "s.sendto(b'x', ('127.0.0.1', {udp}))",
        "datagram",
    ),
    "N4 unix socket by path": (
        "import socket; socket.socket(socket.AF_UNIX).connect('{folder}/s')",
        "connected",
    ),
    "N5 abstract unix socket": (
        "import socket; socket.socket(socket.AF_UNIX).connect('\\0rune-test-{pid}')",
        "connected",
    ),
    "F1-F2 read a private file": ("print(open('{folder}/canary').read())", "read"),
    "F4 write outside": ("open('{folder}/planted', 'w').write('x')", "wrote"),
    "F6 write through a link": (
        "import os, tempfile; link = tempfile.mkdtemp() + '/link'\n"
        "os.symlink('{folder}/canary', link); open(link, 'w').write('x')",
        "changed",
    ),
    "F7 read through a hard link": (
        "import os; os.link('{folder}/canary', '{folder}/planted')",
        "wrote",
    ),
    "F1 read through another process": (
        "print(open('/proc/{pid}/root{folder}/canary').read())",
        "read",
    ),
}


@linux_only
@pytest.mark.parametrize("attack", ATTACKS)
async def test_an_attack_that_works_bare_has_no_effect_from_inside(
    attack: str, scene: Scene, sandbox: Sandbox
) -> None:
    template, effect = ATTACKS[attack]
    code = template.format(
        tcp=scene.tcp.getsockname()[1],
        udp=scene.udp.getsockname()[1],
        folder=scene.folder,
        pid=os.getpid(),
    )
    verdict = await sandbox.run(code, "assert True")
    assert scene.effect(verdict.model_dump_json()) == ""
    assert verdict.kind == "candidate_error", verdict

    bare = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await asyncio.wait_for(bare.communicate(), timeout=30)
    assert scene.effect(printed.decode()) == effect


@linux_only
@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_VSOCK", "AF_NETLINK", "AF_PACKET"])
async def test_n6_no_socket_of_another_family_can_be_made(family: str, sandbox: Sandbox) -> None:
    code = f"import socket; socket.socket(socket.{family}, socket.SOCK_DGRAM)"
    verdict = await sandbox.run(code, "assert True")
    assert verdict.kind == "candidate_error"
    assert "Operation not permitted" in verdict.message


async def test_s1_s2_no_secret_of_the_engine_is_in_any_environment_or_command_line(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", WORD)
    code = """
import glob, os
print(dict(os.environ))
for path in glob.glob("/proc/*/environ") + glob.glob("/proc/*/cmdline"):
    try:
        print(open(path).read())
    except OSError:
        pass
"""
    verdict = await sandbox.run(code, "assert os.environ")
    assert verdict.kind == "pass"
    assert WORD not in verdict.model_dump_json()
    assert "PYTHONHASHSEED" in verdict.model_dump_json()


async def test_s3_no_open_file_of_the_engine_is_inherited(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "canary").write_text(WORD)
    handle = os.open(tmp_path / "canary", os.O_RDONLY)
    os.set_inheritable(handle, True)
    code = """
import os
found = 0
for number in range(3, 64):
    try:
        os.fstat(number)
    except OSError:
        continue
    found += 1
    try:
        print(os.pread(number, 100, 0))
    except OSError:
        pass
"""
    try:
        verdict = await sandbox.run(code, "assert found == 1")  # the verdict pipe
    finally:
        os.close(handle)
    assert verdict.kind == "pass", verdict
    assert WORD not in verdict.model_dump_json()


async def test_f3_the_tests_are_in_no_file_while_the_candidate_runs(sandbox: Sandbox) -> None:
    code = """
import pathlib
def everything():
    for folder in ("/box", "/tmp", "."):
        for path in pathlib.Path(folder).rglob("*"):
            print(path, path.read_text())
everything()
"""
    verdict = await sandbox.run(code, f"everything()\nassert {WORD!r}")
    assert verdict.kind == "pass"
    assert "solution.py" in verdict.evidence.stdout
    assert WORD not in verdict.evidence.stdout


async def test_f9_a_run_leaves_no_file_for_the_next(sandbox: Sandbox) -> None:
    leave = "for folder in ('.', '/tmp'): open(folder + '/left', 'w').write('x')"
    assert (await sandbox.run(leave, "assert open('left').read()")).kind == "pass"
    look = "import os; seen = os.listdir('.') + os.listdir('/tmp')"
    assert (await sandbox.run(look, "assert seen == ['solution.py']")).kind == "pass"


@linux_only
async def test_f5_the_interpreter_cannot_be_changed(sandbox: Sandbox) -> None:
    code = "import json; open(json.__file__, 'a').write('# changed')"
    verdict = await sandbox.run(code, "assert True")
    assert verdict.kind == "candidate_error"
    import json

    assert "# changed" not in Path(json.__file__).read_text()
