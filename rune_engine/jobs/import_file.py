"""The `import` job: a JSON Lines file of trajectories, recorded line by line.

A bad line is refused with its number and costs no other. The file is copied first, so that what
happens to it meanwhile does not matter; lines go in batches that are done once, and a trajectory
that is there already is not stored again. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ValidationError

from rune_engine.config import RuneConfig
from rune_engine.durable import flush_folder, flush_to_disk
from rune_engine.errors import ConflictError, InvalidInputError
from rune_engine.home import not_writable
from rune_engine.jobs.progress import Report
from rune_engine.jobs.store import JobStore
from rune_engine.jobs.submission import check_import
from rune_engine.models import ImportParams, ImportResult, Job, RefusedLine, TrajectoryDraft
from rune_engine.trajectories import TrajectoryStore

MAX_LINE_BYTES = 8 * 1024 * 1024
"""As much as one call to record a trajectory may send."""
MAX_REPORTED = 20

_BATCH_BYTES = 256 * 1024
_LONGEST_REASON = 300


class ImportFile:
    """Runs `import` jobs in `config.jobs_path / job.id`."""

    def __init__(self, config: RuneConfig, trajectories: TrajectoryStore, jobs: JobStore) -> None:
        self._config = config
        self._trajectories = trajectories
        self._jobs = jobs

    async def __call__(self, job: Job, report: Report) -> ImportResult:
        params = ImportParams.model_validate(job.params)
        copy = self._config.jobs_path / job.id / "trajectories.jsonl"
        if not copy.exists():
            check_import(params)
            report(0.0, "copying the file")
            await asyncio.to_thread(_copy, Path(params.path), copy)
        size, steps = copy.stat().st_size, self._jobs.steps(job)
        total, at, line = ImportResult(stored=0, duplicates=0, refused=0, refused_lines=[]), 0, 1
        while at < size:
            batch = partial(asyncio.to_thread, self._batch, copy, at, line)
            done = await steps.run(f"bytes from {at}", batch)
            at, line = done["at"], done["line"]
            total = _sum(total, ImportResult.model_validate(done["result"]))
            report(at / size, f"{total.stored} stored, {total.refused} refused")
        return total

    def _batch(self, file: Path, at: int, line: int) -> dict[str, Any]:
        """Record the lines of a few hundred kilobytes, and say where the next batch begins."""
        stored, duplicates, refused = 0, 0, []
        with file.open("rb") as source:
            source.seek(at)
            for number, text in enumerate(_lines(source, at + _BATCH_BYTES), line):
                line = number + 1
                if text is not None and not text.strip():
                    continue
                try:
                    duplicate = self._record(text)
                except (InvalidInputError, ConflictError, ValidationError) as error:
                    refused.append(RefusedLine(line=number, reason=_reason(error)))
                else:
                    stored, duplicates = stored + (not duplicate), duplicates + duplicate
            at = source.tell()
        result = ImportResult(
            stored=stored,
            duplicates=duplicates,
            refused=len(refused),
            refused_lines=refused[:MAX_REPORTED],
        )
        return {"at": at, "line": line, "result": result.model_dump()}

    def _record(self, text: bytes | None) -> bool:
        """Store one line's trajectory; whether it was there already."""
        if text is None:
            raise InvalidInputError(f"The line is longer than {MAX_LINE_BYTES // 1024**2} MiB.")
        return self._trajectories.record(TrajectoryDraft.model_validate_json(text))[1]


def _lines(source: BinaryIO, until: int) -> Iterator[bytes | None]:
    """The lines that begin before `until`; None for one that is too long to be held."""
    while source.tell() < until and (text := source.readline(MAX_LINE_BYTES + 1)):
        if len(text) <= MAX_LINE_BYTES:
            yield text
            continue
        while text and not text.endswith(b"\n"):
            text = source.readline(MAX_LINE_BYTES)
        yield None


def _reason(error: Exception) -> str:
    """What is wrong with a line, without its text."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        return f"{where}: {first['msg']}"[:_LONGEST_REASON]
    return str(error)[:_LONGEST_REASON]


def _sum(one: ImportResult, other: ImportResult) -> ImportResult:
    return ImportResult(
        stored=one.stored + other.stored,
        duplicates=one.duplicates + other.duplicates,
        refused=one.refused + other.refused,
        refused_lines=[*one.refused_lines, *other.refused_lines][:MAX_REPORTED],
    )


def _copy(source: Path, copy: Path) -> None:
    """All of it or nothing: the steps that are done count bytes of this very copy."""
    new = copy.with_suffix(".new")
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, new)
        with new.open("rb") as file:
            flush_to_disk(file.fileno())
        new.replace(copy)
        flush_folder(copy.parent)
    except OSError as error:
        raise not_writable(copy, error) from error
