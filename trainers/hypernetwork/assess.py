"""Assess a hypernetwork on projects that nothing was trained on (S22).

    python -m trainers.hypernetwork.assess --base base_models/rune-nano --json report.json

Exact answers of held-out tasks by the base model alone, the closed form, the hypernetwork, and
directly trained adapters where `--direct` names a folder of them; how near the hypernetwork's
adapters come to those, and how near a random adapter of the same norm; how much the adapters of
different projects differ.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import base_models
from base_models.hypernetworks import FOLDER
from trainers.closed_form.known import Known
from trainers.closed_form.statistics import LowRank
from trainers.hypernetwork import files
from trainers.hypernetwork import network as networks
from trainers.hypernetwork.adapters import direct_update
from trainers.hypernetwork.judging import distilled, judged, whole
from trainers.hypernetwork.lessons import Lesson, Scheme
from trainers.hypernetwork.network import Hypernetwork
from trainers.hypernetwork.objective import Judge, reconstruction
from trainers.hypernetwork.settings import HypernetworkSettings
from trainers.hypernetwork.shelf import Shelf

FIRST_SEED = 3_000_000
"""Projects of the evaluation split from here on; a training is judged on others."""


class Assessment:
    """A hypernetwork, and the projects that it is assessed on."""

    def __init__(
        self,
        base: Path,
        network: Hypernetwork,
        shelf: Shelf,
        seeds: Sequence[int],
        direct: Path | None,
    ) -> None:
        self._judge = Judge.load(base, shelf.shape)
        self._plain = shelf.plain(0, 128)
        self._lessons = {seed: shelf.lesson(seed, "evaluation") for seed in seeds}
        self._network = network
        self._closed_form = closed_form_like(network.settings, shelf.known())
        found = {
            seed: direct_update(direct, "evaluation", seed, shelf.shape.target)
            for seed in (seeds if direct else ())
            if direct
        }
        self._direct = {seed: update for seed, update in found.items() if update is not None}

    def report(self) -> dict[str, Any]:
        """Everything, JSON-ready."""
        return {
            "projects": len(self._lessons),
            "base_model_id": self._network.settings.base_model_id,
            "kind": self._network.settings.kind,
            "conditions": {
                name: self._condition(made) for name, made in self._conditions().items()
            },
            "reconstruction": self._reconstruction() if self._direct else None,
        }

    def _conditions(self) -> dict[str, dict[int, Tensor]]:
        """Each project's update, by the way that it was made."""
        settings = self._network.settings
        nothing = torch.zeros(settings.outputs, settings.width)
        ways: dict[str, Callable[[Lesson], Tensor]] = {
            "base": lambda _lesson: nothing,
            "closed_form": distilled(self._closed_form.distill),
            "hypernetwork": distilled(self._network.distill),
        }
        made = {
            name: {seed: way(lesson) for seed, lesson in self._lessons.items()}
            for name, way in ways.items()
        }
        if self._direct:
            made["direct"] = {seed: whole(update) for seed, update in self._direct.items()}
        made["random"] = {
            seed: _random_like(update, seed) for seed, update in made["hypernetwork"].items()
        }
        return made

    def _condition(self, made: dict[int, Tensor]) -> dict[str, float]:
        updates = iter(made.values())
        lessons = [self._lessons[seed] for seed in made]
        figures = judged(lessons, lambda _lesson: next(updates), self._judge, self._plain)
        return {"projects": len(made), **figures.numbers(), **self._seconds(made)}

    def _seconds(self, made: dict[int, Tensor]) -> dict[str, float]:
        return {}

    def _reconstruction(self) -> dict[str, float]:
        """Mean relative squared errors against the directly trained adapters, 1 for no adapter."""
        ours, closed, random = [], [], []
        for seed, wanted in self._direct.items():
            lesson = self._lessons[seed]
            keys = torch.cat([lesson.rows.keys, lesson.asked.evidence.keys])
            made = whole(self._network.distill(lesson.rows))
            closed_form = whole(self._closed_form.distill(lesson.rows))
            ours.append(_error(made, wanted, keys))
            closed.append(_error(closed_form, wanted, keys))
            random.append(_error(_random_like(whole(wanted), seed), wanted, keys))
        return {
            "projects": len(ours),
            "hypernetwork": sum(ours) / len(ours),
            "closed_form": sum(closed) / len(closed),
            "random": sum(random) / len(random),
        }
