"""Linux namespaces: the processes between the engine and a candidate.

    keeper     started by the engine, enters new namespaces, waits; small
    zygote     process 1 of the outer PID namespace: builds the empty root once, forks for every run
    warden     process 1 of a run's own PID namespace, with the run's own mounts and no privilege
    candidate  one or several, one after the other, each confined by rlimits, Landlock and seccomp

When a process 1 ends, the kernel ends everything in its namespace: the keeper dies with the
engine, the zygote with the keeper, every warden with the zygote, every candidate with its warden.
Runs share the network (none), IPC and host name namespaces; the filter refuses what could meet
there.

Whatever fails here is a traceback on stderr and no "R" (ready) on the status pipe: the engine then
knows that there was no run. A candidate's process never holds the status pipe while it runs.
"""

from __future__ import annotations

import os
import signal
import sys

from rune_engine.sandbox.inside import (
    confinement,
    landlock,
    libc,
    memory,
    mounts,
    project,
    seccomp,
    warden,
    zygote,
)

TYPE_CHECKING = False  # as a type checker reads it, without the cost of importing typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

_SHARED = libc.CLONE_NEWNS | libc.CLONE_NEWNET | libc.CLONE_NEWIPC | libc.CLONE_NEWUTS
_NOBODY = 65534
_PER_RUN_UIDS = 0x7000_0000
_DEVICES = ["/dev/null"]
_SCOPES_ABSTRACT_SOCKETS = 6  # Landlock's version that keeps runs apart in one network namespace


def main() -> None:
    channel, engine_pid = (int(argument) for argument in sys.argv[1:3])
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != engine_pid:
        os._exit(1)
    configuration = zygote.configuration()
    os.umask(0o022)
    nursery = _Nursery(os.getpid())
    lifeline, held_open = os.pipe()
    _enter_namespaces()
    first = os.fork()
    if first == 0:
        os.close(held_open)
        _die_with_keeper(lifeline)
        nursery.open(channel, configuration)
    os.close(channel)
    # Asked to stop, it ends the namespace and reaps it: nobody else would in many containers.
    signal.signal(signal.SIGTERM, lambda *_: os.kill(first, signal.SIGKILL))
    os.waitpid(first, 0)
    os._exit(0)


def _enter_namespaces() -> None:
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        libc.unshare(_SHARED | libc.CLONE_NEWPID)
    else:
        libc.unshare(libc.CLONE_NEWUSER | _SHARED | libc.CLONE_NEWPID)
        _map_own_ids(uid, gid)
    libc.set_host_name(b"sandbox")


def _map_own_ids(uid: int, gid: int) -> None:
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{uid} {uid} 1")
    _write("/proc/self/gid_map", f"{gid} {gid} 1")


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def _die_with_keeper(lifeline: int) -> None:
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    os.set_blocking(lifeline, False)
    try:
        os.read(lifeline, 1)
    except BlockingIOError:
        return
    os._exit(1)  # it died before the line above could take effect


class _Nursery:
    """The zygote's side: what was prepared once, and how a run is made of it."""

    def __init__(self, keeper: int) -> None:
        self._keeper = keeper
        self._runs = 0
        self._interpreter: list[str] = []
        self._programs: list[str] = []
        self._own_pids = self._whole_root = -1
        self._every_id_exists = False
        self._sockets_kept_apart = landlock.abi() >= _SCOPES_ABSTRACT_SOCKETS

    def open(self, channel: int, configuration: dict[str, Any]) -> NoReturn:
        if configuration["preload"]:
            zygote.preload()
        self._interpreter = configuration["interpreter"]
        self._programs = configuration["programs"]
        with open("/proc/self/uid_map", encoding="ascii") as table:
            self._every_id_exists = table.read().split() == ["0", "0", "4294967295"]
        libc.drop_bounding_set()
        seccomp.prepare("pure")
        mounts.keep_to_ourselves()
        self._own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY)
        self._whole_root = os.open("/proc/self/ns/mnt", os.O_RDONLY)
        libc.unshare(libc.CLONE_NEWNS)
        mounts.build(self._interpreter)
        zygote.serve(channel, self._fork, self._run)

    def _fork(self) -> int:
        """Fork a process 1 of a new PID namespace, and come back to our own."""
        self._runs += 1
        libc.unshare(libc.CLONE_NEWPID)
        process = os.fork()
        if process:
            libc.setns(self._own_pids, libc.CLONE_NEWPID)
        return process

    def _run(self, payload: dict[str, Any], status: int) -> NoReturn:
        uid = os.geteuid() or self._unprivileged_uid()
        if not self._sockets_kept_apart:
            libc.unshare(libc.CLONE_NEWNET)
        self._enter_root(payload, uid)
        mounts.mount_own(uid, int(payload["limits"]["work_folder_bytes"]))
        _give_up_privileges(uid)
        folders = []
        if payload["profile"] == "pure" and payload["workspace"]:
            folders = [mounts.WORKSPACE, f"{mounts.WORKSPACE}/src"]
        watch = _watch(payload) if payload["profile"] == "project" else None
        walls = warden.Walls(mounts.BOX, folders, lambda: _confine(payload), _sweep, watch)
        warden.oversee(payload, status, walls)

    def _enter_root(self, payload: dict[str, Any], uid: int) -> None:
        """A copy of the prepared root; or, to add what only this run may see, one built anew."""
        workspace = payload["workspace"]
        if payload["profile"] == "pure" and workspace is None:
            libc.unshare(libc.CLONE_NEWNS)
            return
        libc.setns(self._whole_root, libc.CLONE_NEWNS)
        libc.unshare(libc.CLONE_NEWNS)
        mounts.show_own_processes()
        if payload["profile"] == "project":
            folders = list(dict.fromkeys([*self._interpreter, *self._programs]))
            source = -1 if workspace is None else os.open(workspace, os.O_RDONLY | os.O_DIRECTORY)
            mounts.build(folders, fill=lambda root: project.fill(root, source, payload, uid))
            return
        owners = None if os.geteuid() else _owners_map(workspace, uid)
        mounts.build(self._interpreter, workspace, owners)

    def _unprivileged_uid(self) -> int:
        """For root: an id of this run's own, because the limit on processes counts by user.

        Where not every id exists (a container of an unprivileged user) it is nobody's.
        """
        if not self._every_id_exists:
            return _NOBODY
        return _PER_RUN_UIDS + (self._keeper << 6 | self._runs & 63)


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


def _give_up_privileges(uid: int) -> None:
    if os.geteuid():  # a user namespace of the run's own, in which its processes are counted
        gid = os.getegid()
        libc.unshare(libc.CLONE_NEWUSER)
        _map_own_ids(uid, gid)
        libc.drop_bounding_set()
    if os.geteuid() != uid:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    libc.drop_capabilities()
    libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
    libc.prctl(libc.PR_SET_DUMPABLE, 0)  # nobody reads this process's memory or environment


def _watch(payload: dict[str, Any]) -> Callable[[], float | None]:
    memory.slow_down()
    return memory.Watch(int(payload["limits"]["memory_bytes"])).look


def _confine(payload: dict[str, Any]) -> None:
    confinement.limit_resources(payload["limits"])
    writable, project_profile = mounts.own_folders(), payload["profile"] == "project"
    if project_profile:
        writable.append(project.WORK)
    landlock.restrict(["/"], writable, _DEVICES, execute=project_profile)
    seccomp.restrict(payload["profile"])


def _sweep() -> None:
    """End every other process of the namespace, and delete what they wrote."""
    try:
        os.kill(-1, signal.SIGKILL)
        while True:
            os.waitpid(-1, 0)
    except (ProcessLookupError, ChildProcessError):
        pass  # there is none left
    for folder in mounts.own_folders():
        warden.empty(folder)
