"""The git processes that read a repository: bounded in time, in memory and in what they may say.

Knows how git is asked, not what for. Raises OSError or EOFError where it gets no answer.
"""

from __future__ import annotations

import os
import select
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from rune_engine import projects

_OPTIONS = (
    "-c", "diff.renameLimit=200",
    "-c", "core.packedGitLimit=256m",
    "-c", "core.packedGitWindowSize=16m",
    "-c", "core.deltaBaseCacheLimit=64m",
    "-c", "core.commitGraph=false",
    "-c", "core.multiPackIndex=false",
)  # fmt: skip
_CALL_SECONDS = 30.0
_MEMORY_BYTES = 4 * 1024**3
_MOST_LISTED_BYTES = 16 * 1024**2
_CHUNK = 1 << 16


def command(folder: Path, *arguments: str) -> list[str]:
    return ["git", *projects.GIT_OPTIONS, *_OPTIONS, "-C", str(folder), *arguments]


def output(folder: Path, *arguments: str) -> bytes | None:
    """What git says; None when it fails, takes too long or says too much."""
    try:
        process = _start(command(folder, *arguments), subprocess.DEVNULL)
    except (OSError, ValueError):
        return None
    with process:
        try:
            assert process.stdout is not None
            data = _read(process.stdout.fileno(), _MOST_LISTED_BYTES)
            process.wait(timeout=_CALL_SECONDS)
        except (OSError, EOFError, subprocess.TimeoutExpired):
            process.kill()
            return None
    return data if process.returncode == 0 else None


class Batch:
    """A `git cat-file` that answers one object after the other.

    Raises OSError or EOFError when it has died or does not answer; then it may only be closed.
    """

    def __init__(self, command: list[str]) -> None:
        self._process = _start(command, subprocess.PIPE)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._asking, self._answers = self._process.stdin, self._process.stdout.fileno()
        self._held = b""

    def size(self, name: str, kind: bytes) -> int | None:
        """In bytes; None where it is missing or of another kind."""
        header = self._ask(name).split()
        return int(header[2]) if len(header) == 3 and header[1] == kind else None

    def content(self, name: str) -> bytes | None:
        header = self._ask(name).split()
        if len(header) != 3:
            return None
        wanted = int(header[2]) + 1
        while len(self._held) < wanted:
            self._held += _some(self._answers)
        data, self._held = self._held[: wanted - 1], self._held[wanted:]
        return data

    def close(self) -> None:
        self._process.kill()
        with suppress(OSError):
            self._asking.close()
        with self._process:
            pass

    def _ask(self, name: str) -> bytes:
        self._asking.write(name.encode("ascii") + b"\n")
        self._asking.flush()
        while b"\n" not in self._held:
            self._held += _some(self._answers)
        line, _, self._held = self._held.partition(b"\n")
        return line


def _start(command: list[str], stdin: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        command,
        env=projects.git_environment(),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )
    _bound_memory(process.pid)
    return process


def _bound_memory(pid: int) -> None:
    """A small object may stand on a huge one. Where a process cannot be bounded, time is."""
    with suppress(ImportError, AttributeError, OSError, ValueError):
        import resource

        resource.prlimit(pid, resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))  # type: ignore[attr-defined,unused-ignore]


def _read(handle: int, most: int) -> bytes:
    """All there is until the end; EOFError when it is more than `most` or too slow."""
    parts, size, deadline = [], 0, time.monotonic() + _CALL_SECONDS
    while data := _some(handle, ends=True):
        parts.append(data)
        size += len(data)
        if size > most or time.monotonic() > deadline:
            raise EOFError
    return b"".join(parts)


def _some(handle: int, *, ends: bool = False) -> bytes:
    ready, _, _ = select.select([handle], [], [], _CALL_SECONDS)
    data = os.read(handle, _CHUNK) if ready else b""
    if not data and not (ready and ends):
        raise EOFError
    return data
