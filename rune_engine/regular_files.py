"""Files that somebody else named: read only if they are what a file should be, and bounded.

A pipe, a device, or what the system makes up as it is read (`/proc/kmsg`) would keep a reader
waiting for ever or never end. Knows no format.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def require_regular(path: Path, limit: int) -> None:
    """Make sure that a file can be read to its end.

    Raises:
        OSError: it cannot be opened, is no regular file, or is larger than `limit` bytes; one that
            says that it is empty and is not, as in `/proc`, counts as none.
    """
    os.close(_opened(path, limit))


def read_regular(path: Path, limit: int) -> bytes:
    """A file's bytes; raises OSError as `require_regular` does."""
    with os.fdopen(_opened(path, limit), "rb") as file:
        return file.read(limit)


def _opened(path: Path, limit: int) -> int:
    """A descriptor of a file whose size is true."""
    if "\0" in str(path):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        if status.st_size == 0 and os.read(descriptor, 1):  # raises rather than waits
            raise OSError(errno.EINVAL, "it is made up as it is read", str(path))
        if status.st_size > limit:
            raise OSError(errno.EFBIG, f"it is larger than {limit // 1024**2} MiB", str(path))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
