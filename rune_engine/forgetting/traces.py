"""Looks for erased text in the raw bytes of a home's files, and removes what may hold it.

The search is for a sample of the erased lines, as they are and as JSON spells them: proof that
the structure kept its promise, not the means by which it does.
"""

from __future__ import annotations

import heapq
import json
import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from rune_engine.models import ForgetProof, LifecycleEvent

_SHORTEST_LINE = 12
_MOST_LINES = 200
_LOGS = "logs"
_OLD_DATABASES = "rune.db.before-restore-*"


def distinctive_lines(texts: Iterable[str]) -> list[bytes]:
    """A sample of the texts' lines, the longest ones: nothing else is likely to have them."""
    lines = {line.strip() for text in texts for line in text.splitlines()}
    longest = heapq.nlargest(_MOST_LINES, lines, key=lambda line: (len(line), line))
    return [line.encode() for line in longest if len(line) >= _SHORTEST_LINE]


def backups(history: Sequence[LifecycleEvent]) -> list[str]:
    """Backups that were made and are still where they were written: they hold the text."""
    paths = {str(e.payload["path"]) for e in history if e.kind == "backup_made"}
    return sorted(path for path in paths if Path(path).exists())


def remove_old_databases(home: Path) -> list[str]:
    """Remove the databases that a restore put aside; the names of those removed."""
    found = sorted(home.glob(_OLD_DATABASES))
    for path in found:
        path.unlink()
    return [path.name for path in found]


def search(
    home: Path, lines: Sequence[bytes], is_still_held: Callable[[bytes], bool]
) -> ForgetProof:
    """Look for `lines` in every file below `home`; a log that has one is emptied.

    Args:
        is_still_held: whether a line belongs to something that stays, too.
    """
    wanted = [line for line in lines if not is_still_held(line)]
    spellings = {spelling for line in wanted for spelling in _spellings(line)}
    files, size = 0, 0
    found: list[str] = []
    removed: list[str] = []
    for path in _files(home):
        files, size = files + 1, size + path.stat().st_size
        if not _has(path, spellings):
            continue
        name = str(path.relative_to(home))
        if path.parent == home / _LOGS:
            os.truncate(path, 0)  # the engine appends to it, so it goes on from there
            removed.append(name)
        else:
            found.append(name)
    return ForgetProof(
        files_searched=files,
        bytes_searched=size,
        lines_searched=len(wanted),
        found_in=found,
        removed=removed,
    )


def _files(home: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(home):
        for name in names:
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                yield path


def _spellings(line: bytes) -> set[bytes]:
    text = line.decode()
    return {
        line,
        json.dumps(text)[1:-1].encode(),
        json.dumps(text, ensure_ascii=False)[1:-1].encode(),
    }


def _has(path: Path, spellings: set[bytes]) -> bool:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return any(data.find(spelling) >= 0 for spelling in spellings)
    except (FileNotFoundError, ValueError):  # gone meanwhile, or empty
        return False
