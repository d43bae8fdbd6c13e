"""What was made of adapters and base models, kept in the home so that it is made once.

    gguf/base/<model>-<fingerprint>.gguf
    gguf/adapters/<weights' sha256>-<fingerprint>.gguf

Names follow from content, files are replaced whole, and all of it may be deleted at any time: the
next use makes it again. Backups leave it out; forgetting an adapter removes what was made of it.
Knows the standard library only.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

FORMAT = 1
"""Raised when the same inputs would be written differently."""
MAX_ADAPTER_BYTES = 4 * 1024**3
"""What made adapters may take on disk; the least recently used go first."""
_STALE_SECONDS = 3600.0
_WEIGHTS = "*.safetensors"
_SMALL_FILES = ("*.json", "*.jinja")
_HEADER_BYTES = 1024**2


class GgufCache:
    """One home's folder of made files.

    Args:
        folder: made at the first use, readable by its owner only.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def adapter(self, sha256: str, config: bytes) -> Path:
        """Where the GGUF of the weights with this hash and this configuration is, or goes."""
        digest = hashlib.sha256(b"%d\n%s" % (FORMAT, config)).hexdigest()[:16]
        return self._ready("adapters") / f"{_hash(sha256)}-{digest}.gguf"

    def base(self, folder: Path, base_model_id: str, variant: str) -> Path:
        """Where the GGUF of a base model folder is, or goes; `variant` says how it is made."""
        name = re.sub(r"[^A-Za-z0-9.-]", "_", base_model_id)[:80]
        digest = _fingerprint(folder, f"{FORMAT}\n{base_model_id}\n{variant}")
        return self._ready("base") / f"{name}-{digest}.gguf"

    def make_base(self, path: Path, make: Callable[[Path], None]) -> None:
        """Make a base model's file; those of the same model's earlier bytes go."""
        make(path)
        model = path.name.rpartition("-")[0]
        for other in path.parent.glob("*.gguf"):
            if other != path and other.name.rpartition("-")[0] == model:
                other.unlink(missing_ok=True)

    def make_adapter(self, path: Path, make: Callable[[Path], None]) -> None:
        """Make an adapter's file; the least recently used go where they take too much."""
        make(path)
        self._bound(path)

    def _bound(self, newest: Path) -> None:
        files = sorted(
            ((status.st_mtime, status.st_size, path) for path, status in _stats(newest.parent)),
            reverse=True,
        )
        total = 0
        for _, size, path in files:
            total += size
            if total > MAX_ADAPTER_BYTES and path != newest:
                path.unlink(missing_ok=True)

    def _ready(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        now = time.time()
        for partial in folder.glob(".*.partial"):  # left by a process that was killed
            with suppress(FileNotFoundError):
                if now - partial.stat().st_mtime > _STALE_SECONDS:
                    partial.unlink()
        return folder


def touch(path: Path) -> None:
    """Note that a file was used."""
    with suppress(OSError):
        os.utime(path)


def forget_adapters(folder: Path, hashes: Iterable[str]) -> list[str]:
    """Remove what was made of the adapters with these weights' hashes; the names of the files."""
    wanted = set(hashes)
    removed = []
    for path in sorted((folder / "adapters").glob("*.gguf")):
        if path.name.partition("-")[0] in wanted:
            path.unlink(missing_ok=True)
            removed.append(path.name)
    return removed


def _stats(folder: Path) -> Iterable[tuple[Path, os.stat_result]]:
    for path in folder.glob("*.gguf"):
        with suppress(FileNotFoundError):
            yield path, path.stat()


def _fingerprint(folder: Path, salt: str) -> str:
    """Changes when a base model's files do: small ones by content, weights by header and time."""
    digest = hashlib.sha256(salt.encode())
    for pattern in _SMALL_FILES:
        for path in sorted(folder.glob(pattern)):
            digest.update(f"\n{path.name}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    for path in sorted(folder.glob(_WEIGHTS)):
        status = path.stat()
        with path.open("rb") as file:
            header = hashlib.sha256(file.read(_HEADER_BYTES)).digest()
        digest.update(f"\n{path.name}\n{status.st_size}\n{status.st_mtime_ns}\n".encode() + header)
    return digest.hexdigest()[:32]


def _hash(sha256: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ValueError(f"not a hash: {sha256!r}")
    return sha256
