"""Files that survive a power failure: written once, flushed, then made visible by name.

Knows nothing of adapters. The order is always content, its folder, then whatever refers to it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def flush_to_disk(descriptor: int) -> None:
    """Flush down to the medium; on macOS `fsync` alone stops at the drive's cache."""
    if sys.platform == "darwin":
        with suppress(OSError):  # not every file system there knows it
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def flush_folder(folder: Path) -> None:
    """Make names that were added to `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flush_to_disk(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make `folder` (0700) below an existing one, durably; an existing one is fine."""
    if not folder.is_dir():
        folder.mkdir(mode=0o700, exist_ok=True)
        flush_folder(folder.parent)


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that did not exist; read-only and on disk when the block ends, gone if it fails."""
    try:
        with os.fdopen(os.open(path, _NEW, 0o600), "w+b") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), 0o444)
            flush_to_disk(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def sweep(folder: Path, older_than_seconds: float) -> None:
    """Remove what interrupted writers left in the scratch `folder`, once it is old."""
    limit = time.time() - older_than_seconds
    for entry in folder.iterdir():
        with suppress(FileNotFoundError):  # another process sweeps too
            if entry.lstat().st_mtime >= limit:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink()
