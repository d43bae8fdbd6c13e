"""Files that survive a power failure: written once, flushed, then made visible by name.

The order is always content, its folder, then whatever refers to it. Knows nothing of what it is.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def flush_to_disk(descriptor: int) -> None:
    """Flush down to the medium; on macOS `fsync` alone stops at the drive's cache."""
    if sys.platform == "darwin":
        with suppress(OSError):  # not every file system there knows it
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def flush_folder(folder: Path) -> None:
    """Make names that were added to `folder` durable."""
    descriptor = os.open(folder, _FOLDER)
    try:
        flush_to_disk(descriptor)
    finally:
        os.close(descriptor)


def flush_tree(folder: Path) -> None:
    """Make all files below `folder`, and their names, durable."""
    for root, _, names in os.walk(folder):
        for name in names:
            descriptor = os.open(Path(root, name), _FILE)
            try:
                flush_to_disk(descriptor)
            finally:
                os.close(descriptor)
        flush_folder(Path(root))


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


def write_file(path: Path, text: str, mode: int = 0o600) -> None:
    """Make `text` the content of `path`, all at once: nobody ever sees half of it.

    Raises:
        OSError: it cannot be written; what was there is as it was.
    """
    fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with new_file(fresh) as file:
            file.write(text.encode("utf-8"))
        fresh.chmod(mode)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    flush_folder(path.parent)


@contextmanager
def in_use(scratch: Path) -> Iterator[None]:
    """Within the block nobody sweeps `scratch`; any number of writers may be in it at once."""
    descriptor = os.open(scratch, _FOLDER)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)  # only a sweep makes it wait
        yield
    finally:
        os.close(descriptor)


@contextmanager
def alone_in(scratch: Path) -> Iterator[bool]:
    """No writer is in `scratch` within the block, nor starts in it; False when one is there."""
    descriptor = os.open(scratch, _FOLDER)
    try:
        yield _lock_alone(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def swept(scratch: Path) -> Iterator[bool]:
    """Empty the `scratch` folder of what interrupted writers left; no writer starts in the block.

    Yields False, and has done nothing, while somebody writes there: how old a file looks says
    nothing, as clocks jump.
    """
    with alone_in(scratch) as alone:
        for entry in scratch.iterdir() if alone else ():
            remove(entry)
        yield alone


def _lock_alone(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def remove(entry: Path) -> None:
    """Remove a file, a link or a folder with all that is in it."""
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink(missing_ok=True)
