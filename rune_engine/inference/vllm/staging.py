"""Copies of adapters for a server to read, under paths that never mean other bytes.

vLLM keys its prefix cache by an adapter's name and path, and reads the path again when its own
cache dropped the adapter. So it is given a private copy that nobody changes, in a folder whose name
says what is in it, and whose parent is new with every connection. Copies are erased as soon as the
server has forgotten them; those of a process that was killed are erased by the next one.
Knows files; nothing of HTTP.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import tempfile
from contextlib import suppress
from errno import ENOENT
from pathlib import Path

from rune_engine.errors import AdapterCorruptedError
from rune_engine.home import not_writable, open_lock, try_lock
from rune_engine.inference.adapter_files import CONFIG, WEIGHTS, adapter_key
from rune_engine.inference.provider import AdapterRef

_LOCK = "lock"


class Staging:
    """A folder of copies, from `Staging.open` to `close`."""

    def __init__(self, folder: Path, lock: int) -> None:
        self.folder = folder
        self._lock = lock

    @classmethod
    def open(cls, root: Path) -> Staging:
        """A new folder under `root`; what dead processes left there goes.

        Raises:
            HomeNotWritableError: it cannot be made.
            DiskFullError: no space is left.
        """
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sweep(root)
            folder = Path(tempfile.mkdtemp(prefix="serving-", dir=root))
        except OSError as error:
            raise not_writable(root, error) from error
        lock = open_lock(folder / _LOCK)
        try_lock(lock)
        return cls(folder, lock)

    def copy(self, adapter: AdapterRef) -> AdapterRef:
        """The same adapter at a path of our own. Blocks; what was copied is yet to be checked.

        Raises:
            AdapterCorruptedError: its files cannot be read.
        """
        try:
            for name in (CONFIG, WEIGHTS):
                if not (adapter.path / name).is_file():  # a pipe would never end
                    raise FileNotFoundError(ENOENT, "there is no such file", name)
            config = (adapter.path / CONFIG).read_bytes()
            digest = hashlib.sha256(config).hexdigest()
            folder = self.folder / f"{adapter_key(adapter)}-{digest[:32]}"
            folder.mkdir(exist_ok=True)
            (folder / CONFIG).write_bytes(config)
            shutil.copyfile(adapter.path / WEIGHTS, folder / WEIGHTS)
        except OSError as error:
            raise _unreadable(adapter, error) from error
        return dataclasses.replace(adapter, path=folder)

    def drop(self, copied: AdapterRef) -> None:
        shutil.rmtree(copied.path, ignore_errors=True)

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)


def _sweep(root: Path) -> None:
    for folder in root.glob("serving-*"):
        with suppress(OSError):
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
            try:
                if try_lock(lock):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _unreadable(adapter: AdapterRef, error: OSError) -> AdapterCorruptedError:
    return AdapterCorruptedError(
        f"Adapter {adapter.id} cannot be loaded: {error.filename} cannot be read or copied "
        f"({error.strerror}).",
        next_step="Distill it again, or restore its folder from a backup.",
    )
