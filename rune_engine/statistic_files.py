"""Where a closed-form distillation keeps what it read, and which of it has to go.

    statistics/<base model>/<trajectory's content hash>.safetensors
    statistics/<base model>/known.safetensors

A trajectory's file follows from its text and says its tokens, so it goes when the trajectory is
forgotten; all of it may be deleted at any time and is made again. Backups leave it out. Knows the
standard library only.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path

KNOWN = "known.safetensors"
"""What the base model knows: nothing of anybody's projects is in it."""
MOST_BYTES = 8 * 1024**3
"""What all of it may take on disk; the least recently used go first."""
_STALE_SECONDS = 3600.0
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SUFFIX = ".safetensors"


def folder_of(root: Path, base_model_id: str) -> Path:
    """The folder of one base model, whatever characters its id has."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", base_model_id)[:80].lstrip(".")
    if safe != base_model_id:
        safe += f"-{hashlib.sha256(base_model_id.encode()).hexdigest()[:12]}"
    return root / safe


def file_of(folder: Path, content_hash: str) -> Path:
    """The file of one trajectory.

    Raises:
        ValueError: that is no hash.
    """
    if not _DIGEST.fullmatch(content_hash):
        raise ValueError(f"{content_hash[:100]!r} is not a trajectory's hash")
    return folder / f"{content_hash}{_SUFFIX}"


def partial_of(path: Path, number: str) -> Path:
    """Where a writer puts its bytes before they become `path`; it tells whose they are, too."""
    return path.with_name(f".{path.name}.{number}.partial")


def unneeded(root: Path, held: Callable[[], Collection[str]]) -> Iterator[Path]:
    """Files of trajectories that are not stored any more, half-written ones included.

    Args:
        held: the hashes of those that are stored; asked after the files were listed, so that a
            trajectory which was stored meanwhile keeps its file.
    """
    found = [path for path in sorted(root.glob("*/*")) if not _is_known(path)]
    hashes = held() if found else ()
    yield from (path for path in found if _hash_in(path) not in hashes)


def forget(root: Path, held: Callable[[], Collection[str]]) -> list[str]:
    """Remove what `unneeded` tells; the names of the files removed, as they stand below `root`."""
    removed = list(unneeded(root, held))
    for path in removed:
        path.unlink(missing_ok=True)
    return [str(path.relative_to(root.parent)) for path in removed]


def touch(path: Path) -> None:
    """Note that a file was used."""
    with suppress(OSError):
        os.utime(path)


def tidy(root: Path, most_bytes: int = MOST_BYTES) -> None:
    """Remove what writers that were killed left, and the least recently used of too much."""
    now, total = time.time(), 0
    for changed, size, path in sorted(_stats(root), reverse=True):
        total += size
        stale = path.suffix == ".partial" and now - changed > _STALE_SECONDS
        if stale or total > most_bytes:
            path.unlink(missing_ok=True)


def _stats(root: Path) -> Iterator[tuple[float, int, Path]]:
    for path in root.glob("*/*"):
        if _is_known(path) and path.suffix == _SUFFIX:
            continue
        with suppress(FileNotFoundError):
            status = path.stat()
            yield status.st_mtime, status.st_size, path


def _is_known(path: Path) -> bool:
    return path.name.lstrip(".").startswith(KNOWN)


def _hash_in(path: Path) -> str:
    return path.name.lstrip(".").partition(".")[0]
