"""What a run has found out already: JSON Lines, a key and a value each, added to as it goes on.

A line that a killed run left half-written is passed over. Knows nothing of what the values mean.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def key_of(*parts: Any) -> str:
    """A name for what follows from `parts` alone; they are JSON-ready."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


class Cache:
    """A dictionary in a file; belongs to one process."""

    def __init__(self, file: Path) -> None:
        self._known: dict[str, Any] = {}
        whole = 0
        if file.is_file():
            for line in file.read_bytes().splitlines(keepends=True):
                if not line.endswith(b"\n"):
                    break
                key, value = json.loads(line)
                self._known[key] = value
                whole += len(line)
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file.open("ab")
        self._file.truncate(whole)

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def __getitem__(self, key: str) -> Any:
        return self._known[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._known[key] = value
        self._file.write(json.dumps([key, value]).encode() + b"\n")

    def flush(self) -> None:
        """Let what was added outlive this process."""
        self._file.flush()

    def close(self) -> None:
        self._file.close()
