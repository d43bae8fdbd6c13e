"""Folders for one use, which are found again where whoever made them was killed before it was over.

A folder is locked by its maker for as long as that lives. What nobody holds is left over, and is
deleted by the next who makes one of the same kind in the same place.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from rune_engine.sandbox.inside.warden import empty


@contextmanager
def folder_in_home(prefix: str) -> Iterator[Path]:
    """A folder in the home folder, which is what is to be kept from view; else a temporary one."""
    try:
        home = Path.home()
        made = _make(f".{prefix}", home)
    except (OSError, RuntimeError):
        with folder_in(Path(tempfile.gettempdir()), prefix) as path:
            yield path
        return
    sweep(home, f".{prefix}")
    with _held(*made) as path:
        yield path


@contextmanager
def folder_in(parent: Path, prefix: str) -> Iterator[Path]:
    """A folder in `parent` that is deleted whatever was put there."""
    _sweep_once(parent, prefix, os.getpid())
    with _held(*_make(prefix, parent)) as path:
        yield path


@cache
def _sweep_once(parent: Path, prefix: str, process: int) -> None:
    """`parent` may hold very many files, and be asked for a folder very often."""
    sweep(parent, prefix)


def sweep(parent: Path, prefix: str) -> None:
    """Delete the folders of this kind whose makers are gone; what cannot be, stays."""
    for path in parent.glob(f"{prefix}*"):
        with suppress(OSError):
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(path)
            finally:
                os.close(handle)


def _make(prefix: str, parent: Path) -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue  # someone swept it, as nobody held it yet
        with suppress(OSError):  # not every network file system has locks; nor does it sweep then
            fcntl.flock(handle, fcntl.LOCK_EX)
        if path.exists():
            return path, handle
        os.close(handle)  # someone swept it before it was locked


@contextmanager
def _held(path: Path, handle: int) -> Iterator[Path]:
    try:
        yield path
    finally:
        try:
            _remove(path)
        finally:
            os.close(handle)


def _remove(path: Path) -> None:
    empty(str(path))
    path.rmdir()
