"""The sandbox's self-test: a small attack whose effects are looked for from outside.

It proves what this machine's kernel really enforces, which no version number does.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Awaitable, Callable

from rune_engine.errors import SandboxUnavailableError
from rune_engine.sandbox.folders import folder_in_home
from rune_engine.sandbox.verdict import Pass, Verdict

_ATTACK = """
import os, socket

def attempt(action):
    try:
        print(action())
    except OSError:
        pass

attempt(lambda: socket.create_connection(("127.0.0.1", {port}), timeout=1).sendall(b"x"))
attempt(lambda: open({canary!r}).read())
attempt(lambda: open({outside!r}, "w").write("x"))
attempt(os.fork)
"""
_NEXT_STEP = (
    "Rune runs model-written code only where it is isolated. On Linux it needs 5.12 or newer and "
    "user namespaces: on Ubuntu, `sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`; in "
    "a container, add `--cap-add SYS_ADMIN --security-opt seccomp=unconfined --security-opt "
    "apparmor=unconfined` or start the engine outside of it."
)


async def attack(run: Callable[[str, str], Awaitable[Verdict]]) -> None:
    """Attack through `run`, which takes a candidate and tests.

    Raises:
        SandboxUnavailableError: nothing could be run, or something got through.
    """
    word = secrets.token_hex(16)
    with (
        folder_in_home("rune-probe-") as folder,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        listener.setblocking(False)
        canary, outside = folder / "canary", folder / "outside"
        canary.write_text(word, encoding="utf-8")
        port = listener.getsockname()[1]
        code = _ATTACK.format(port=port, canary=str(canary), outside=str(outside))
        verdict = await run(code, "assert attempt")
        _refuse_unless_ran(verdict)
        got_through = {
            "the network": _was_called(listener),
            "a file in the home folder": word in verdict.model_dump_json(),
            "writing outside": outside.exists(),
        }
    broken = [name for name, happened in got_through.items() if happened]
    if broken:
        raise SandboxUnavailableError(
            f"The sandbox does not hold on this machine: it let through {', '.join(broken)}.",
            next_step=_NEXT_STEP,
        )


def _was_called(listener: socket.socket) -> bool:
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def _refuse_unless_ran(verdict: Verdict) -> None:
    if isinstance(verdict, Pass):
        return
    raise SandboxUnavailableError(
        f"Model-written code cannot be isolated on this machine: {verdict.message}",
        next_step=_NEXT_STEP,
    )
