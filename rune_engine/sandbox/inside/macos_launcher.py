"""Runs on macOS: a zygote and wardens, and candidates that enter a Seatbelt profile themselves.

`sandbox_init` is what `sandbox-exec` calls. Not tested: written from Apple's and other users'
documentation. There are no process handles and no parent death signal: the engine ends a run's
process group, and the profile refuses the candidate to make another process.
"""

from __future__ import annotations

import ctypes
import os
import sys

from rune_engine.sandbox.inside import confinement, warden, zygote

TYPE_CHECKING = False  # as a type checker reads it, without the cost of importing typing
if TYPE_CHECKING:
    from typing import Any, NoReturn


def main() -> None:
    channel, engine_pid = (int(argument) for argument in sys.argv[1:3])
    if os.getppid() != engine_pid:
        os._exit(1)
    configuration = zygote.configuration()
    if configuration["preload"]:
        zygote.preload()
    rules: str = configuration["rules"]

    def run(payload: dict[str, Any], status: int) -> NoReturn:
        _run(payload, status, rules)

    zygote.serve(channel, os.fork, run)


def _run(payload: dict[str, Any], status: int, rules: str) -> NoReturn:
    if payload["profile"] != "pure":
        raise OSError("projects, whose code makes processes, need Linux namespaces")
    os.setpgid(0, 0)
    box, workspace = payload["box"], payload["workspace"]

    def confine() -> None:
        os.environ.update(HOME=box, TMPDIR=box)
        confinement.limit_resources(payload["limits"])
        _enter(rules + _own_folders(box, workspace))

    folders = [workspace, f"{workspace}/src"] if workspace else []
    warden.oversee(payload, status, warden.Walls(box, folders, confine, lambda: warden.empty(box)))


def _own_folders(box: str, workspace: str | None) -> str:
    readable = "".join(f"  (subpath {_quoted(path)})\n" for path in (box, workspace) if path)
    return f"(allow file-read*\n{readable})\n(allow file-write*\n  (subpath {_quoted(box)}))\n"


def _quoted(path: str) -> str:
    return '"' + os.path.realpath(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _enter(profile: str) -> None:
    library = ctypes.CDLL("/usr/lib/libSystem.B.dylib")
    message = ctypes.c_char_p()
    if library.sandbox_init(profile.encode(), ctypes.c_uint64(0), ctypes.byref(message)):
        raise OSError(f"sandbox_init: {(message.value or b'').decode('utf-8', 'replace')}")
