"""May this adapter's folder be loaded? Asked before any library or server reads it.

Every back-end asks here: the weights are the bytes that the reference names, they are exactly the
matrices of a plain LoRA, and every number of them is finite. This module knows files, the
standard library; nothing of torch, PEFT or GGUF.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rune_engine.errors import AdapterBaseModelMismatchError, AdapterCorruptedError
from rune_engine.inference.provider import AdapterRef
from rune_engine.lora_settings import LoraSettings, parse_lora_settings
from rune_engine.tensor_files import (
    MAX_HEADER_BYTES,
    MAX_WEIGHTS_BYTES,
    Matrix,
    TensorFileError,
    all_finite,
    read_matrices,
)

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
_MAX_CONFIG_BYTES = 1024**2
_NAME = re.compile(
    r"base_model\.model\.(?P<module>[A-Za-z0-9_.]{1,500})\.lora_(?P<side>[AB]|magnitude_vector)(?:\.weight)?"
)
_SETTLED_SECONDS = 1.0
"""A file that changed later than this ago may change again without its times telling."""

_Identity = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class LoraPair:
    """A module's two matrices, A as [rank, in] and B as [out, rank], and what scales them.

    With DoRA, `magnitude` is the length that each row of the whole weight gets, [out].
    """

    a: Matrix
    b: Matrix
    scaling: float
    magnitude: Matrix | None = None


@dataclass(frozen=True, slots=True)
class AdapterFile:
    """An adapter that may be loaded: its pairs by module path, and the bytes they lie in."""

    settings: LoraSettings
    pairs: Mapping[str, LoraPair]
    data: bytearray


@dataclass(frozen=True, slots=True)
class _Known:
    files: tuple[_Identity, _Identity]
    sha256: str
    settings: LoraSettings
    pairs: Mapping[str, LoraPair]


class AdapterReader:
    """Reads adapters; what was checked once is not checked again while its files stay as they are.

    An adapter's folder is written once, so the same inode with the same size and times holds the
    same bytes: hashing them is most of what loading costs.
    """

    def __init__(self) -> None:
        self._known: dict[Path, _Known] = {}

    def read(self, adapter: AdapterRef) -> AdapterFile:
        """Read and check an adapter.

        Raises:
            AdapterCorruptedError: it may not be loaded.
        """
        data, weights = _read(adapter, WEIGHTS, MAX_WEIGHTS_BYTES)
        content, config = _read(adapter, CONFIG, _MAX_CONFIG_BYTES)
        known = self._known.get(adapter.path)
        if known and (known.sha256, known.files) == (adapter.sha256, (weights, config)):
            return AdapterFile(known.settings, known.pairs, data)
        _check_hash(adapter, data)
        settings = _settings(adapter, content)
        pairs = _pairs(adapter, data, settings)
        _check_numbers(adapter, data, pairs)
        if _settled(weights) and _settled(config):
            known = _Known((weights, config), adapter.sha256, settings, pairs)
            self._known[adapter.path] = known
        return AdapterFile(settings, pairs, data)


def check_adapter(adapter: AdapterRef) -> LoraSettings:
    """Refuse whatever `AdapterReader` refuses; for those who read the files in another way.

    Raises:
        AdapterCorruptedError: it may not be loaded.
    """
    return AdapterReader().read(adapter).settings


def check_base_model(adapter: AdapterRef, base_model_id: str) -> None:
    """Refuse an adapter that was made for another base model.

    Raises:
        AdapterBaseModelMismatchError: it was.
    """
    if adapter.base_model_id != base_model_id:
        raise AdapterBaseModelMismatchError(
            f"Adapter {adapter.id} was made for the base model {adapter.base_model_id!r}, "
            f"not for {base_model_id!r}.",
            next_step="Choose an adapter of this base model, or run with the adapter's own.",
        )


def check_weights(adapter: AdapterRef) -> None:
    """Refuse weights that are missing or are not the bytes that the reference names.

    Raises:
        AdapterCorruptedError: they are.
    """
    _check_hash(adapter, _read(adapter, WEIGHTS, MAX_WEIGHTS_BYTES)[0])


def check_config(adapter: AdapterRef) -> LoraSettings:
    """Refuse a configuration that is not a plain LoRA.

    Raises:
        AdapterCorruptedError: it is missing, unreadable, or asks for more than a plain LoRA.
    """
    return _settings(adapter, _read(adapter, CONFIG, _MAX_CONFIG_BYTES)[0])


def adapter_key(adapter: AdapterRef) -> str:
    """A name for the loaded adapter that no other bytes can have.

    The weights' hash alone would not do: two write-once folders may hold equal weights and
    different configurations.
    """
    path = str(Path(adapter.path).absolute())
    return hashlib.sha256(f"{adapter.sha256}\n{path}".encode()).hexdigest()[:32]


def corrupted(adapter: AdapterRef, reason: str) -> AdapterCorruptedError:
    """The error that says why an adapter cannot be loaded."""
    return AdapterCorruptedError(
        f"Adapter {adapter.id} cannot be loaded: {reason}.",
        next_step="Distill it again, or restore its folder from a backup.",
    )


def _read(adapter: AdapterRef, name: str, most: int) -> tuple[bytearray, _Identity]:
    """All bytes of a file, and which file it was."""
    what = "its weights" if name == WEIGHTS else f"its {name}"
    try:
        # What is no ordinary file is never waited for.
        number = os.open(adapter.path / name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return _content(number, most)
        finally:
            os.close(number)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise corrupted(adapter, f"{what} cannot be read ({reason})") from error


def _content(number: int, most: int) -> tuple[bytearray, _Identity]:
    status = os.fstat(number)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is not a file")
    if status.st_size > most:
        raise ValueError(f"it has over {most} bytes")
    data = bytearray(status.st_size)
    with os.fdopen(number, "rb", closefd=False) as file:
        if file.readinto(data) != len(data):
            raise ValueError("it became shorter meanwhile")
    return data, _identity(status)


def _identity(status: os.stat_result) -> _Identity:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _settled(identity: _Identity) -> bool:
    return time.time_ns() - max(identity[3:]) > _SETTLED_SECONDS * 1e9


def _check_hash(adapter: AdapterRef, data: bytearray) -> None:
    digest = hashlib.sha256(data).hexdigest()
    if digest != adapter.sha256:
        raise corrupted(adapter, f"its weights hash to {digest}, not {adapter.sha256}")


def _settings(adapter: AdapterRef, content: bytearray) -> LoraSettings:
    try:
        return parse_lora_settings(bytes(content))
    except ValueError as error:
        raise corrupted(adapter, f"its {CONFIG} is not a plain LoRA's: {error}") from error


def _pairs(adapter: AdapterRef, data: bytearray, lora: LoraSettings) -> dict[str, LoraPair]:
    """Every matrix is one half of a pair, for a target module, of the rank that is configured."""
    try:
        start = memoryview(data)[: 8 + MAX_HEADER_BYTES]
        matrices = read_matrices(io.BytesIO(start), len(data))
    except TensorFileError as error:
        raise corrupted(adapter, f"of its weights, {error}") from error
    sides: dict[str, dict[str, Matrix]] = {}
    for name, matrix in matrices.items():
        match = _NAME.fullmatch(name)
        if match is None:
            raise corrupted(adapter, f"{name[:200]!r} is not the name of a LoRA matrix")
        module, side = match["module"], match["side"]
        if not lora.targets(module):
            raise corrupted(adapter, f"{name!r} belongs to none of the target modules")
        if problem := _shape_problem(matrix.shape, side, lora.rank(module)):
            raise corrupted(adapter, f"{name!r} has shape {matrix.shape}, but {problem}")
        if side in sides.setdefault(module, {}):
            raise corrupted(adapter, f"{name!r} stands there twice")
        sides[module][side] = matrix
    if not sides:
        raise corrupted(adapter, "it is empty")
    return {module: _pair(adapter, module, found, lora) for module, found in sides.items()}


def _shape_problem(shape: tuple[int, ...], side: str, rank: int) -> str | None:
    if side == "magnitude_vector":
        return None if len(shape) == 1 else "it should be a vector"
    if len(shape) != 2:
        return "it should be a matrix"
    return None if shape[0 if side == "A" else 1] == rank else f"the rank is {rank}"


def _pair(
    adapter: AdapterRef, module: str, found: dict[str, Matrix], lora: LoraSettings
) -> LoraPair:
    whole = {"A", "B", "magnitude_vector"} if lora.use_dora else {"A", "B"}
    if found.keys() != whole:
        kind = "a DoRA has" if lora.use_dora else "a LoRA has"
        reason = f"{module!r} has {sorted(found)} where {kind} {sorted(whole)}"
        raise corrupted(adapter, reason)
    magnitude = found.get("magnitude_vector")
    if magnitude is not None and magnitude.shape[0] != found["B"].shape[0]:
        raise corrupted(adapter, f"{module!r} has not one magnitude for each row of B")
    return LoraPair(found["A"], found["B"], lora.scaling(module), magnitude)


def _check_numbers(adapter: AdapterRef, data: bytearray, pairs: Mapping[str, LoraPair]) -> None:
    for module, pair in pairs.items():
        for matrix in filter(None, (pair.a, pair.b, pair.magnitude)):
            if not all_finite(memoryview(data)[matrix.start : matrix.stop], matrix.dtype):
                raise corrupted(adapter, f"a weight of {module!r} is not a finite number")
