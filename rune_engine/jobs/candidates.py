"""A merged adapter that nobody has registered yet, and the mark that says that it is whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rune_engine.durable import flush_tree, write_file
from rune_engine.errors import TrainingError
from rune_engine.home import not_writable
from rune_engine.inference.provider import AdapterRef
from rune_engine.models import LearntRole, Model
from rune_engine.models.merging import MergeJob, MergeResult
from rune_engine.registry import AdapterWeights

_MARK = "merged.json"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A merged adapter that nobody has registered.

    Attributes:
        ref: its folder, as a provider takes it. Its id follows from the job's, so that a job that
            was interrupted registers the same one.
        learnt_from: what each of the parents' trajectories was to it, for the registry.
    """

    ref: AdapterRef
    result: MergeResult
    learnt_from: Mapping[str, LearntRole]

    def weights(self) -> AdapterWeights:
        """As the registry stores them."""
        config = json.loads((self.ref.path / "adapter_config.json").read_bytes())
        return AdapterWeights(self.ref.path / "adapter_model.safetensors", config)


class _Mark(Model):
    """What is on disk of a candidate, beside its folder `output`."""

    adapter_id: str
    base_model_id: str
    sha256: str
    result: MergeResult
    learnt_from: dict[str, LearntRole]


def keep(
    folder: Path, job: MergeJob, result: MergeResult, roles: Mapping[str, LearntRole]
) -> Candidate:
    """Mark the merge as done: once all it left is on disk, as the mark is believed.

    Raises:
        TrainingError: it left no adapter.
        DiskFullError, HomeNotWritableError: the mark cannot be written.
    """
    output = folder / "output"
    try:
        sha256 = hashlib.sha256((output / "adapter_model.safetensors").read_bytes()).hexdigest()
    except OSError as error:
        raise TrainingError(
            f"The merge reported a result but left no usable adapter: {error}",
            next_step="This is a defect of the trainer; please report it.",
        ) from error
    mark = _Mark(
        adapter_id=job.adapter_id,
        base_model_id=job.parents[0].base_model_id,
        sha256=sha256,
        result=result,
        learnt_from=dict(roles),
    )
    try:
        flush_tree(output)
        write_file(folder / _MARK, mark.model_dump_json())
    except OSError as error:
        raise not_writable(folder, error) from error
    return _candidate(folder, mark)


def kept(folder: Path) -> Candidate | None:
    """A merge that was done before the engine died."""
    file = folder / _MARK
    if not file.is_file():
        return None
    return _candidate(folder, _Mark.model_validate_json(file.read_bytes()))


def _candidate(folder: Path, mark: _Mark) -> Candidate:
    ref = AdapterRef(mark.adapter_id, folder / "output", mark.sha256, mark.base_model_id)
    return Candidate(ref, mark.result, mark.learnt_from)
