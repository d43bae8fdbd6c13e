"""Examines the adapters' files: hashes every byte, and finds what no row refers to."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from rune_engine.backup.snapshot import StoredAdapter
from rune_engine.doctor.findings import Finding, Problem, Tools
from rune_engine.doctor.ground import Ground
from rune_engine.durable import alone_in, flush_folder, make_folder, remove
from rune_engine.errors import AdapterCorruptedError, StorageError
from rune_engine.registry import lifecycle
from rune_engine.registry.files import WEIGHTS_NAME, AdapterFiles, Stored

_KNOWN = (
    "SELECT 1 FROM lifecycle_events WHERE subject = ? AND kind = 'data_repaired'"
    " AND json_extract(payload, '$.finding') = 'adapter_damaged' LIMIT 1"
)


def adapters(ground: Ground) -> Iterator[Problem]:
    """Adapters whose files are not what was stored."""
    files = AdapterFiles(ground.config)
    for adapter in ground.adapters():
        folder = ground.config.adapters_path / adapter.id
        if adapter.forgotten_at is not None and not os.path.lexists(folder):
            continue
        why = _damage(files, adapter)
        ground.bytes_hashed += adapter.file_size_bytes
        if why is None:
            yield from _object(ground, adapter)
        elif ground.connection.execute(_KNOWN, (adapter.id,)).fetchone():
            ground.notes.append(f"Adapter {adapter.id} is archived, as its files are damaged.")
        else:
            yield _damaged(ground, adapter, why)


def _damage(files: AdapterFiles, adapter: StoredAdapter) -> str | None:
    stored = Stored(adapter.file_hash, adapter.config_hash, adapter.file_size_bytes)
    try:
        files.verify(adapter.id, stored)
    except AdapterCorruptedError as error:
        return error.message
    except (StorageError, OSError) as error:
        return str(error)
    return None


def _damaged(ground: Ground, adapter: StoredAdapter, why: str) -> Problem:
    spare = ground.config.home / adapter.object_name
    weights = ground.config.adapters_path / adapter.id / WEIGHTS_NAME
    if _sha256(spare) == adapter.file_hash != _sha256(weights) and weights.parent.is_dir():
        repair = "The copy in the object store is good; it takes the damaged file's place."
        mend = partial(_relink, weights, spare, adapter)
    else:
        repair = "It is archived with this reason, so it is never served; its files stay."
        mend = partial(_archive, adapter, why)
    finding = Finding(
        kind="adapter_damaged",
        subject=adapter.id,
        what=why,
        means="It cannot be served. A backup that has it brings it back: `rune restore --replace`.",
        repair=repair,
    )
    return Problem(finding, mend)


def _object(ground: Ground, adapter: StoredAdapter) -> Iterator[Problem]:
    """The other name of an adapter's weights, which new adapters of the same bytes share."""
    path = ground.config.home / adapter.object_name
    good = ground.config.adapters_path / adapter.id / WEIGHTS_NAME
    if path.exists() and not path.is_symlink():
        if path.samefile(good):
            return
        ground.bytes_hashed += path.stat().st_size
    if _sha256(path) != adapter.file_hash:
        finding = Finding(
            kind="object_damaged",
            subject=adapter.object_name,
            what=f"{adapter.object_name} is damaged or missing.",
            means=f"Adapter {adapter.id} has a good copy of its own. An adapter with the same "
            "weights could not be stored.",
            repair="The good copy takes its place.",
        )
        yield Problem(finding, partial(_relink, path, good, adapter))


def unreferred(ground: Ground) -> Iterator[Problem]:
    """Files that no row refers to, and what interrupted writers left."""
    scratch = ground.config.objects_path / "tmp"
    if not scratch.is_dir():
        return
    with alone_in(scratch) as alone:
        if not alone:
            note = "An adapter is being stored; files that no row refers to were not looked for."
            ground.notes.append(note)
            return
        found = _stand_alone(ground)
        strays = list(scratch.iterdir())
        ground.connection.execute("ROLLBACK")  # rows of writers that have ended since it began
        ground.connection.execute("BEGIN")
        known = {ground.config.home / name for each in ground.adapters() for name in _names(each)}
    yield from (_orphan(ground, path) for path in found if path not in known)
    yield from (_stray(ground, path) for path in strays)
    yield from (_stray(ground, path) for path in ground.config.home.glob("restore-*"))


def _names(adapter: StoredAdapter) -> tuple[str, str]:
    return adapter.object_name, f"adapters/{adapter.id}"


def _stand_alone(ground: Ground) -> list[Path]:
    folders = [path for path in ground.config.objects_path.iterdir() if path.name != "tmp"]
    objects = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
    files = [path for path in folders if not path.is_dir()]
    return sorted([*objects, *files, *ground.config.adapters_path.iterdir()])


def _orphan(ground: Ground, path: Path) -> Problem:
    name = str(path.relative_to(ground.config.home))
    finding = Finding(
        kind="orphan",
        subject=name,
        what=f"No row refers to {name}.",
        means="A writer was interrupted before its adapter existed, or somebody put it there. "
        "Nothing uses it.",
        repair="It is moved to the quarantine folder.",
    )
    return Problem(finding, lambda tools: tools.quarantine.take(path))


def _stray(ground: Ground, path: Path) -> Problem:
    name = str(path.relative_to(ground.config.home))
    finding = Finding(
        kind="stray",
        subject=name,
        what=f"{name} was left half-written.",
        means="An interrupted writer left it. Nothing uses it.",
        repair="It is removed.",
    )
    return Problem(finding, lambda _: remove(path))


# --- repairs -----------------------------------------------------------------------------------


def _archive(adapter: StoredAdapter, why: str, tools: Tools) -> None:
    with tools.database.writing() as session:
        lifecycle.archive(session, adapter.id, reason=why, caused_by="doctor")


def _relink(damaged: Path, good: Path, adapter: StoredAdapter, tools: Tools) -> None:
    if _sha256(good) != adapter.file_hash:
        raise StorageError(f"{good} has changed.", next_step="Run `rune doctor --data` again.")
    if os.path.lexists(damaged):
        tools.quarantine.take(damaged)
    make_folder(damaged.parent)
    os.link(good, damaged)
    flush_folder(damaged.parent)


def _sha256(path: Path) -> str:
    """Of a file that is not a link; empty when there is none or it cannot be read."""
    try:
        if path.is_symlink() or not path.is_file():
            return ""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
