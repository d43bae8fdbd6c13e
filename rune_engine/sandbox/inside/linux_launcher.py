"""Starts one isolated run on Linux: `python -c BOOT STATUS_FD ENGINE_PID < payload`.

Three processes. The launcher enters new namespaces and waits. Its child is process 1 of the new
PID namespace: it builds the root, gives up every privilege and is the warden of those that run the
candidate; when it ends, the kernel ends everything in the namespace. Should the engine be killed,
the launcher dies with it, and process 1 with the launcher.

Whatever fails here is a traceback on stderr and no "R" (ready) on the status pipe: the engine then
knows that there was no run. The candidate's process never holds the status pipe while it runs.
"""

from __future__ import annotations

import marshal
import os
import signal
import sys

from rune_engine.sandbox.inside import confinement, landlock, libc, mounts, seccomp, warden

TYPE_CHECKING = False  # as a type checker reads it, without the cost of importing typing
if TYPE_CHECKING:
    from typing import Any

_NAMESPACES = (
    libc.CLONE_NEWNS | libc.CLONE_NEWPID | libc.CLONE_NEWNET | libc.CLONE_NEWIPC | libc.CLONE_NEWUTS
)
_NOBODY = 65534
_PER_RUN_UIDS = 0x7000_0000
_DEVICES = ["/dev/null", "/dev/zero"]


def main() -> None:
    status, engine_pid = (int(argument) for argument in sys.argv[1:3])
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != engine_pid:
        os._exit(1)
    payload = marshal.loads(sys.stdin.buffer.read())
    nothing = os.open("/dev/null", os.O_RDONLY)
    os.dup2(nothing, 0)
    os.umask(0o022)
    lifeline, held_open = os.pipe()
    uid, owners = _enter_namespaces(payload["workspace"])
    first = os.fork()
    if first == 0:
        os.close(held_open)
        _first_process(payload, status, lifeline, uid, owners)
    # Asked to stop, it ends the namespace and reaps it: nobody else would in many containers.
    signal.signal(signal.SIGTERM, lambda *_: os.kill(first, signal.SIGKILL))
    os.waitpid(first, 0)
    os._exit(0)


def _enter_namespaces(workspace: str | None) -> tuple[int, int | None]:
    """Returns the uid that the candidate will have, and a user namespace with the owners' map."""
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0:
        libc.unshare(libc.CLONE_NEWUSER | _NAMESPACES)
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{uid} {uid} 1")
        _write("/proc/self/gid_map", f"{gid} {gid} 1")
        return uid, None
    uid = _unprivileged_uid()
    owners = None if workspace is None else _owners_map(workspace, uid)
    libc.unshare(_NAMESPACES)
    return uid, owners


def _unprivileged_uid() -> int:
    """For root: an id of this run's own, because the limit on processes counts by user.

    Where not every id exists (a container of an unprivileged user) it is nobody's.
    """
    with open("/proc/self/uid_map", encoding="ascii") as table:
        whole = table.read().split() == ["0", "0", "4294967295"]
    return _PER_RUN_UIDS + os.getpid() if whole else _NOBODY


def _owners_map(workspace: str, uid: int) -> int | None:
    """A user namespace that maps the workspace's owner to `uid`, so that it can read a private
    folder; None where the kernel refuses, and the folder's permissions decide."""
    owner = os.stat(workspace)
    arrived, arrive = os.pipe()
    helper = os.fork()
    if helper == 0:
        try:
            libc.unshare(libc.CLONE_NEWUSER)
        except OSError:
            os._exit(1)
        os.write(arrive, b"1")
        signal.pause()
    os.close(arrive)
    try:
        if not os.read(arrived, 1):
            return None
        _write(f"/proc/{helper}/uid_map", f"{owner.st_uid} {uid} 1")
        _write(f"/proc/{helper}/gid_map", f"{owner.st_gid} {uid} 1")
        return os.open(f"/proc/{helper}/ns/user", os.O_RDONLY)
    except OSError:
        return None
    finally:
        os.kill(helper, signal.SIGKILL)
        os.waitpid(helper, 0)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def _first_process(
    payload: dict[str, Any], status: int, lifeline: int, uid: int, owners: int | None
) -> None:
    mounts.enter(
        payload["interpreter"],
        payload["workspace"],
        uid,
        int(payload["limits"]["work_folder_bytes"]),
        owners,
    )
    _give_up_privileges(uid)
    _die_with_launcher(lifeline)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # which process 1 does not receive
    workspace = mounts.WORKSPACE
    folders = [workspace, f"{workspace}/src"] if payload["workspace"] else []
    warden.oversee(
        payload, status, warden.Walls(mounts.BOX, folders, lambda: _confine(payload), _sweep)
    )


def _give_up_privileges(uid: int) -> None:
    libc.drop_bounding_set()
    if os.geteuid() != uid:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    libc.drop_capabilities()
    libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
    libc.prctl(libc.PR_SET_DUMPABLE, 0)  # nobody reads this process's memory or environment


def _die_with_launcher(lifeline: int) -> None:
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    os.set_blocking(lifeline, False)
    try:
        os.read(lifeline, 1)
    except BlockingIOError:
        return
    os._exit(1)  # it died before the line above could take effect


def _confine(payload: dict[str, Any]) -> None:
    confinement.limit_resources(payload["limits"])
    landlock.restrict([mounts.BOX, "/tmp"], _DEVICES)
    seccomp.restrict()


def _sweep() -> None:
    """End every other process of the namespace, and delete what they wrote."""
    try:
        os.kill(-1, signal.SIGKILL)
        while True:
            os.waitpid(-1, 0)
    except (ProcessLookupError, ChildProcessError):
        pass  # there is none left
    warden.empty(mounts.BOX)
    warden.empty("/tmp")
