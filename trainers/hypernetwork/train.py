"""Train a hypernetwork for a base model.

    python -m trainers.hypernetwork.train --base base_models/rune-nano --out runs/refined

The base model reads some hundred projects once; then only the hypernetwork is run. Stopped at any
point, the same command goes on from the last checkpoint and ends in the same weights. The trained
network is left in `OUT/hypernetwork`, to be put into the base model's folder. Loss, exact answers,
norm and diversity are logged at each checkpoint, with MLflow where `--tracking` names its file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

import base_models
from base_models.hypernetworks import FOLDER
from trainers.checkpoint import Checkpoints, Snapshot
from trainers.closed_form.evidence import Evidence
from trainers.closed_form.settings import ClosedFormSettings, middle
from trainers.hypernetwork import files
from trainers.hypernetwork import network as networks
from trainers.hypernetwork.adapters import direct_update
from trainers.hypernetwork.judging import distilled, judged
from trainers.hypernetwork.lessons import Lesson, Scheme, shown_and_asked
from trainers.hypernetwork.network import Hypernetwork
from trainers.hypernetwork.objective import Judge, divergence, mean_cosine, reconstruction
from trainers.hypernetwork.plan import FIRST_SEED, Plan
from trainers.hypernetwork.settings import HypernetworkSettings
from trainers.hypernetwork.shelf import Shelf
from trainers.tracking import Training as Tracked
from trainers.tracking import track_training


class Training:
    """A run: lessons on disk, a hypernetwork, and where it stands.

    What a step does follows from its number, the plan and the weights alone.

    Args:
        direct: a folder of directly trained adapters, see `adapters`.
    """

    def __init__(
        self,
        base: Path,
        out: Path,
        shelf: Shelf,
        settings: HypernetworkSettings,
        plan: Plan,
        direct: Path | None = None,
    ) -> None:
        self._out, self._plan, self._shelf, self._direct = out, plan, shelf, direct
        self._judge = Judge.load(base, shelf.shape)
        self._plain = shelf.plain(plan.seed, plan.plain)
        torch.manual_seed(plan.seed)
        self.network: Hypernetwork = networks.make(settings, shelf.known())
        self._optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.01
        )
        inputs = json.dumps(
            [shelf.identity, settings.model_dump_json(), plan.model_dump_json(), str(direct)]
        )
        digest = hashlib.sha256(inputs.encode()).hexdigest()
        self._checkpoints = Checkpoints(out / "checkpoints", digest, 0.0)
        self._step, self._diversity = 0, math.inf
        self.run_id: str | None = None
        self._resume()

    def run(self, tracked: Tracked, tell: Callable[[dict[str, float]], None]) -> None:
        """Train to the end, or until diversity is lost."""
        self.run_id = tracked.run_id
        self._prepare(tell)
        began = time.monotonic()
        if self._step == 0:
            self._check({}, tracked, tell)
        while self._step < self._plan.steps and self._is_diverse():
            parts = self._train(self._step)
            self._step += 1
            if self._step % self._plan.check_every == 0 or self._step == self._plan.steps:
                parts["seconds"] = time.monotonic() - began
                self._check(parts, tracked, tell)
        files.write(self.network.eval(), self._out / FOLDER, self._shelf.identity)

    def _is_diverse(self) -> bool:
        """Whether its adapters differ; an untrained network's need not yet."""
        return self._diversity >= self._plan.least_diversity

    def _prepare(self, tell: Callable[[dict[str, float]], None]) -> None:
        """Make the lessons that are not on disk yet, and let the base model go."""
        plan, began = self._plan, time.monotonic()
        for number in range(plan.projects):
            self._shelf.lesson(FIRST_SEED + number)
        for number in range(plan.judged):
            self._shelf.lesson(FIRST_SEED + number, "evaluation")
        self._shelf.close()
        tell({"lessons": plan.projects + plan.judged, "seconds": time.monotonic() - began})

    # --- a step ----------------------------------------------------------------------------------

    def _train(self, step: int) -> dict[str, float]:
        for group in self._optimizer.param_groups:
            group["lr"] = self._plan.rate_at(step)
        self.network.train()
        rng = random.Random(f"hypernetwork-{self._plan.seed}-{step}")
        updates, terms = [], []
        for number in rng.sample(range(self._plan.projects), self._plan.together):
            update, lost = self._lost(FIRST_SEED + number, rng)
            updates.append(update)
            terms.append(lost)
        terms.append({"alike": len(terms) * mean_cosine(updates).clamp(min=0)})
        weights = {"next": 1.0, **self._plan.model_dump(include=_WEIGHTED)}
        parts = {
            name: torch.stack([lost[name] for lost in terms if name in lost]).sum()
            / self._plan.together
            for name in {name for lost in terms for name in lost}
        }
        total = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return {f"training_{name}": float(part.detach()) for name, part in parts.items()}

    def _lost(self, seed: int, rng: random.Random) -> tuple[Tensor, dict[str, Tensor]]:
        """The update of some of a lesson's trajectories, and what each loss says of it."""
        lesson = self._shelf.lesson(seed)
        shown, known = shown_and_asked(rng, seed, "meta_training", self._shelf.scheme)
        update = self.network(lesson.rows.of_chunks(shown))
        logits = self._judge.logits(lesson.asked.evidence, update)
        asked = torch.isin(lesson.asked.answers, torch.tensor(known))
        lost = {
            "next": F.cross_entropy(logits[asked], lesson.asked.evidence.tokens[asked]),
            "drift": self._judge.drift(self._some_plain(rng), update),
        }
        if len(shown) == lesson.rows.trajectories:  # the teacher has seen them all
            lost |= self._taught(seed, lesson, update, logits)
        return update, lost

    def _taught(
        self, seed: int, lesson: Lesson, update: Tensor, logits: Tensor
    ) -> dict[str, Tensor]:
        lost = {}
        if self._plan.context and lesson.asked.told is not None:
            lost["context"] = divergence(lesson.asked.told, logits)
        if self._plan.reconstruct and self._direct is not None:
            target = self._shelf.shape.target
            wanted = direct_update(self._direct, "meta_training", seed, target)
            if wanted is not None:
                keys = torch.cat([lesson.rows.keys, lesson.asked.evidence.keys])
                lost["reconstruct"] = reconstruction(update, wanted, keys)
        return lost

    def _some_plain(self, rng: random.Random) -> Evidence:
        count = min(self._plan.plain_rows, len(self._plain))
        chosen = torch.tensor(rng.sample(range(len(self._plain)), count))
        plain = self._plain
        return Evidence(plain.keys[chosen], plain.states[chosen], plain.tokens[chosen])

    # --- checkpoints -----------------------------------------------------------------------------

    def _check(
        self,
        parts: dict[str, float],
        tracked: Tracked,
        tell: Callable[[dict[str, float]], None],
    ) -> None:
        """Judge, log and save."""
        self.network.eval()
        lessons = (
            self._shelf.lesson(FIRST_SEED + number, "evaluation")
            for number in range(self._plan.judged)
        )
        figures = judged(lessons, distilled(self.network.distill), self._judge, self._plain)
        numbers = {**parts, **figures.numbers()}
        tell({"step": self._step, **numbers})
        tracked.log(self._step, numbers)
        if self._step:
            self._diversity = figures.cosine_diversity
        self._checkpoints.save(self._snapshot())

    def _snapshot(self) -> Snapshot:
        weights = {f"weights.{n}": p.detach() for n, p in self.network.named_parameters()}
        state = {
            f"optimizer.{index}.{name}": torch.as_tensor(value)
            for index, values in self._optimizer.state_dict()["state"].items()
            for name, value in values.items()
        }
        numbers = {"step": self._step, "diversity": self._diversity, "run_id": self.run_id}
        return Snapshot(weights | state, numbers)

    def _resume(self) -> None:
        saved = self._checkpoints.latest()
        if saved is None:
            return
        with torch.no_grad():
            for name, parameter in self.network.named_parameters():
                parameter.copy_(saved.tensors[f"weights.{name}"])
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in saved.tensors.items():
            if key.startswith("optimizer."):
                _, index, name = key.split(".", 2)
                state.setdefault(int(index), {})[name] = value
        self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": state})
        self._step, self._diversity = int(saved.numbers["step"]), saved.numbers["diversity"]
        self.run_id = saved.numbers["run_id"]


_WEIGHTED = {"context", "drift", "alike", "reconstruct"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--base", required=True, help="a base model's name or folder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--lessons", type=Path, help="a folder that trainings may share")
    parser.add_argument("--direct", type=Path, help="directly trained adapters; see `adapters`")
    parser.add_argument("--tracking", type=Path, help="MLflow's SQLite file")
    parser.add_argument("--kind", choices=("refined", "scratch"), default="refined")
    parser.add_argument("--encoder", default="perceiver")
    parser.add_argument("--heads-kind", choices=("ranks", "pointers", "rows"), default="rows")
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--hidden", type=int, default=192)
    for name, value in Plan().model_dump().items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    options = parser.parse_args()
    base = base_models.describe(options.base)
    plan = Plan.model_validate({name: getattr(options, name) for name in Plan.model_fields})
    scheme = Scheme() if plan.context else Scheme(told=0)
    shelf = Shelf(options.lessons or options.out / "lessons", base.path, scheme)
    closed_form = ClosedFormSettings.model_validate(base.closed_form)
    settings = HypernetworkSettings(
        kind=options.kind,
        base_model_id=base.id,
        targets=(shelf.shape.target,),
        width=shelf.shape.width,
        outputs=shelf.shape.hidden,
        epsilon=shelf.shape.epsilon,
        known=len(shelf.known().rows),
        encoder=options.encoder,
        latents=options.rank if options.kind == "scratch" else 64,
        hidden=options.hidden,
        heads_kind=options.heads_kind,
        rank=options.rank,
        ridge=middle(closed_form.ridges),
        strength=middle(closed_form.strengths),
    )
    training = Training(base.path, options.out, shelf, settings, plan, options.direct)
    told = {**settings.model_dump(), **plan.model_dump()}
    with track_training(options.tracking, told, training.run_id) as tracked:
        training.run(tracked, lambda numbers: print(json.dumps(numbers), flush=True))


if __name__ == "__main__":
    main()
