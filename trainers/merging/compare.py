"""How alike adapters are: norms of their updates, and cosines between them.

With updates B1 A1 and B2 A2, their product summed over all entries is tr((B2^T B1)(A1 A2^T)): what
their cores in a shared core space give, from matrices as small as the ranks. Whole matrices are
never made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from rune_engine.models.merging import CompareJob, Similarity
from trainers.closed_form.statistics import LowRank
from trainers.merging.adapters import Adapter, read
from trainers.protocol import Report

Updates = Mapping[str, LowRank]


def compare(job: CompareJob, report: Report) -> Similarity:
    """Carry the job out; adapters of different modules are alike where they share some.

    Raises:
        AdapterCorruptedError: an adapter cannot be read.
        MergeRefusedError: one is a DoRA.
    """
    if job.threads:
        torch.set_num_threads(job.threads)
    adapters: list[Adapter] = []
    for number, folder in enumerate(job.adapters):
        adapters.append(read(folder))
        report(0.5 * (number + 1) / len(job.adapters), f"read {folder.id}")
    return similarity([adapter.updates for adapter in adapters])


def similarity(updates: Sequence[Updates]) -> Similarity:
    """Norms and cosines, float64; a module that one of two leaves alone adds nothing to theirs."""
    norms = [math.sqrt(max(0.0, product(each, each))) for each in updates]
    cosines = [[1.0] * len(updates) for _ in updates]
    for i, one in enumerate(updates):
        for j, other in enumerate(updates[:i]):
            lengths = norms[i] * norms[j]
            cosine = product(one, other) / lengths if lengths > 0 else 0.0
            cosines[i][j] = cosines[j][i] = max(-1.0, min(1.0, cosine))
    return Similarity(norms=norms, cosines=cosines)


def product(one: Updates, other: Updates) -> float:
    """The sum of the elementwise product of two updates, over all modules."""
    shared = sorted(one.keys() & other.keys())
    return sum(_product(one[module], other[module]) for module in shared)


def _product(one: LowRank, other: LowRank) -> float:
    left = other.b.double().T @ one.b.double()
    right = one.a.double() @ other.a.double().T
    return float((left * right.T).sum())
