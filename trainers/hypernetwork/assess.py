"""Assess a hypernetwork on projects that nothing was trained on (S22).

    python -m trainers.hypernetwork.assess --base base_models/rune-nano --json report.json

Exact answers of held-out tasks by the base model alone, the closed form as it ships and at the
hypernetwork's rank, the hypernetwork, and directly trained adapters where `--direct` names a folder
of them (see `adapters`); what the hypernetwork gains over either closed form; how near its adapters
come to the directly trained, and a random adapter of the same norm; how much the adapters of
different projects differ.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

import base_models
from base_models.hypernetworks import FOLDER
from rune_engine.evaluation.intervals import estimate
from trainers.closed_form.distill import solve_for
from trainers.closed_form.gathering import Gathered
from trainers.closed_form.settings import ClosedFormSettings
from trainers.closed_form.statistics import LowRank
from trainers.hypernetwork import files
from trainers.hypernetwork.adapters import direct_update
from trainers.hypernetwork.judging import Figures, judged, whole
from trainers.hypernetwork.lessons import Lesson, Scheme
from trainers.hypernetwork.network import Hypernetwork
from trainers.hypernetwork.objective import Judge, reconstruction
from trainers.hypernetwork.rows import kept_of
from trainers.hypernetwork.shelf import Shelf

FIRST_SEED = 3_000_000
"""Projects of the evaluation split from here on: a training is judged by others."""
CLOSED_FORMS = ("closed_form", "closed_form_same_rank")
"""The closed form as the base model's settings have it, and at the hypernetwork's rank."""


@dataclass(frozen=True, slots=True)
class Made:
    """A way's updates by project, and the seconds that one took once all had been read."""

    updates: Mapping[int, Tensor]
    seconds: float | None = None


class Assessment:
    """A hypernetwork, and the projects that it is assessed on.

    Args:
        settings: of the closed form that it is compared with.
        direct: a folder of directly trained adapters.
    """

    def __init__(
        self,
        base: Path,
        network: Hypernetwork,
        shelf: Shelf,
        seeds: Sequence[int],
        settings: ClosedFormSettings,
        direct: Path | None = None,
    ) -> None:
        self._judge = Judge.load(base, shelf.shape)
        self._plain = shelf.plain(0, 128)
        self._known, self._output = shelf.known(), shelf.output
        self._lessons = {seed: shelf.lesson(seed, "evaluation") for seed in seeds}
        shelf.close()
        self._network = network
        self._settings = settings
        self._direct: dict[int, LowRank] = {}
        for seed in seeds if direct else ():
            assert direct is not None
            update = direct_update(direct, "evaluation", seed, shelf.shape.target)
            if update is not None:
                self._direct[seed] = update

    def report(self) -> dict[str, Any]:
        """Everything, JSON-ready."""
        made = self._ways()
        figures = {name: self._judged(way) for name, way in made.items()}
        return {
            "base_model_id": self._network.settings.base_model_id,
            "hypernetwork": self._network.settings.model_dump(mode="json"),
            "projects": len(self._lessons),
            "conditions": {name: _condition(way, figures[name]) for name, way in made.items()},
            "gains": {name: _gain(figures["hypernetwork"], figures[name]) for name in CLOSED_FORMS},
            "reconstruction": self._reconstruction(made) if self._direct else None,
        }

    def _ways(self) -> dict[str, Made]:
        nothing = torch.zeros(self._network.settings.outputs, self._network.settings.width)
        hypernetwork = self._each(lambda lesson: self._network.distill(lesson.rows))
        same_rank = self._settings.model_copy(update={"rank": self._network.settings.rank})
        made = {
            "base": Made(dict.fromkeys(self._lessons, nothing)),
            "closed_form": self._each(partial(self._closed_form, self._settings)),
            "closed_form_same_rank": self._each(partial(self._closed_form, same_rank)),
            "hypernetwork": hypernetwork,
            "random": Made({s: _random_like(u, s) for s, u in hypernetwork.updates.items()}),
        }
        if self._direct:
            made["direct"] = Made({seed: whole(update) for seed, update in self._direct.items()})
        return made

    def _each(self, way: Callable[[Lesson], LowRank]) -> Made:
        began = time.monotonic()
        updates = {seed: way(lesson) for seed, lesson in self._lessons.items()}
        seconds = (time.monotonic() - began) / len(updates)
        return Made({seed: whole(update) for seed, update in updates.items()}, seconds)

    def _closed_form(self, settings: ClosedFormSettings, lesson: Lesson) -> LowRank:
        gathered = Gathered(kept_of(lesson.rows), self._known, self._output, 0, 0)
        tasks = [str(number) for number in range(lesson.rows.trajectories)]
        return solve_for(tasks, gathered, settings, 0).update

    def _judged(self, made: Made) -> Figures:
        updates = iter(made.updates.values())
        lessons = [self._lessons[seed] for seed in made.updates]
        return judged(lessons, lambda _lesson: next(updates), self._judge, self._plain)

    def _reconstruction(self, made: Mapping[str, Made]) -> dict[str, float]:
        """Mean squared errors against the directly trained adapters, relative to their size where
        the project's keys are: 1 for no adapter at all."""
        ways = {name: made[name].updates for name in ("closed_form", "hypernetwork")}
        ways["random"] = {s: _random_like(whole(u), s) for s, u in self._direct.items()}
        return {
            name: sum(self._error(seed, updates[seed]) for seed in self._direct) / len(self._direct)
            for name, updates in ways.items()
        }

    def _error(self, seed: int, update: Tensor) -> float:
        lesson = self._lessons[seed]
        keys = torch.cat([lesson.rows.keys, lesson.asked.evidence.keys])
        return float(reconstruction(update, self._direct[seed], keys))


def _condition(made: Made, figures: Figures) -> dict[str, float | None]:
    return {
        "projects": len(made.updates),
        "seconds_per_adapter": made.seconds,
        **figures.numbers(),
    }


def _gain(made: Figures, other: Figures) -> dict[str, Any]:
    """The mean difference of the exact shares and its 95 % interval, of the same projects."""
    pairs = enumerate(zip(made.exact, other.exact, strict=True))
    gain = estimate({str(project): [one - two] for project, (one, two) in pairs})
    assert gain is not None
    return {"value": gain.value, "interval": gain.interval}


def _random_like(update: Tensor, seed: int) -> Tensor:
    """Random numbers of the same norm."""
    found = torch.randn(update.shape, generator=torch.Generator().manual_seed(seed))
    scale = float(update.norm() / found.norm())
    return found * scale


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--base", required=True, help="a base model's name or folder")
    parser.add_argument("--hypernetwork", type=Path, help="its folder, if not the base model's")
    parser.add_argument("--direct", type=Path, help="directly trained adapters; see `adapters`")
    parser.add_argument("--lessons", type=Path, help="a folder that keeps what was read")
    parser.add_argument("--projects", type=int, default=24)
    parser.add_argument("--first", type=int, default=FIRST_SEED)
    parser.add_argument("--json", type=Path, help="where the report goes; default is stdout")
    options = parser.parse_args()
    base = base_models.describe(options.base)
    network = files.read(options.hypernetwork or base.path / FOLDER)
    seeds = range(options.first, options.first + options.projects)
    with TemporaryDirectory() as scratch:
        shelf = Shelf(options.lessons or Path(scratch), base.path, Scheme(told=0))
        settings = ClosedFormSettings.model_validate(base.closed_form)
        assessment = Assessment(base.path, network, shelf, seeds, settings, options.direct)
        report = json.dumps(assessment.report(), indent=1)
    if options.json:
        options.json.write_text(report + "\n", encoding="utf-8")
    else:
        print(report)


if __name__ == "__main__":
    main()
