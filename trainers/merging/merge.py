"""Carries a merge out: parents' folders in, one adapter out, in core space or distilled anew.

What is written appears at once, under the name that the job gives: a merge that is killed leaves
nothing there.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from rune_engine.errors import MergeRefusedError
from rune_engine.home import not_writable
from rune_engine.models.merging import JOINT_METHODS, MOST_RANK, MergeJob, MergeResult
from trainers.closed_form.statistics import LowRank
from trainers.merging.adapters import Adapter, check_mergeable, check_parents, read
from trainers.merging.compare import similarity
from trainers.merging.core import CoreSpace
from trainers.merging.joint import distill_together
from trainers.merging.methods import Method
from trainers.protocol import Report, peak_memory_bytes
from trainers.updates import save_updates


@dataclass(slots=True)
class Merged:
    """One adapter made of several, and what that took.

    Attributes:
        updates: by module path.
        lost: the sum of squares that was cut off to keep to a rank.
        whole: the sum of squares of all of it before.
        off: that of the difference from the same method done densely, and of that one's result;
            None where nobody asked.
    """

    updates: dict[str, LowRank] = field(default_factory=dict)
    lost: float = 0.0
    whole: float = 0.0
    off: tuple[float, float] | None = None

    @property
    def rank(self) -> int:
        """Of all modules: the largest that one of them needs."""
        return max(1, *(len(update.a) for update in self.updates.values()))

    @property
    def cut_error(self) -> float:
        return math.sqrt(self.lost / self.whole) if self.whole > 0 else 0.0

    @property
    def dense_error(self) -> float | None:
        if self.off is None:
            return None
        difference, dense = self.off
        return math.sqrt(difference / dense) if dense > 0 else 0.0


def merge(job: MergeJob, report: Report) -> MergeResult:
    """Carry the job out.

    Raises:
        MergeRefusedError, AdapterBaseModelMismatchError: these adapters cannot become one.
        AdapterCorruptedError: one cannot be read.
        RuneError: what a distillation raises, with a joint method.
        DiskFullError, HomeNotWritableError: nothing was written.
    """
    began = time.monotonic()
    if job.threads:
        torch.set_num_threads(job.threads)
    check_parents([(parent.id, parent.base_model_id) for parent in job.parents])
    output = Path(job.output_path)
    partial = output.with_name(f".{output.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        if job.method in JOINT_METHODS:
            result = distill_together(job, partial, report)
        else:
            result = _merge_weights(job, partial, report)
        _appear(partial, output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return result.model_copy(update={"seconds": time.monotonic() - began})


def _appear(partial: Path, output: Path) -> None:
    try:
        shutil.rmtree(output, ignore_errors=True)
        partial.replace(output)
    except OSError as error:
        raise not_writable(output, error) from error


def _merge_weights(job: MergeJob, folder: Path, report: Report) -> MergeResult:
    adapters = [read(parent) for parent in job.parents]
    report(0.1, f"merges {len(adapters)} adapters")
    merged = merge_adapters(
        adapters, method_of(job), job.rank, dense_error=job.dense_error, report=report
    )
    targets = {adapter.target_modules for adapter in adapters}
    names = targets.pop() if len(targets) == 1 else tuple(merged.updates)
    save_updates(merged.updates, names, folder, adapters[0].base_model_id)
    norms = similarity([*(adapter.updates for adapter in adapters), merged.updates]).norms
    return MergeResult(
        method=job.method,
        rank=merged.rank,
        modules=len(merged.updates),
        delta_w_norm=norms[-1],
        parents=similarity([adapter.updates for adapter in adapters]),
        cut_error=merged.cut_error,
        dense_error=merged.dense_error,
        seconds=0.0,
        peak_memory_bytes=peak_memory_bytes(),
    )


def method_of(job: MergeJob) -> Method:
    """The job's method.

    Raises:
        MergeRefusedError: there is not one weight for each parent.
    """
    count = len(job.parents)
    weights = [1 / count] * count if job.weights is None else job.weights
    if len(weights) != count:
        raise MergeRefusedError(
            f"{len(weights)} weights were given for {count} adapters.",
            next_step="Give one for each, or none.",
        )
    return Method(job.method, tuple(weights), job.density, job.seed)


def merge_adapters(
    adapters: Sequence[Adapter],
    method: Method,
    rank: int | None = None,
    *,
    dense_error: bool = False,
    report: Report = lambda _done, _what: None,
) -> Merged:
    """Merge adapters of the same modules, one module after the other.

    Args:
        rank: at most; None is as much as is needed, of what an adapter may have.
        dense_error: whether to make the whole matrices, too, and compare.

    Raises:
        MergeRefusedError, AdapterBaseModelMismatchError: these adapters cannot become one.
    """
    check_mergeable(adapters)
    merged = Merged(off=(0.0, 0.0) if dense_error else None)
    modules = sorted(adapters[0].updates)
    for number, module in enumerate(modules):
        updates = [adapter.updates[module] for adapter in adapters]
        space = CoreSpace.of(updates)
        core = method.combine(space.cores, module)
        cut = space.back(core, min(rank or MOST_RANK, MOST_RANK))
        merged.updates[module] = cut.update
        merged.lost += cut.lost
        merged.whole += float(core.square().sum())
        if merged.off is not None:
            merged.off = _added(merged.off, cut.update, method.combine(_dense(updates), module))
        report(0.1 + 0.8 * (number + 1) / len(modules), f"{number + 1} of {len(modules)} modules")
    return merged


def _dense(updates: Sequence[LowRank]) -> list[Tensor]:
    return [update.b.double() @ update.a.double() for update in updates]


def _added(off: tuple[float, float], update: LowRank, dense: Tensor) -> tuple[float, float]:
    difference = update.b.double() @ update.a.double() - dense
    return off[0] + float(difference.square().sum()), off[1] + float(dense.square().sum())
