"""The secondary signals of 001: do adapters collapse into one, do they change anything at all?

Knows adapters and what their trainers said; nothing of tasks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

from rune_engine.experiments.adapters import Made
from rune_engine.experiments.weights import cosine, norm, read

LEAST_DIVERSITY = 0.1
"""001: below it adapters cluster, which is how a hypernetwork collapses."""


def diagnose(made: Sequence[Made]) -> dict[str, Any]:
    """The signals of one method's adapters, one a subject."""
    updates = [read(each.ref) for each in made]
    cosines = [cosine(one, other) for one, other in combinations(updates, 2)]
    norms = [norm(update) for update in updates]
    losses = [each.result.training_loss for each in made]
    mean = fmean(cosines) if cosines else None
    return {
        "adapters": len(made),
        "mean_cosine": mean,
        "highest_cosine": max(cosines, default=None),
        "adapter_cosine_diversity": None if mean is None else 1 - mean,
        "delta_w_norm": fmean(norms),
        "lowest_delta_w_norm": min(norms),
        "training_loss": fmean(losses),
        "kept_back_loss": _mean([each.result.kept_back_loss for each in made]),
        "kept_back_loss_before": _mean([each.result.kept_back_loss_before for each in made]),
        "collapsed": mean is not None and 1 - mean <= LEAST_DIVERSITY,
        "changes_something": all(math.isfinite(n) and n > 0 for n in norms),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
