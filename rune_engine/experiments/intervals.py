"""Bootstrap intervals over projects: tasks of a project stand and fall together.

The cluster bootstrap with percentile intervals (Efron 1979; Field and Welsh 2007): projects are
drawn with replacement, each with all of its tasks. Where all tasks come from one project there is
nothing to draw, and the tasks are drawn instead. Knows numbers only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

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
