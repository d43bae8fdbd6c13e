"""A secret that clients show, in a file of the home: made at first use, for this user alone.

Any process of the machine can reach a loopback port; the secret is what keeps other users out.
Knows nothing of who asks for it.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from rune_engine.errors import HomeNotWritableError
from rune_engine.home import not_writable

_SHORTEST = 32


def own_secret(path: Path) -> str:
    """The secret in `path`; every process that asks gets the same one.

    Raises:
        HomeNotWritableError: it cannot be written, or others could read it.
        DiskFullError: no space is left for it.
    """
    try:
        if not path.exists():
            _make(path)
        return _read(path)
    except OSError as error:
        raise not_writable(path, error) from error


def _make(path: Path) -> None:
    """Write a new secret in one step; of two processes at once, the first one's is kept."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-")  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"rune-{secrets.token_urlsafe(32)}\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink()


def _read(path: Path) -> str:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        secret = file.read(1024).decode("ascii", "replace").strip()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise _unusable(path, "other users may read it")
    if len(secret) < _SHORTEST or not secret.isascii():
        raise _unusable(path, "it holds no key")
    return secret


def _unusable(path: Path, reason: str) -> HomeNotWritableError:
    return HomeNotWritableError(
        f"The key in {path} cannot be used: {reason}.",
        next_step="Remove that file: a new key is made, which your clients then need.",
    )
