"""Brings a base model from the hub: all of it or nothing, and a killed pull goes on where it was.

Files are gathered in `models/.partial/ORG--NAME/`, each under its hash. When all are right they
are linked into a folder together with `rune.json`, and that folder is renamed into its place.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import base_models
from rune_engine.durable import flush_folder, flush_tree, remove, write_file
from rune_engine.errors import BaseModelNotFoundError, ConflictError, DiskFullError
from rune_engine.home import not_writable, open_lock, try_lock
from rune_engine.model_store import hub, selecting, store
from rune_engine.model_store.download import bytes_here, fetch
from rune_engine.model_store.names import Reference
from rune_engine.model_store.store import PulledModel, Source, StoredFile

Report = Callable[[str, int, int], None]
"""Told a file's name, how many bytes of it came, and how many bytes the whole model has."""
_PARTIAL = ".partial"
_LISTINGS = "listing-*.json"
_SPARE_BYTES = 256 * 1024**2
"""What a pull leaves free on the disk: databases and adapters live there, too."""


def pull(
    models: Path,
    wanted: Reference,
    *,
    offline: bool = False,
    base_model_id: str | None = None,
    report: Report = lambda name, came, total: None,
) -> PulledModel:
    """Download a model, or go on with it; nothing is asked for when that very commit is here.

    Args:
        models: the folder of the models.
        offline: do not use the network; tell what is missing.
        base_model_id: what adapters will bind to, where it is not the catalogue's id or the
            repository and commit. Give a GGUF file the id of the safetensors it was made from.

    Raises:
        BaseModelNotFoundError: the hub does not have it; or offline, and it is not all here.
        BaseModelCorruptedError: the hub sent something else than it promised.
        ModelHubError: the hub cannot be reached, or refused.
        DiskFullError: there is less space than the model needs.
        InvalidInputError: it is no causal language model, or several GGUF files match.
        ConflictError: another process is pulling it.
    """
    if offline or hub.is_offline():
        return _offline(models, wanted)
    found = hub.listing(wanted)
    files = selecting.select(wanted, found.files)
    gguf = [file.name for file in files if file.name.endswith(".gguf")]
    stem = selecting.gguf_stem(gguf[0]) if gguf else None
    wanted = Reference(found.repository, found.revision, stem)
    folder = store.folder_of(models, wanted, found.commit)
    if (here := store.read(folder)) is not None:
        return here
    found = found.model_copy(update={"files": files})
    with _alone(models, wanted) as partial:
        _keep_listing(partial, wanted, found)
        _require_space(partial, found)
        _download(wanted, found, partial, report)
        model = PulledModel(
            id=base_model_id or _id_of(wanted, found),
            folder=folder,
            source=_source(wanted, found),
            gguf=gguf,
        )
        _put_in_place(model, wanted, partial)
        remove(partial)
    return model


def missing(models: Path, wanted: Reference) -> list[tuple[StoredFile, int]]:
    """What an interrupted pull still lacks: files, and how many bytes of each are here."""
    partial = _partial(models, wanted)
    listings = sorted(partial.glob(_LISTINGS), key=lambda file: file.stat().st_mtime)
    asked = [file for file in listings if not wanted.file or wanted.file.lower() in file.name]
    if not asked:
        return []
    found = hub.Listing.model_validate_json(asked[-1].read_text(encoding="utf-8"))
    here = [(file, bytes_here(file, partial)) for file in found.files]
    return [(file, size) for file, size in here if not (partial / file.digest).exists()]


def interrupted(models: Path) -> list[str]:
    """The repositories of which a pull was begun and not ended."""
    return sorted(path.name.replace("--", "/", 1) for path in models.glob(f"{_PARTIAL}/*--*/"))


def forget_partial(models: Path, wanted: Reference) -> bool:
    """Remove what interrupted pulls of that repository left; whether there was anything.

    Raises:
        ConflictError: another process is pulling it.
    """
    if not _partial(models, wanted).exists():
        return False
    with _alone(models, wanted) as partial:
        remove(partial)
    return True


def _offline(models: Path, wanted: Reference) -> PulledModel:
    if (here := store.find(models, wanted)) is not None:
        return here
    lacking = missing(models, wanted)
    if lacking:
        told = ", ".join(f"{file.name} ({size} of {file.size} bytes)" for file, size in lacking)
        what = f"Of {wanted}, this is missing: {told}."
    else:
        what = f"Nothing of {wanted} is on this machine, and only the hub knows its files."
    raise BaseModelNotFoundError(
        f"{what} Offline, it cannot be downloaded.",
        next_step="Pull it with a network, or copy the model's folder to this machine and name "
        "the folder: `rune model use FOLDER`.",
    )


def _download(wanted: Reference, found: hub.Listing, partial: Path, report: Report) -> None:
    total = sum(file.size for file in found.files)
    for file in found.files:
        path = fetch(found, file, partial, _reporting(report, file, total))
        if file.name == "config.json":
            selecting.check_architecture(wanted, path.read_text(encoding="utf-8"))


def _reporting(report: Report, file: StoredFile, total: int) -> Callable[[int], None]:
    return lambda came: report(file.name, came, total)


def _put_in_place(model: PulledModel, wanted: Reference, partial: Path) -> None:
    """Make the folder whole under another name, then rename it."""
    staging = partial / "whole"
    try:
        remove(staging)
        staging.mkdir(mode=0o700)
        for file in model.source.files:
            _link(partial / file.digest, staging / file.name)
        known = wanted.known
        text = store.settings_text(model, known.distillation if known else None)
        (staging / base_models.SETTINGS).write_text(text, encoding="utf-8")
        flush_tree(staging)
        model.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        staging.rename(model.folder)
        flush_folder(model.folder.parent)
    except OSError as error:
        raise not_writable(model.folder, error) from error


def _link(source: Path, target: Path) -> None:
    """Give a file a second name; some file systems cannot, and then it moves."""
    try:
        os.link(source, target)
    except OSError:
        source.rename(target)


def _require_space(partial: Path, found: hub.Listing) -> None:
    needed = sum(file.size - bytes_here(file, partial) for file in found.files)
    free = shutil.disk_usage(partial).free
    if needed + _SPARE_BYTES > free:
        raise DiskFullError(
            f"{found.repository} needs {needed / 1e9:.2f} GB more on the disk of {partial.parent}; "
            f"{free / 1e9:.2f} GB are free, of which {_SPARE_BYTES / 1e9:.2f} GB stay free.",
            next_step="Free some space, or choose a smaller model: see `rune model list`.",
        )


def _id_of(wanted: Reference, found: hub.Listing) -> str:
    known = wanted.known
    return known.id if known else f"{found.repository}@{found.commit[:12]}"


def _source(wanted: Reference, found: hub.Listing) -> Source:
    known = wanted.known
    return Source(
        repository=found.repository,
        revision=found.revision,
        commit=found.commit,
        file=wanted.file,
        licence=known.licence if known else found.licence,
        pulled_at=datetime.now(UTC).isoformat(),
        files=found.files,
    )


@contextmanager
def _alone(models: Path, wanted: Reference) -> Iterator[Path]:
    """The folder for what is not complete; nobody else pulls the same within the block."""
    partial = _partial(models, wanted)
    try:
        partial.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise not_writable(partial, error) from error
    lock = open_lock(partial.with_name(f"{partial.name}.lock"))
    try:
        if not try_lock(lock):
            raise ConflictError(
                f"Another process is pulling {wanted.repository}.",
                next_step="Let it end, then try again.",
            )
        partial.mkdir(mode=0o700, exist_ok=True)
        yield partial
    finally:
        os.close(lock)


def _partial(models: Path, wanted: Reference) -> Path:
    return models / _PARTIAL / wanted.repository.replace("/", "--")


def _keep_listing(partial: Path, wanted: Reference, found: hub.Listing) -> None:
    """So that a later pull without a network can tell what is missing."""
    name = _LISTINGS.replace("*", wanted.file.lower() if wanted.file else "")
    try:
        write_file(partial / name, found.model_dump_json())
    except OSError as error:
        raise not_writable(partial, error) from error
