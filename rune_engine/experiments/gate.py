"""One run of the gate, from subjects to figures.

    record -> make adapters -> ask under every condition -> grow, consolidate -> judge

Everything found out is kept in the work folder: a run that was killed goes on from there. The
figures are JSON-ready; what they look like is `report.py`'s to say.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rune_engine.config import RuneConfig
from rune_engine.experiments import conditions as asked
from rune_engine.experiments import growth, leaks
from rune_engine.experiments.about import settings as told_settings
from rune_engine.experiments.about import subjects, versions
from rune_engine.experiments.adapters import Made, Workshop, figures_of
from rune_engine.experiments.base import CLOSED_FORM, HYPERNETWORK, Base
from rune_engine.experiments.conditions import Adapters, Asker, Condition
from rune_engine.experiments.decision import decide
from rune_engine.experiments.diagnostics import diagnose
from rune_engine.experiments.figures import (
    Bootstrap,
    Figures,
    condition_figures,
    pass_figures,
    timing,
)
from rune_engine.experiments.promises import judge
from rune_engine.experiments.recording import Taught, record
from rune_engine.experiments.sampling import Draws, Sampler
from rune_engine.experiments.settings import GateSettings
from rune_engine.experiments.subjects import make_subjects
from rune_engine.inference.provider import InferenceProvider
from rune_engine.jobs.trainer import Trainers
from rune_engine.sandbox.sandbox import Sandbox

Progress = Callable[[str, int], Callable[[int], None]]
"""Begins a stage of so many parts; what it returns is told how many more are done."""


def no_progress(_title: str, _parts: int) -> Callable[[int], None]:
    """Shows nothing."""
    return lambda _count: None


@dataclass(frozen=True, slots=True)
class Machinery:
    """What a run works with."""

    config: RuneConfig
    base: Base
    provider: InferenceProvider
    sandbox: Sandbox
    trainers: Trainers
    work: Path
    progress: Progress = no_progress


async def run_gate(settings: GateSettings, machinery: Machinery) -> Figures:
    """Run the gate and return its figures.

    Raises:
        RuneError: a model, a trainer or the sandbox failed; run it again to go on.
    """
    gate = _Gate(settings, machinery)
    try:
        return await gate.run()
    finally:
        gate.sampler.close()


class _Gate:
    """The steps of one run."""

    def __init__(self, settings: GateSettings, machinery: Machinery) -> None:
        self._settings = settings
        self._with = machinery
        self._bootstrap = Bootstrap(settings.resamples, settings.seed)
        self._advance: Callable[[int], None] = lambda _count: None
        base = machinery.base
        self._workshop = Workshop(
            base, machinery.work, machinery.trainers, machinery.config, settings.seed
        )
        draws = Draws(
            base=" ".join((base.sha256, *_served(machinery).values())),
            samples=settings.samples,
            temperature=settings.temperature,
            max_tokens=settings.max_tokens,
            seed=settings.seed,
        )
        self.sampler = Sampler(
            machinery.provider,
            machinery.sandbox,
            draws,
            machinery.work,
            lambda count: self._advance(count),
        )

    async def run(self) -> Figures:
        began = time.monotonic()
        taught = await self._record()
        asker = Asker(taught, self.sampler, self._with.sandbox)
        adapters, missing = await self._make(taught)
        conditions = await self._ask(asker, adapters, missing)
        figures = self._begun(taught, adapters, conditions)
        fewer = self.sampler.drawing(min(self._settings.samples, self._settings.side_samples))
        aside = Asker(taught, fewer, self._with.sandbox)
        figures["plain"] = await self._plain(aside, adapters)
        figures["repair"] = await self._repair(aside)
        figures["growth"] = await self._growth(aside, adapters, conditions)
        figures["consolidation"] = await self._consolidation(aside, adapters, conditions)
        figures["promises"] = [asdict(promise) for promise in judge(figures)]
        figures["seconds"] = time.monotonic() - began
        return figures

    def _stage(self, title: str, parts: int) -> None:
        self._advance = self._with.progress(title, parts)

    # --- steps ---------------------------------------------------------------------------------

    async def _record(self) -> list[Taught]:
        chosen = make_subjects(self._settings)
        self._stage("recording sessions", len(chosen))
        return await record(chosen, self._with.work, self._with.sandbox, lambda: self._advance(1))

    async def _make(
        self, taught: Sequence[Taught]
    ) -> tuple[dict[str, dict[str, Made]], dict[str, str]]:
        methods = 2 + self._with.base.hypernetwork
        self._stage("making adapters", methods * len(taught))
        return await asked.make_adapters(
            taught, self._with.base, self._workshop, lambda: self._advance(1)
        )

    async def _ask(
        self, asker: Asker, adapters: Adapters, missing: Mapping[str, str]
    ) -> dict[str, Condition]:
        count = sum(len(each.subject.tasks) for each in asker.taught)
        found: dict[str, Condition] = {}
        self._stage("asking: base", count)
        found[asked.BASE] = Condition(asked.BASE, await asker.alone())
        self._stage("asking: in_context", count)
        answered, shown = await asker.in_context()
        found[asked.IN_CONTEXT] = Condition(asked.IN_CONTEXT, answered, shown=shown)
        for method, made in adapters.items():
            self._stage(f"asking: {method}", count)
            found[method] = await self._with_adapters(asker, method, made)
        found |= {name: Condition(name, reason=reason) for name, reason in missing.items()}
        found |= await self._controls(asker, adapters, count)
        return {name: found[name] for name in asked.CONDITIONS}

    async def _with_adapters(self, asker: Asker, name: str, made: Mapping[str, Made]) -> Condition:
        refs = {subject: each.ref for subject, each in made.items()}
        return Condition(name, await asker.alone(refs), made)

    async def _controls(self, asker: Asker, adapters: Adapters, count: int) -> dict[str, Condition]:
        """What an adapter does that was not taught this: one at random, one of somebody else."""
        names = (asked.RANDOM, asked.WRONG)
        like = _fast(adapters)
        if like is None:
            reason = "There is no adapter of a fast method to compare with."
            return {name: Condition(name, reason=reason) for name in names}
        self._stage("asking: random", count)
        seed = self._settings.seed
        drawn = asked.random_adapters(adapters[like], self._workshop, seed)
        found = {asked.RANDOM: Condition(asked.RANDOM, await asker.alone(drawn))}
        lent = asked.lent(asker.taught, adapters[like])
        if lent is None:
            reason = "There is no other project."
            return found | {asked.WRONG: Condition(asked.WRONG, reason=reason)}
        self._stage("asking: wrong_project", count)
        return found | {asked.WRONG: await self._with_adapters(asker, asked.WRONG, lent)}

    async def _plain(self, asker: Asker, adapters: Adapters) -> Figures:
        count = sum(len(each.subject.plain) for each in asker.taught)
        if not count:
            return {}
        self._stage("asking: plain tasks", count * (1 + len(adapters)))
        told = {asked.BASE: pass_figures(await asker.alone(plain=True), self._bootstrap)}
        for method, made in adapters.items():
            refs = {subject: each.ref for subject, each in made.items()}
            told[method] = pass_figures(await asker.alone(refs, plain=True), self._bootstrap)
        return told

    async def _repair(self, asker: Asker) -> Figures:
        count = sum(t.wrong is not None for each in asker.taught for t in each.subject.tasks)
        if not count:
            return {}
        self._stage("asking: repair", 2 * count)
        return {
            "alone": pass_figures(await asker.repaired(in_context=False), self._bootstrap),
            "in_context": pass_figures(await asker.repaired(in_context=True), self._bootstrap),
        }

    async def _growth(
        self, asker: Asker, adapters: Adapters, conditions: Mapping[str, Condition]
    ) -> Figures:
        sessions = max(len(each.trajectories) for each in asker.taught)
        told: Figures = {}
        for method, counts in growth.growing(self._settings, adapters, sessions).items():
            points: Figures = {}
            for count in counts:
                made, asked_too = len(asker.taught), len(conditions[method].answered)
                self._stage(f"{method}, {count} trajectories", made + asked_too)
                answered = await growth.grow(
                    asker, self._workshop, method, count, lambda: self._advance(1)
                )
                points[str(count)] = pass_figures(answered, self._bootstrap)
            points[str(sessions)] = pass_figures(conditions[method].answered, self._bootstrap)
            told[method] = points
        return told

    async def _consolidation(
        self, asker: Asker, adapters: Adapters, conditions: Mapping[str, Condition]
    ) -> Figures | None:
        if CLOSED_FORM not in adapters:
            return None
        own, size = adapters[CLOSED_FORM], self._settings.consolidated
        self._stage("consolidating", 2 * len(conditions[CLOSED_FORM].answered))
        found = await growth.consolidate(
            asker, self._workshop, own, conditions[CLOSED_FORM].answered, size
        )
        return None if found is None else _consolidated(found, size, self._bootstrap)

    # --- what is told --------------------------------------------------------------------------

    def _begun(
        self, taught: Sequence[Taught], adapters: Adapters, conditions: Mapping[str, Condition]
    ) -> Figures:
        """All figures that follow from adapters and conditions."""
        base = self._with.base
        beside = conditions[asked.BASE].answered, conditions[CLOSED_FORM].answered
        told = {
            name: condition_figures(condition, *beside, self._bootstrap)
            for name, condition in conditions.items()
        }
        decision = decide(told)
        used = {name: condition.adapters for name, condition in conditions.items()}
        checks = leaks.check_everything(taught, used, base.path)
        return {
            "decision": decision.text,
            "decided_by": {"condition": decision.condition, "reason": decision.reason},
            "command": self._settings.command(),
            "settings": told_settings(self._settings),
            "base_model": {
                "name": Path(base.name).name,
                "id": base.id,
                "sha256": base.sha256,
                "recipes_sha256": dict(base.recipes),
                **_served(self._with),
            },
            "versions": versions(),
            "conditions": told,
            "timing": timing(adapters),
            "diagnostics": {
                method: diagnose(list(made.values())) for method, made in adapters.items()
            },
            "leaks": [asdict(check) | {"clean": check.clean} for check in checks],
            "subjects": subjects(taught),
            "adapters": figures_of([made for each in adapters.values() for made in each.values()]),
        }


def _served(machinery: Machinery) -> dict[str, str]:
    """How the base model is run; another way may answer otherwise."""
    precision = machinery.config.serving.precision
    return {"backend": machinery.provider.name, "precision": precision}


def _fast(adapters: Adapters) -> str | None:
    """The method that controls are compared with."""
    return next((method for method in (HYPERNETWORK, CLOSED_FORM) if method in adapters), None)


def _consolidated(found: growth.Consolidated, size: int, bootstrap: Bootstrap) -> Figures:
    told: Figures = {
        "projects": size,
        "groups": [list(group) for group in found.groups],
        "separate": pass_figures(found.separate, bootstrap),
        "statistics": pass_figures(found.statistics, bootstrap),
        "weights": pass_figures(found.weights, bootstrap),
    }
    alone = told["separate"]["pass_at_1"]
    for name in ("statistics", "weights"):
        together = told[name]["pass_at_1"]
        told[f"{name}_keep"] = together / alone if alone and together is not None else None
    return told
