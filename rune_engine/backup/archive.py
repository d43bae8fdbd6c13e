"""The format of a backup: a tar file whose last member, `manifest.json`, vouches for the others.

    rune.db                            the database, as one consistent snapshot
    objects/<aa>/<sha256>.safetensors  weights, each once
    adapters/<id>/adapter_config.json  the rest of an adapter's folder
    mlflow.db                          the log of trainings, where there is one
    manifest.json                      version, and the size and sha256 of every other member

Nothing else may be in it: no link, no device, no path of anybody's choice. Compressed when its
name ends in .gz or .tgz. Knows nothing of what the files mean.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, BinaryIO

from pydantic import BaseModel, Field, ValidationError

from rune_engine.errors import BackupError
from rune_engine.models import Model
from rune_engine.tensor_files import MAX_WEIGHTS_BYTES

FORMAT = 1
DATABASE, TRACKING, MANIFEST = "rune.db", "mlflow.db", "manifest.json"
_MEMBER = re.compile(
    r"rune\.db|mlflow\.db|manifest\.json"
    r"|objects/(?P<aa>[0-9a-f]{2})/(?P=aa)[0-9a-f]{62}\.safetensors"
    r"|adapters/[A-Za-z0-9][A-Za-z0-9_-]{0,79}/adapter_config\.json"
)
_CHUNK = 1024**2
_MAX_MANIFEST = 256 * 1024**2
_BROKEN = (tarfile.TarError, EOFError, zlib.error)


class Member(Model):
    """One file of a backup; the size is in bytes."""

    name: str
    sha256: str
    size: int


class DamagedAdapter(Model):
    """An adapter whose row is in the backup and whose files are not."""

    id: str
    why: str


class Manifest(Model):
    """What a backup says of itself."""

    format: int
    rune_version: str
    revision: str = Field(description="Of the database.")
    created_at: str
    adapters: int
    trajectories: int
    members: list[Member]
    damaged: list[DamagedAdapter]


class BackupReport(Model):
    """What `rune backup` did; sizes are bytes."""

    path: str
    size: int
    adapters: int
    trajectories: int
    damaged: list[DamagedAdapter] = Field(description="Their files are not in the backup.")


class RestoreReport(Model):
    """What `rune restore` did."""

    path: str
    made_at: str
    adapters: int
    trajectories: int
    damaged: list[DamagedAdapter] = Field(description="Archived: no good copy was found.")
    forgotten_again: int = Field(
        description="Trajectories of the backup that were forgotten after it was made."
    )
    kept_database: str | None = Field(description="Where the former database is now.")
    quarantine: str | None = Field(description="Where files that nothing refers to any more are.")


class Writer:
    """Adds members to a backup, hashing what it copies."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self.members: list[Member] = []

    def add(self, name: str, source: BinaryIO, size: int) -> str:
        """Copy `size` bytes from `source`; returns their sha256."""
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, 0o600
        hashing = _Hashing(source)
        self._tar.addfile(info, hashing)
        self.members.append(Member(name=name, sha256=hashing.sha256.hexdigest(), size=size))
        return hashing.sha256.hexdigest()

    def add_file(self, name: str, path: Path) -> None:
        """Copy a file that nobody writes to."""
        with path.open("rb") as file:
            self.add(name, file, path.stat().st_size)

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest, which makes it a backup."""
        data = manifest.model_dump_json(indent=1).encode()
        self.add(MANIFEST, io.BytesIO(data), len(data))


class _Hashing(io.RawIOBase):
    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self.sha256 = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self.sha256.update(data)
        return data


@contextmanager
def writing(file: BinaryIO, *, compressed: bool) -> Iterator[Writer]:
    """A backup that is written to `file`."""
    with tarfile.open(fileobj=file, mode="w:gz" if compressed else "w") as tar:
        yield Writer(tar)


def is_compressed(path: Path) -> bool:
    """Whether the name asks for gzip."""
    return path.suffix in (".gz", ".tgz")


Target = AbstractContextManager[BinaryIO]
Sink = Callable[[str], Target]
"""Opens the file that a member is written to."""


def read(path: Path, sink: Sink | None = None) -> Manifest:
    """Read all of a backup and check every byte; `sink` gets what is read before it is known to
    be good, so nothing may rely on it until this returns.

    Raises:
        BackupError: it is not a backup, is damaged, or a newer Rune made it.
        OSError: it cannot be read, or what `sink` raises.
    """
    found: dict[str, Member] = {}
    manifest = b""
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r|*") as tar:
            for info in tar:
                _check_member(info, found)
                source = tar.extractfile(info)
                assert source is not None
                if info.name == MANIFEST:
                    manifest = source.read(_MAX_MANIFEST)
                found[info.name] = _copy(info, source, sink if info.name != MANIFEST else None)
    except _BROKEN as error:
        raise _refused(path, f"it is damaged or not a backup ({error})") from error
    except _RefusedMemberError as error:
        raise _refused(path, str(error)) from error
    checked = _parse(path, manifest)
    del found[MANIFEST]
    _compare(path, checked, found)
    return checked


class _RefusedMemberError(Exception):
    """A member that no backup of Rune's has."""


def _check_member(info: tarfile.TarInfo, found: dict[str, Member]) -> None:
    name = info.name[:200]
    if not info.isreg() or info.issparse() or not _MEMBER.fullmatch(info.name):
        raise _RefusedMemberError(f"{name!r} does not belong into a backup")
    tarfile.data_filter(info, "/")
    if info.name in found:
        raise _RefusedMemberError(f"{name!r} is in it twice")
    if MANIFEST in found:
        raise _RefusedMemberError(f"{name!r} comes after the manifest")
    if info.name.startswith("objects/") and info.size > MAX_WEIGHTS_BYTES:
        raise _RefusedMemberError(f"{name!r} is larger than {MAX_WEIGHTS_BYTES} bytes")


def _copy(info: tarfile.TarInfo, source: IO[bytes], sink: Sink | None) -> Member:
    sha256 = hashlib.sha256()
    if info.name == MANIFEST:
        return Member(name=MANIFEST, sha256="", size=info.size)
    with sink(info.name) if sink else io.BytesIO() as target:
        while chunk := source.read(_CHUNK):
            sha256.update(chunk)
            if sink:
                target.write(chunk)
    return Member(name=info.name, sha256=sha256.hexdigest(), size=info.size)


def _parse(path: Path, manifest: bytes) -> Manifest:
    if not manifest:
        raise _refused(path, "it has no manifest, so its end is missing")
    try:
        form = _Form.model_validate_json(manifest).format
        if form > FORMAT:
            raise BackupError(
                f"The backup {path} was made by a newer Rune (format {form}).",
                next_step="Update Rune, then restore it.",
            )
        return Manifest.model_validate_json(manifest)
    except ValidationError as error:
        raise _refused(path, f"its manifest cannot be read ({error.errors()[0]['msg']})") from error


class _Form(BaseModel):
    """What the manifest of any version has."""

    format: int


def _compare(path: Path, manifest: Manifest, found: dict[str, Member]) -> None:
    promised = {member.name: member for member in manifest.members}
    if DATABASE not in promised:
        raise _refused(path, "there is no database in it")
    for name in sorted(promised.keys() | found.keys()):
        if promised.get(name) != found.get(name):
            raise _refused(path, f"{name} is not what its manifest says")


def _refused(path: Path, why: str) -> BackupError:
    return BackupError(
        f"The backup {path} cannot be used: {why}.",
        next_step="Use another backup; nothing was changed.",
    )
