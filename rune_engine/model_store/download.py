"""One file of the hub onto the disk: resumed where it stopped, kept only if its hash is right.

A file that is not complete is called `DIGEST.part`; a complete one that was checked, `DIGEST`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from rune_engine.durable import flush_folder, flush_to_disk
from rune_engine.errors import BaseModelCorruptedError
from rune_engine.home import not_writable
from rune_engine.model_store import hub
from rune_engine.model_store.store import StoredFile, new_hash

Report = Callable[[int], None]
"""Told how many bytes came, or were here already; negative where some turned out worthless."""
_CHUNK = 1024**2
_FAILURES = 6
"""In a row, without a byte in between, after which the hub counts as out of reach."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 8.0


def fetch(found: hub.Listing, file: StoredFile, folder: Path, report: Report) -> Path:
    """Bring one file into `folder`, under the name of its hash.

    Raises:
        BaseModelCorruptedError: the hub sends something else than it promised.
        ModelHubError: it cannot be reached, or refused; what came is kept for the next time.
        DiskFullError: no space is left.
        HomeNotWritableError: `folder` cannot be written to.
    """
    whole = folder / file.digest
    if whole.exists():
        report(file.size)
        return whole
    partial = folder / f"{file.digest}.part"
    try:
        resumed = partial.exists() and partial.stat().st_size > 0
        # After a power failure, what was there may be holes: one more try from the beginning.
        if _is_right(found, file, partial, report) or (
            resumed and _is_right(found, file, partial, report)
        ):
            partial.rename(whole)
            flush_folder(folder)
            return whole
    except OSError as error:
        raise not_writable(partial, error) from error
    raise BaseModelCorruptedError(
        f"The hub sent {file.name} of {found.repository} damaged: its {file.algorithm} is not "
        f"{file.digest}. Nothing of it was kept.",
        next_step="Pull again. If it happens twice, a proxy or a mirror alters the files.",
    )


def _is_right(found: hub.Listing, file: StoredFile, partial: Path, report: Report) -> bool:
    """Complete `partial` and check it; it is gone, and the report taken back, if it is wrong."""
    with partial.open("ab+") as out:
        hashed = _Hashed(file, out, report)
        hashed.read_what_is_there()
        _complete(found, hashed)
        flush_to_disk(out.fileno())
    if hashed.is_right():
        return True
    report(-hashed.size)
    partial.unlink()
    return False


def _complete(found: hub.Listing, hashed: _Hashed) -> None:
    """Ask for what is missing until nothing is; each byte that came resets the patience."""
    failures = 0
    while hashed.size < hashed.file.size:
        before = hashed.size
        try:
            with hub.stream(found, hashed.file, before) as (beginning, chunks):
                if beginning != before:
                    hashed.start_again()
                for chunk in chunks:
                    if not hashed.take(chunk):
                        return
            if hashed.size < hashed.file.size:
                raise hub.HubUnreachableError("the connection ended too early")
        except hub.HubUnreachableError as error:
            failures = 0 if hashed.size > before else failures + 1
            if failures >= _FAILURES:
                raise hub.unreachable(error) from error
            time.sleep(min(_FIRST_PAUSE * 2**failures, _LONGEST_PAUSE))


class _Hashed:
    """A growing file and the hash of what is in it."""

    def __init__(self, file: StoredFile, out: BinaryIO, report: Report) -> None:
        self.file = file
        self.size = 0
        self._out = out
        self._hash = new_hash(file)
        self._report = report

    def read_what_is_there(self) -> None:
        self._out.seek(0)
        while chunk := self._out.read(_CHUNK):
            self._count(chunk)

    def take(self, chunk: bytes) -> bool:
        """Append a chunk; False when there is more than the file should have."""
        self._out.write(chunk)
        # What a kill must not lose leaves this process at once.
        self._out.flush()
        self._count(chunk)
        return self.size <= self.file.size

    def start_again(self) -> None:
        self._report(-self.size)
        self._out.truncate(0)
        self.size, self._hash = 0, new_hash(self.file)

    def is_right(self) -> bool:
        return self.size == self.file.size and self._hash.hexdigest() == self.file.digest

    def _count(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        self.size += len(chunk)
        self._report(len(chunk))


def bytes_here(file: StoredFile, folder: Path) -> int:
    """How much of a file an earlier download left in `folder`."""
    for name in (file.digest, f"{file.digest}.part"):
        with suppress(OSError):
            return (folder / name).stat().st_size
    return 0
