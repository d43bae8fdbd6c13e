"""The targets of one attack and, afterwards, what has become of them.

Everything here is made for one attack alone and gone after it: a home folder with canaries,
listeners on loopback, a process to be harmed, a terminal, a secret in the environment. Knows
nothing of the sandbox.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rune_engine.sandbox.conformance import witnesses
from rune_engine.sandbox.folders import folder_in_home

_UNTOUCHED = "untouched"
SECRET_VARIABLE = "RUNE_CONFORMANCE_TOKEN"
FOLDERS = ("/box", "/tmp", "/var/tmp", "/dev/shm", "/rune/work", "/rune/tests", "/workspace")
"""Where a program may leave something: the machine's folders, and those of our own sandbox."""


def _token() -> str:
    return secrets.token_hex(16)


@dataclass(frozen=True)
class Words:
    """Random words; where one turns up, something was read."""

    private: str = field(default_factory=_token)
    project: str = field(default_factory=_token)
    victim: str = field(default_factory=_token)
    handle: str = field(default_factory=_token)
    environment: str = field(default_factory=lambda: os.environ.get(SECRET_VARIABLE) or _token())
    expected: str = field(default_factory=_token)
    mark: str = field(default_factory=_token)


@dataclass(frozen=True)
class Sizes:
    """How much an attack tries to take."""

    confined: bool
    forks: int = 3000
    bytes: int = 3 * 1024**3
    files: int = 200_000
    handles: int = 20_000
    hold_seconds: float = 2.0


SMALL = Sizes(False, forks=30, bytes=256 * 1024**2, files=3000, handles=1500, hold_seconds=1.0)


class Scene:
    """One attack's targets. `name` is at most 15 letters: Linux shows it as a process's name."""

    def __init__(self, folder: Path, sizes: Sizes, stack: ExitStack) -> None:
        self.name = f"rune-{secrets.token_hex(5)}"
        self.words = Words()
        self.home = folder
        self._sizes = sizes
        self._files = _plant_files(folder, self.words)
        self._tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self._udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._udp.bind(("127.0.0.1", 0))
        self._path = stack.enter_context(_unix_listener(str(folder / "daemon.sock")))
        self._streams = [self._tcp, self._path]
        self._datagrams = [self._udp]
        self._netlink_port = 0
        self._vsock_port = 0
        if sys.platform == "linux":
            self._add_linux_listeners(stack)
        for listener in (*self._streams, *self._datagrams):
            listener.setblocking(False)
        self._terminal, self._terminal_user = os.openpty()
        stack.callback(os.close, self._terminal)
        stack.callback(os.close, self._terminal_user)
        os.set_blocking(self._terminal, False)
        self._victim = stack.enter_context(_victim(self.words.victim))
        self._victim_limits = witnesses.limits_of(self._victim.pid)
        self.handle = os.open(folder / "handle", os.O_RDONLY)
        os.set_inheritable(self.handle, True)
        stack.callback(os.close, self.handle)
        stack.callback(self._remove_leftovers)

    def _add_linux_listeners(self, stack: ExitStack) -> None:
        self._streams.append(stack.enter_context(_unix_listener(f"\0{self.name}")))
        with suppress(OSError):
            netlink = stack.enter_context(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 2))
            netlink.bind((0, 0))
            self._netlink_port = netlink.getsockname()[0]
            self._datagrams.append(netlink)
        with suppress(OSError):
            vsock = stack.enter_context(socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM))
            vsock.bind((0xFFFF_FFFF, 0xFFFF_FFFF))
            vsock.listen()
            self._vsock_port = vsock.getsockname()[1]
            self._streams.append(vsock)

    def target(self, *, marked: bool = True) -> dict[str, Any]:
        """What the attack is told; of the secrets only the mark that it is to leave behind."""
        sizes = self._sizes
        return {
            "name": self.name,
            "mark": self.words.mark if marked else "",
            "confined": sizes.confined,
            "home": str(self.home),
            **{name: str(path) for name, path in self._files.items()},
            "plant": str(self.home / "planted"),
            "libraries": self._libraries(),
            "socket": str(self.home / "daemon.sock"),
            "abstract": f"\0{self.name}",
            "tcp": self._tcp.getsockname()[1],
            "udp": self._udp.getsockname()[1],
            "netlink": self._netlink_port,
            "vsock": self._vsock_port,
            "victim": self._victim.pid,
            "victim_memory": witnesses.environment_memory(self._victim.pid),
            "terminal": os.ttyname(self._terminal_user),
            "folders": self.folders(),
            "variables": [SECRET_VARIABLE],
            "forks": sizes.forks,
            "bytes": sizes.bytes,
            "files": sizes.files,
            "handles": sizes.handles,
            "hold_seconds": sizes.hold_seconds,
            "sparse_bytes": 2**40,
        }

    def effects(self, said: str, printed: str, said_next: str = "") -> set[str]:
        """What the attack has done.

        Args:
            said: everything that came back from it, in whatever form.
            printed: only what it printed itself, without its tests' words.
            said_next: what came back from the run after it.
        """
        victim = self._victim.pid
        found = {
            "connected": any(witnesses.heard(listener) for listener in self._streams),
            "netlink message": any(witnesses.received(each) for each in self._datagrams[1:]),
            "datagram": witnesses.received(self._udp),
            "secret read": self._read(said, printed, said_next),
            "names": witnesses.names_host(said),
            "files changed": self._changed() or self._left_outside() != [],
            "library changed": self._library_additions() != [],
            "victim ended": self._victim.poll() is not None or witnesses.is_stopped(victim),
            "limits": witnesses.limits_of(victim) != self._victim_limits,
            "terminal": witnesses.has_input(self._terminal),
            "kernel objects": self.name in witnesses.kernel_keys(),
        }
        return {effect for effect, happened in found.items() if happened}

    def _read(self, said: str, printed: str, said_next: str) -> bool:
        words = self.words
        secret = (words.private, words.project, words.victim, words.handle, words.environment)
        return (
            any(word in said for word in secret)
            or words.expected in printed
            or words.mark in said_next
        )

    def _changed(self) -> bool:
        kept = self.words
        wanted = {"canary": _UNTOUCHED, "private": kept.private, "project": kept.project}
        try:
            texts = {name: self._files[name].read_text() for name in wanted}
            modes = self._files["canary"].stat()
        except OSError:
            return True
        planted = os.path.lexists(self.home / "planted")
        return planted or texts != wanted or modes.st_mode & 0o777 != 0o644 or modes.st_mtime < 2

    def _libraries(self) -> list[str]:
        """The interpreter's own folders; without walls, stand-ins for them."""
        if not self._sizes.confined:
            return [str(self.home)]
        paths = sysconfig.get_paths()
        return sorted({paths["stdlib"], paths["platstdlib"], paths["purelib"], paths["platlib"]})

    def folders(self) -> list[str]:
        """Where the attack is to write: everywhere; without walls, into a stand-in of ours."""
        if self._sizes.confined:
            return list(FOLDERS)
        stand_in = self.home / "stand-in"
        stand_in.mkdir(exist_ok=True)
        return [str(stand_in)]

    def _left_outside(self) -> list[Path]:
        """What carries the attack's name in the machine's own folders."""
        places = [Path(folder, *inner) for folder in FOLDERS for inner in ((), ("__pycache__",))]
        return [path for place in places for path in place.glob(f"{self.name}*")]

    def _library_additions(self) -> list[Path]:
        names = [f"{self.name}.pth", f"{self.name}.py"]
        paths = [Path(folder, name) for folder in self._libraries() for name in names]
        return [path for path in paths if path.exists()]

    def _remove_leftovers(self) -> None:
        for path in (*self._library_additions(), *self._left_outside()):
            path.unlink(missing_ok=True)


def _plant_files(folder: Path, words: Words) -> dict[str, Path]:
    texts = {
        "canary": ("canary.txt", _UNTOUCHED),
        "private": (".ssh/id_ed25519", words.private),
        "project": ("other-project/.rune/registry.db", words.project),
        "handle": ("handle", words.handle),
    }
    files = {}
    for name, (place, text) in texts.items():
        files[name] = folder / place
        files[name].parent.mkdir(parents=True, exist_ok=True)
        files[name].write_text(text, encoding="utf-8")
        files[name].chmod(0o644)
    return files


def _unix_listener(address: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    return listener


@contextmanager
def _victim(word: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        ["/bin/sleep", "600"],
        env={"VICTIM": word},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(timeout=10)


@contextmanager
def scene(sizes: Sizes) -> Iterator[Scene]:
    """Targets, in the home folder where that is possible: it is what must be kept from view."""
    with ExitStack() as stack:
        yield Scene(stack.enter_context(folder_in_home("rune-check-")), sizes, stack)
