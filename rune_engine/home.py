"""The folder that is Rune's home, as clients and engine both need it: private folders and locks.

Knows nothing of what is stored in it. Light: both sides import it before anything else.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rune_engine.config import RuneConfig
from rune_engine.errors import (
    DiskFullError,
    EngineUnavailableError,
    HomeNotWritableError,
    RuneError,
)

_LOCK_POLL_SECONDS = 0.05


def not_writable(path: Path, error: OSError) -> RuneError:
    """The error for a failed write to `path`, by its cause."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(
            f"No space is left for {path}.", next_step="Free some disk space and try again."
        )
    return HomeNotWritableError(
        f"Rune cannot write to {path}: {error.strerror or error}.",
        next_step="Make that folder writable, or set RUNE_HOME to one that is.",
    )


def prepare_home(config: RuneConfig) -> None:
    """Create the home, its log folder and the socket's folder, private to this user.

    Raises:
        HomeNotWritableError: a folder cannot be made, or is not ours.
        DiskFullError: no space is left.
    """
    for folder in (config.home, config.logs_path):
        _make_private(folder)
    if config.socket_path.parent != config.home:
        _make_private(config.socket_path.parent)
        require_private(config.socket_path.parent)


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise not_writable(folder, error) from error


def require_private(folder: Path) -> None:
    """Refuse a socket folder that another user could have put there.

    Raises:
        HomeNotWritableError: the folder is somebody else's, or open to others.
    """
    status = folder.lstat()
    if status.st_uid == os.getuid() and not status.st_mode & 0o022:
        return
    raise HomeNotWritableError(
        f"{folder} is open to other users, so the engine's socket cannot be there.",
        next_step="Remove that folder, or choose a shorter RUNE_HOME.",
    )


def open_lock(path: Path) -> int:
    """Open a lock file; children started with exec do not inherit it."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise not_writable(path, error) from error


def try_lock(descriptor: int) -> bool:
    """Take the lock if nobody holds it. It is free again when its holder dies, however it dies."""
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def locked(path: Path, *, deadline: float) -> Iterator[None]:
    """Hold the lock on `path`, waiting for it until `deadline` (of `time.monotonic`).

    Raises:
        EngineUnavailableError: somebody else held it all that time.
    """
    descriptor = open_lock(path)
    try:
        while not try_lock(descriptor):
            if time.monotonic() >= deadline:
                raise EngineUnavailableError(
                    f"Another process has been holding {path} for too long.",
                    next_step="End the process that `fuser` shows for that file, then try again.",
                )
            time.sleep(_LOCK_POLL_SECONDS)
        yield
    finally:
        with suppress(OSError):
            os.close(descriptor)
