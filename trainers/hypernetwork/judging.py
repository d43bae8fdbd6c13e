"""How good adapters are, by what they say of a project's held-out tasks. Nothing is generated.

A greedy answer is right if each of its tokens is the likeliest after the right ones, so what a
decoder would give follows from the rows of the right answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.closed_form.evidence import Evidence
from trainers.closed_form.statistics import LowRank
from trainers.hypernetwork.lessons import Lesson
from trainers.hypernetwork.objective import Judge, mean_cosine
from trainers.hypernetwork.rows import Rows


@dataclass(frozen=True, slots=True)
class Figures:
    """Means over projects.

    Attributes:
        exact: of each project's held-out tasks, the share answered exactly as the reference does.
        loss: of the right answers' tokens, nats.
        drift: from what the base model says where no memory is needed, nats.
        unmoved: share of the tokens there of which the likeliest one is still the same.
        delta_w_norm: Frobenius.
        cosine_diversity: 1 less the mean cosine similarity of different projects' updates.
    """

    exact: tuple[float, ...]
    loss: float
    drift: float
    unmoved: float
    delta_w_norm: float
    cosine_diversity: float

    @property
    def exact_share(self) -> float:
        return sum(self.exact) / len(self.exact)

    def numbers(self) -> dict[str, float]:
        """By name; `exact_share` for what each project's is."""
        told = asdict(self)
        del told["exact"]
        return {"exact_share": self.exact_share, **told}


@torch.no_grad()
def judged(
    lessons: Iterable[Lesson], make: Callable[[Lesson], Tensor], judge: Judge, plain: Evidence
) -> Figures:
    """What the updates are worth that `make` makes of lessons."""
    updates, exact, losses, drifts, unmoved = [], [], [], [], []
    before = judge.logits(plain, None).argmax(-1)
    for lesson in lessons:
        update = make(lesson)
        logits = judge.logits(lesson.asked.evidence, update)
        updates.append(update)
        exact.append(exact_share(lesson, logits))
        losses.append(float(F.cross_entropy(logits, lesson.asked.evidence.tokens)))
        drifts.append(float(judge.drift(plain, update)))
        same = judge.logits(plain, update).argmax(-1) == before
        unmoved.append(float(same.double().mean()))
    count = len(updates)
    return Figures(
        exact=tuple(exact),
        loss=sum(losses) / count,
        drift=sum(drifts) / count,
        unmoved=sum(unmoved) / count,
        delta_w_norm=sum(float(update.norm()) for update in updates) / count,
        cosine_diversity=1.0 - float(mean_cosine(updates)),
    )


def exact_share(lesson: Lesson, logits: Tensor) -> float:
    """The share of a lesson's answers that greedy decoding would give."""
    wrong = logits.argmax(-1) != lesson.asked.evidence.tokens
    mistakes = torch.bincount(lesson.asked.answers, weights=wrong.double())
    return float((mistakes == 0).double().mean())


def whole(update: LowRank) -> Tensor:
    """An update as one matrix, [outputs, width]."""
    return update.b @ update.a


def distilled(network: Callable[[Rows], LowRank]) -> Callable[[Lesson], Tensor]:
    """The updates of something that distills rows."""
    return lambda lesson: whole(network(lesson.rows))
