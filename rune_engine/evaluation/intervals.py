"""Intervals of what was measured: over projects, and of an adapter beside the base model.

`estimate` is the cluster bootstrap with percentile intervals (Efron 1979; Field and Welsh 2007):
projects are drawn with replacement, each with all of its tasks, as tasks of a project stand and
fall together. Where all tasks come from one project there is nothing to draw, and the tasks are
drawn instead. `paired` draws tasks, each with both of its outcomes. Knows numbers only.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb, fsum

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over tasks with its interval; `clusters` is how many could be drawn."""

    value: float
    low: float
    high: float
    tasks: int
    clusters: int

    @property
    def interval(self) -> list[float]:
        return [self.low, self.high]


def estimate(
    values: Mapping[str, Sequence[float]], resamples: int = 10_000, seed: int = 0
) -> Estimate | None:
    """The mean over all tasks, given by project; None where there is no task.

    With a single cluster its own mean is all there is: the interval has no width.
    """
    import numpy as np  # the engine, which needs `paired` alone, goes without it

    clusters = [np.asarray(each, dtype=np.float64) for each in values.values() if len(each)]
    if not clusters:
        return None
    if len(clusters) == 1:
        clusters = list(clusters[0].reshape(-1, 1))
    sums = np.array([cluster.sum() for cluster in clusters])
    counts = np.array([len(cluster) for cluster in clusters])
    drawn = np.random.default_rng(seed).integers(len(clusters), size=(resamples, len(clusters)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    value = float(sums.sum() / counts.sum())
    return Estimate(value, float(low), float(high), int(counts.sum()), len(clusters))


@dataclass(frozen=True, slots=True)
class Paired:
    """An adapter beside the base model, on the same tasks.

    Attributes:
        difference: mean over tasks of the adapter's outcome minus the base model's, -1 to 1.
        low, high: its 95 % interval.
        tasks: how many there are.
        better, worse: on how many of them the adapter did better, or worse.
        p_value: two-sided, that as uneven a split of `better` and `worse` is chance.
    """

    difference: float
    low: float
    high: float
    tasks: int
    better: int
    worse: int
    p_value: float


def paired(
    outcomes: Mapping[str, tuple[float, float]], resamples: int = 2_000, seed: int = 0
) -> Paired | None:
    """The mean difference between two outcomes of each task; None where there is no task.

    The interval is the wider, on either side, of two. One is the percentile bootstrap over tasks.
    It knows nothing of what it has not seen (three tasks that all came out better leave it no
    width at all), so the other supposes that tasks which come out as badly (or as well) as can be
    are as frequent as they may be, at this level, without any of them among so many
    (1 - 0.025 ** (1 / tasks), Clopper and Pearson 1934). Six tasks that all came out better are
    the fewest whose interval leaves out zero, as it is with the sign test.

    Args:
        outcomes: by task: the adapter's and the base model's share of samples that passed, 0 to 1.
    """
    differences = [ours - base for ours, base in outcomes.values()]
    if not differences:
        return None
    count = len(differences)
    mean = fsum(differences) / count
    draws = random.Random(seed)
    means = sorted(fsum(draws.choices(differences, k=count)) / count for _ in range(resamples))
    tail = (1 - LEVEL) / 2
    cut = int(tail * resamples)
    unseen = 1 - tail ** (1 / count)
    better = sum(each > 0 for each in differences)
    worse = sum(each < 0 for each in differences)
    return Paired(
        difference=mean,
        low=max(-1.0, min(means[cut], (1 - unseen) * mean - unseen)),
        high=min(1.0, max(means[-1 - cut], (1 - unseen) * mean + unseen)),
        tasks=count,
        better=better,
        worse=worse,
        p_value=sign_test(better, worse),
    )


def sign_test(wins: int, losses: int) -> float:
    """The exact two-sided p-value that as uneven a split is chance (McNemar's test, exact).

    See McNemar 1947, "Note on the sampling error of the difference between correlated
    proportions or percentages"; tasks on which both did the same do not count.
    """
    n = wins + losses
    tail = sum(comb(n, k) for k in range(min(wins, losses) + 1))
    return min(1.0, 2.0 * tail / float(2**n))
