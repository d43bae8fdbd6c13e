"""The ways to isolate a process: on Linux with and without namespaces, and one for macOS.

A tier says how its zygote is started; what happens inside is `inside/`. Which of them holds on this
machine is found by `probe.py`, with real attacks.

Bubblewrap is not used: it starts in 11 to 17 ms where the whole warm run takes less, has to be
installed, and leaves gaps (memory, io_uring, keyrings, its own environment in /proc/1) that need
the layers within the process anyway.
"""

from __future__ import annotations

import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rune_engine.errors import SandboxUnavailableError
from rune_engine.sandbox import macos
from rune_engine.sandbox.folders import folder_in

_PACKAGE_ROOT = str(Path(__file__).parents[2])
_BOOT = "import sys; sys.path.append({root!r}); from {launcher} import main; sys.path.pop(); main()"


_NAMESPACES_LIMITS = (
    "the kernel is shared: a flaw in it is not kept out, as a virtual machine would",
    "a project's processes share one limit on their memory, not on the kernel's for their sockets",
    "the folders that Python and Rune are installed in can be learnt",
    "time and timing can be measured",
)
_PLAIN_LIMITS = (
    "the kernel is shared: a flaw in it is not kept out, as a virtual machine would",
    "names, sizes and dates of the machine's files can be looked up, not their contents",
    "disk use is limited per file and by the number of open files, not in all",
    "threads are limited by the address space, not by number",
    "the machine's name, and the folders that Python and Rune are installed in, can be learnt",
    "no socket at all, and no change of a file's mode, owner or times, even the run's own",
    "the project profile is refused, as it makes processes",
    "as root, a workspace that only its owner may read is not seen",
    "time and timing can be measured",
)


@dataclass(frozen=True)
class Tier:
    """One isolation mechanism.

    `box` makes a private folder on disk for a run (None where it is in memory), `limits` says in
    words what this mechanism does not keep out, `extra` is what only its launcher must know.
    """

    name: str
    launcher: str
    box: Callable[[], AbstractContextManager[str | None]] = field(default=nullcontext)
    extra: Callable[[], dict[str, Any]] = field(default=dict)
    limits: tuple[str, ...] = ()

    def command(self, arguments: list[str]) -> list[str]:
        """The command line; the environment it runs in is `environment`."""
        boot = _BOOT.format(root=_PACKAGE_ROOT, launcher=self.launcher)
        # -I without its -E: the environment is ours, and the hash seed in it must count.
        return [sys.executable, "-P", "-s", "-S", "-B", "-c", boot, *arguments]

    def configuration(self) -> dict[str, Any]:
        """What the launcher must know about this machine."""
        return {
            "interpreter": interpreter_folders(),
            "programs": program_folders(),
            **self.extra(),
        }


def environment(hash_seed: int = 0) -> dict[str, str]:
    """The candidate's whole environment: nothing of ours is in it."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": "/box",
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": str(hash_seed),
        "PYTHONUTF8": "1",
        # Every thread's own malloc arena would reserve 64 MB of the address space limit.
        "MALLOC_ARENA_MAX": "2",
    }


def interpreter_folders() -> list[str]:
    """Where the standard library and its shared libraries are, when not under /usr.

    Pythons of pyenv, uv or conda live in a home folder that is otherwise invisible inside.
    """
    folders = [
        Path(prefix) / name
        for prefix in (sys.base_prefix, sys.base_exec_prefix)
        for name in ("lib", "lib64")
    ]
    # As spelled and as resolved: the interpreter uses the first, the linker may use the second.
    spellings = [path for folder in folders for path in (folder, folder.resolve())]
    outside = [path for path in spellings if path.is_dir() and not path.is_relative_to("/usr")]
    return list(dict.fromkeys(str(path) for path in outside))


def program_folders() -> list[str]:
    """Where `python` and what is installed beside it are, when not under /usr: for projects."""
    outside = [Path(prefix) for prefix in (sys.prefix, sys.base_prefix)]
    return [
        str(path)
        for path in dict.fromkeys(outside)
        if path.is_dir() and not path.is_relative_to("/usr") and len(path.parts) > 1
    ]


def available() -> tuple[Tier, ...]:
    """The tiers of this platform, the strongest first; whether one holds is for the probe to say.

    Raises:
        SandboxUnavailableError: there is none.
    """
    if sys.platform == "linux":
        return _linux()
    if sys.platform == "darwin":
        return (_macos(),)
    raise SandboxUnavailableError(
        f"Model-written code cannot be isolated on {sys.platform}.",
        next_step="On Windows, install and start Rune inside WSL2.",
    )


def choose() -> Tier:
    """The strongest tier of this platform, not probed."""
    return available()[0]


@contextmanager
def _private_folder() -> Iterator[str]:
    with folder_in(Path(tempfile.gettempdir()), "rune-box-") as folder:
        yield str(folder)


def _linux() -> tuple[Tier, ...]:
    # Imported here, because other platforms cannot, and in the engine at all, because the isolated
    # interpreter writes no byte code and starts faster where it finds some.
    from rune_engine.sandbox.inside import landlock, linux_launcher, plain_launcher, seccomp

    if not seccomp.supported():
        raise SandboxUnavailableError(
            f"There is no system call filter for {platform.machine()}.",
            next_step="Run Rune on x86-64 or 64-bit ARM.",
        )
    abi = landlock.abi()
    inner = "+".join(["seccomp", *([f"landlock{abi}"] if abi else [])])
    return (
        Tier(f"linux:namespaces+{inner}", linux_launcher.__name__, limits=_NAMESPACES_LIMITS),
        Tier(f"linux:{inner}", plain_launcher.__name__, _private_folder, limits=_PLAIN_LIMITS),
    )


def _macos() -> Tier:
    from rune_engine.sandbox.inside import macos_launcher

    return Tier(
        name="macos:seatbelt (untested)",
        launcher=macos_launcher.__name__,
        box=_private_folder,
        extra=lambda: {"rules": macos.rules()},
        limits=macos.LIMITS,
    )
