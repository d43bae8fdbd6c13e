"""The ways to isolate a process, one per platform, and the choice between them.

A tier turns a request into a command and a payload; what happens inside is `inside/`.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rune_engine.errors import SandboxUnavailableError
from rune_engine.sandbox import macos

_PACKAGE_ROOT = str(Path(__file__).parents[2])
_BOOT = "import sys; sys.path.append({root!r}); from {launcher} import main; sys.path.pop(); main()"


@dataclass(frozen=True)
class Tier:
    """One isolation mechanism.

    `box` makes a private folder on disk for a run (None where it is in memory), `limits` says in
    words what this mechanism does not keep out.
    """

    name: str
    launcher: str
    box: Callable[[], AbstractContextManager[str | None]] = field(default=nullcontext)
    limits: tuple[str, ...] = ()

    def command(self, arguments: list[str]) -> list[str]:
        """The command line; the environment it runs in is `environment`."""
        boot = _BOOT.format(root=_PACKAGE_ROOT, launcher=self.launcher)
        # -I without its -E: the environment is ours, and the hash seed in it must count.
        return [sys.executable, "-P", "-s", "-S", "-B", "-c", boot, *arguments]

    def configuration(self) -> dict[str, Any]:
        """What the launcher must know about this machine."""
        return {"interpreter": interpreter_folders(), "programs": program_folders()}


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


def choose() -> Tier:
    """The tier of this platform; whether it holds is for the probe to say.

    Raises:
        SandboxUnavailableError: there is none.
    """
    if sys.platform == "linux":
        return _linux()
    if sys.platform == "darwin":
        from rune_engine.sandbox.inside import macos_launcher

        return Tier(
            name="macos:sandbox-exec (untested)",
            launcher=macos_launcher.__name__,
            box=macos.private_folder,
            wrap=macos.wrap,
        )
    raise SandboxUnavailableError(
        f"Model-written code cannot be isolated on {sys.platform}.",
        next_step="On Windows, install and start Rune inside WSL2.",
    )


def _linux() -> Tier:
    # Imported here, because other platforms cannot, and in the engine at all, because the isolated
    # interpreter writes no byte code and starts faster where it finds some.
    from rune_engine.sandbox.inside import landlock, linux_launcher, seccomp

    if not seccomp.supported():
        raise SandboxUnavailableError(
            f"There is no system call filter for {platform.machine()}.",
            next_step="Run Rune on x86-64 or 64-bit ARM.",
        )
    abi = landlock.abi()
    walls = ["namespaces", "seccomp", *([f"landlock{abi}"] if abi else [])]
    return Tier(name="linux:" + "+".join(walls), launcher=linux_launcher.__name__)
