"""Adapters' files: how they get on disk once and for all, and how they are checked on the way out.

    objects/tmp/                       scratch, emptied when nobody writes there
    objects/<aa>/<sha256>.safetensors  weights by content, read-only, never replaced
    adapters/<id>/                     what PEFT loads: a hard link to the object, and its config

Knows no database. A name appears only when all that is behind it is on disk.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from rune_engine.config import RuneConfig
from rune_engine.durable import (
    flush_folder,
    in_use,
    make_folder,
    new_file,
    remove,
    swept,
)
from rune_engine.errors import (
    AdapterAlreadyExistsError,
    AdapterCorruptedError,
    InvalidInputError,
)
from rune_engine.registry.lora_config import LoraAdapterConfig, parse_lora_config
from rune_engine.registry.weights import check_weights
from rune_engine.tensor_files import MAX_WEIGHTS_BYTES

WEIGHTS_NAME = "adapter_model.safetensors"
CONFIG_NAME = "adapter_config.json"
_CHUNK = 1024**2
_LOST = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EIO)


@dataclass(frozen=True, slots=True)
class Stored:
    """What was put on disk: sha256 of the weights and of the configuration, size in bytes."""

    weights_sha256: str
    config_sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class StagedAdapter:
    """An adapter's folder, complete and on disk, that no name leads to yet."""

    folder: Path
    final: Path
    stored: Stored

    def place(self) -> None:
        """Give the folder its name. Call it while holding the database's write lock, when no row
        has the name: an adapter's folder that has it is of a writer that never came to its row.

        Raises:
            AdapterAlreadyExistsError: something else has the name.
        """
        if _is_adapter(self.final):
            self.final.rename(self.stray)
        elif os.path.lexists(self.final):
            raise AdapterAlreadyExistsError(
                f"There is already something else at {self.final}.",
                next_step="Move it away, or store the adapter under a new id.",
            )
        self.folder.rename(self.final)
        flush_folder(self.final.parent)

    def clean_up(self) -> None:
        """Empty the scratch folder. What was placed stays: whether a commit that failed is on
        disk is known to nobody, so its row may yet appear."""
        for folder in (self.folder, self.stray):
            remove(folder)

    @property
    def stray(self) -> Path:
        return self.folder.with_suffix(".stray")


class AdapterFiles:
    """The files of one Rune home."""

    def __init__(self, config: RuneConfig) -> None:
        self._adapters = config.adapters_path
        self._objects = config.objects_path
        self._scratch = config.objects_path / "tmp"

    def prepare(self) -> None:
        """Make the folders and empty the scratch folder, unless somebody writes there."""
        for folder in (self._adapters, self._objects, self._scratch):
            make_folder(folder)
        with swept(self._scratch):
            pass

    def sweep(self, rows: Callable[[], Mapping[str, str]]) -> bool:
        """Remove what interrupted writers left: all that no row leads to.

        Args:
            rows: asked for the sha256 of every adapter's weights by id, once no writer is left.

        Returns:
            False, and nothing is removed, when somebody writes at this moment.
        """
        with swept(self._scratch) as alone:
            known = rows() if alone else {}
            for folder in self._adapters.iterdir() if alone else ():
                if folder.name not in known and _is_adapter(folder):
                    remove(folder)
            objects = set(known.values())
            for path in self._objects.glob("*/*.safetensors") if alone else ():
                if path.stem not in objects:
                    remove(path)
        return alone

    @contextmanager
    def staged(
        self, adapter_id: str, source: Path | bytes, lora: LoraAdapterConfig
    ) -> Iterator[StagedAdapter]:
        """Put an adapter on disk under a scratch name; place it, or it is gone after the block."""
        folder = self._scratch / uuid.uuid4().hex
        config = lora.to_bytes()
        with in_use(self._scratch):
            weights, size = self._publish(source, lora)
            stored = Stored(weights, hashlib.sha256(config).hexdigest(), size)
            staged = StagedAdapter(folder, self._adapters / adapter_id, stored)
            try:
                folder.mkdir(mode=0o700)
                os.link(self._object(weights), folder / WEIGHTS_NAME)
                with new_file(folder / CONFIG_NAME) as file:
                    file.write(config)
                flush_folder(folder)
                yield staged
            finally:
                staged.clean_up()

    def verify(self, adapter_id: str, stored: Stored) -> Path:
        """Read an adapter's files again; its folder, when they are what was stored.

        Raises:
            AdapterCorruptedError: they are not.
        """
        folder = self._adapters / adapter_id
        try:
            config = _read_config(folder / CONFIG_NAME, stored.config_sha256)
            with _open(folder / WEIGHTS_NAME) as file:
                size = os.fstat(file.fileno()).st_size
                if size != stored.size:
                    raise _Damaged(f"its weights are {size} bytes instead of {stored.size}")
                if _sha256(file) != stored.weights_sha256:
                    raise _Damaged("its weights are not the bytes that were stored")
                check_weights(file, size, config)
        except (_Damaged, InvalidInputError, ValueError) as error:
            raise AdapterCorruptedError(
                f"Adapter {adapter_id} is damaged: {error}.",
                next_step=f"Archive it and distill again, or restore {folder} from a backup.",
            ) from error
        return folder

    def _publish(self, source: Path | bytes, lora: LoraAdapterConfig) -> tuple[str, int]:
        """Put weights under their content address; the same weights twice are one object."""
        scratch = self._scratch / f"{uuid.uuid4().hex}.safetensors"
        with new_file(scratch) as file:
            digest = hashlib.sha256()
            for chunk in _chunks(source):
                digest.update(chunk)
                file.write(chunk)
            size = file.tell()
            file.flush()
            check_weights(file, size, lora)
            file.seek(0, os.SEEK_END)
        try:
            self._link(scratch, digest.hexdigest(), size)
        finally:
            scratch.unlink(missing_ok=True)
        return digest.hexdigest(), size

    def _link(self, scratch: Path, sha256: str, size: int) -> None:
        target = self._object(sha256)
        make_folder(target.parent)
        try:
            os.link(scratch, target)  # unlike rename, never replaces
        except FileExistsError:
            self._check_object(target, sha256, size)
        flush_folder(target.parent)

    def _check_object(self, target: Path, sha256: str, size: int) -> None:
        """Never build on an object that has rotted since it was stored."""
        try:
            with _open(target) as file:
                if os.fstat(file.fileno()).st_size == size and _sha256(file) == sha256:
                    return
        except _Damaged:
            pass
        raise AdapterCorruptedError(
            f"The stored weights {target} are damaged.",
            next_step="Move that file out of the way; adapters that use it are damaged too.",
        )

    def _object(self, sha256: str) -> Path:
        return self._objects / sha256[:2] / f"{sha256}.safetensors"


def _is_adapter(folder: Path) -> bool:
    """Whether a folder holds the files of an adapter, and nothing else."""
    if not folder.is_dir() or folder.is_symlink():
        return False
    return {path.name for path in folder.iterdir()} == {WEIGHTS_NAME, CONFIG_NAME}


class _Damaged(OSError):
    """Files differ from what was stored; becomes AdapterCorruptedError."""


def _open(path: Path) -> BufferedReader:
    """Open a regular file that is not a link; a pipe in its place does not block."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        file = os.fdopen(os.open(path, flags), "rb")
    except OSError as error:
        if error.errno in _LOST:
            raise _Damaged(f"{path.name} cannot be read ({error.strerror})") from error
        raise
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise _Damaged(f"{path.name} is not a file")
    return file


def _sha256(file: BufferedReader) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


def _read_config(path: Path, sha256: str) -> LoraAdapterConfig:
    with _open(path) as file:
        content = file.read(_CHUNK)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise _Damaged(f"{path.name} is not what was stored")
    return parse_lora_config(json.loads(content))


def _chunks(source: Path | bytes) -> Iterator[bytes]:
    """The source's bytes, piecewise, up to the size that is accepted."""
    if isinstance(source, bytes):
        yield source
        return
    if not source.is_file():
        raise InvalidInputError(
            f"There are no weights at {source}.", next_step="Train the adapter again."
        )
    with source.open("rb") as file:
        remaining = MAX_WEIGHTS_BYTES
        while chunk := file.read(_CHUNK):
            remaining -= len(chunk)
            if remaining < 0:
                raise InvalidInputError(
                    f"The weights at {source} are larger than {MAX_WEIGHTS_BYTES} bytes.",
                    next_step="Train with a lower rank.",
                )
            yield chunk
