"""Memory that grows by sessions, and memory of several projects in one adapter.

Growth: adapters of the first 1, 3, 6, ... trajectories. Consolidation: one closed-form adapter of
several projects' trajectories, which is the solve over their added statistics, beside the separate
adapters and beside their weights added up, at the same rank as these. Knows how they are made and
asked; nothing of what the figures mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rune_engine.experiments.adapters import Made, Workshop
from rune_engine.experiments.base import CLOSED_FORM, DIRECT
from rune_engine.experiments.conditions import Adapters, Asker, all_of
from rune_engine.experiments.recording import Taught
from rune_engine.experiments.sampling import Answered
from rune_engine.experiments.settings import GateSettings
from rune_engine.experiments.weights import added, read
from rune_engine.inference.provider import AdapterRef

_TRAINERS_AT_ONCE = 2
"""Nobody reads these adapters' times, so they need not be made one by one."""
_MOST_RANK = 256
"""That a trainer makes."""


@dataclass(frozen=True, slots=True)
class Consolidated:
    """The same tasks with three memories.

    Attributes:
        groups: the subjects that share an adapter.
        separate: with each subject's own adapter.
        statistics: with one adapter of a group's trajectories.
        weights: with one adapter that is the sum of the group's own.
    """

    groups: Sequence[Sequence[str]]
    separate: Sequence[Answered]
    statistics: Sequence[Answered]
    weights: Sequence[Answered]


def growing(settings: GateSettings, adapters: Adapters, sessions: int) -> dict[str, list[int]]:
    """At how many trajectories each method's adapters are made, below all of them."""
    counts = sorted(count for count in settings.growth if 0 < count < sessions)
    methods = [m for m in adapters if m != DIRECT or settings.growth_direct]
    return dict.fromkeys(methods, counts)


async def grow(
    asker: Asker,
    workshop: Workshop,
    method: str,
    count: int,
    advance: Callable[[], None],
) -> list[Answered]:
    """Answers with adapters of every subject's first `count` trajectories."""
    at_once = asyncio.Semaphore(_TRAINERS_AT_ONCE)

    async def make(each: Taught) -> tuple[str, AdapterRef]:
        name = each.subject.name
        async with at_once:
            made = await workshop.make(method, f"{name}-{count}", each.trajectories[:count])
        advance()
        return name, made.ref

    return await asker.alone(dict(await all_of(map(make, asker.taught))))


async def consolidate(
    asker: Asker,
    workshop: Workshop,
    own: Mapping[str, Made],
    separate: Sequence[Answered],
    size: int,
) -> Consolidated | None:
    """Groups of `size` subjects, in order; None where there are too few, or it is below two."""
    taught = {each.subject.name: each for each in asker.taught}
    names = list(taught)
    if not 2 <= size <= len(names):
        return None
    groups = [names[i : i + size] for i in range(0, len(names) - size + 1, size)]
    united: dict[str, AdapterRef] = {}
    summed: dict[str, AdapterRef] = {}
    for number, group in enumerate(groups):
        adapter = await _united(workshop, number, [taught[name] for name in group], own)
        sum_of = workshop.write(added([read(own[name].ref) for name in group]), f"sum-{number}")
        united |= dict.fromkeys(group, adapter.ref)
        summed |= dict.fromkeys(group, sum_of)
    return Consolidated(
        groups=groups,
        separate=[each for each in separate if each.subject in united],
        statistics=await asker.alone(united, only=list(united)),
        weights=await asker.alone(summed, only=list(summed)),
    )


async def _united(
    workshop: Workshop, number: int, group: Sequence[Taught], own: Mapping[str, Made]
) -> Made:
    rank = sum(own[each.subject.name].result.rank for each in group)
    trajectories = [trajectory for each in group for trajectory in each.trajectories]
    return await workshop.make(
        CLOSED_FORM, f"united-{number}", trajectories, rank=min(rank, _MOST_RANK)
    )
