"""Linux without namespaces (Ubuntu's AppArmor default, Docker): Landlock, seccomp and rlimits.

A zygote, a warden and a candidate, as with namespaces, but in the machine's own PID space and on
its own files. The candidate cannot make a process, so it dies alone, with its warden, by the
parent death signal, which the filter keeps it from taking back; orphans are the zygote's to reap.
Landlock shows it the system's libraries, the workspace and a private folder on disk.
"""

from __future__ import annotations

import os
import signal
import sys

from rune_engine.sandbox.inside import (
    confinement,
    handles,
    landlock,
    libc,
    mounts,
    seccomp,
    warden,
    zygote,
)

TYPE_CHECKING = False  # as a type checker reads it, without the cost of importing typing
if TYPE_CHECKING:
    from typing import Any, NoReturn

_PER_RUN_UIDS = 0x6000_0000
_DEVICES = ["/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"]
_COVERS_TRUNCATE = 3  # Landlock's version from which a path cannot be cut behind its back


def main() -> None:
    channel, engine_pid = (int(argument) for argument in sys.argv[1:3])
    _die_with(engine_pid)
    configuration = zygote.configuration()
    if landlock.abi() < _COVERS_TRUNCATE:
        raise OSError("Landlock version 3 (Linux 6.2) is needed where there are no namespaces")
    os.umask(0o022)
    libc.prctl(libc.PR_SET_CHILD_SUBREAPER, 1)
    if configuration["preload"]:
        zygote.preload()
    zygote_pid, readable = os.getpid(), _reachable(mounts.sources(configuration["interpreter"]))

    def run(payload: dict[str, Any], status: int) -> NoReturn:
        _run(payload, status, zygote_pid, readable)

    zygote.serve(channel, os.fork, run)


def _reachable(sources: list[str]) -> list[str]:
    """Paths by which an unprivileged process can read `sources`, and by which it imports."""
    if os.geteuid():
        return sources
    through = {path: handles.show(path) for path in sources if handles.is_private(path)}
    handles.import_through(through)
    return [through.get(path, path) for path in sources]


def _die_with(parent: int) -> None:
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _run(payload: dict[str, Any], status: int, zygote_pid: int, readable: list[str]) -> NoReturn:
    if payload["profile"] != "pure":
        raise OSError("projects, whose code makes processes, need namespaces")
    box, workspace = payload["box"], payload["workspace"]
    warden.empty(box)  # of a run that got no further than this one may
    _give_up_privileges(box)
    _refuse_what_is_private(readable)
    _die_with(zygote_pid)  # only now: a change of user takes it back
    if workspace:
        readable = [*readable, workspace]

    def confine() -> None:
        libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == zygote_pid:
            os._exit(1)  # its parent died before the line above could take effect
        _confine(payload["limits"], box, readable)

    folders = [workspace, f"{workspace}/src"] if workspace else []
    warden.oversee(payload, status, warden.Walls(box, folders, confine, lambda: warden.empty(box)))


def _give_up_privileges(box: str) -> None:
    if os.geteuid() == 0:
        uid = _PER_RUN_UIDS + os.getpid()
        os.chown(box, uid, uid)
        libc.drop_bounding_set()
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    libc.drop_capabilities()
    libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
    libc.prctl(libc.PR_SET_DUMPABLE, 0)


def _refuse_what_is_private(readable: list[str]) -> None:
    for path in readable:
        if not os.access(path, os.R_OK | (os.X_OK if os.path.isdir(path) else 0)):
            raise OSError(
                f"{os.path.realpath(path)} is for root alone: use a Python that every user may "
                "read, such as one below /usr or /opt, or start Rune as a user"
            )


def _confine(limits: dict[str, int | float], box: str, readable: list[str]) -> None:
    os.environ.update(HOME=box, TMPDIR=box)
    # All of a user's processes count, so a limit would depend on what else runs.
    del limits["processes"]
    confinement.limit_resources(limits)
    landlock.restrict(readable, [box], _DEVICES)
    seccomp.restrict("alone")
