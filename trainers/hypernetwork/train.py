"""Train a hypernetwork for a base model.

    python -m trainers.hypernetwork.train --base base_models/rune-nano --out runs/refined

The base model reads some hundred projects once; then only the hypernetwork is run. Stopped at any
point, the same command goes on from the last checkpoint. Loss, norm of the update and cosine
similarity of different projects' adapters are logged with MLflow at each checkpoint, and training
stops where diversity falls under a tenth.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import base_models
from trainers.closed_form.evidence import Evidence, Reader
from trainers.hypernetwork import network as networks
from trainers.hypernetwork.lessons import make_lesson, read_known, some_attempts
from trainers.hypernetwork.network import Hypernetwork
from trainers.hypernetwork.objective import Judge, mean_cosine
from trainers.hypernetwork.settings import HypernetworkSettings

_FIRST_SEED = 2_000_000
"""Projects from here on are a hypernetwork's; those of the base model's training have others."""
_LEAST_DIVERSITY = 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    """How a run goes.

    Attributes:
        projects: that it learns from, and how many it is judged on.
        together: projects in a step.
        drift, alike: weights of known tasks' divergence and of the adapters' likeness.
    """

    projects: int = 300
    judged: int = 24
    steps: int = 3000
    together: int = 2
    rate: float = 1e-3
    drift: float = 1.0
    alike: float = 0.05
    seed: int = 0


class Training:
    """A run: lessons in memory, a hypernetwork, and where it stands."""

    def __init__(self, base: Path, out: Path, settings: HypernetworkSettings, plan: Plan) -> None:
        self._out, self._plan = out, plan
        self._rng = random.Random(plan.seed)
        torch.manual_seed(plan.seed)
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(base)
        reader = Reader(model)
        self._judge = Judge.of(model)
        self._known = read_known(reader, tokenizer, plan.seed, 128)
        known = self._known.keys.T @ self._known.keys / len(self._known)
        seeds = range(_FIRST_SEED, _FIRST_SEED + plan.projects)
        self._lessons = [make_lesson(reader, tokenizer, seed) for seed in seeds]
        self._judged = [
            make_lesson(reader, tokenizer, seed, "evaluation")
            for seed in range(_FIRST_SEED, _FIRST_SEED + plan.judged)
        ]
        self.network: Hypernetwork = networks.make(settings, known)
        self._optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.01
        )

    def run(self) -> None:
        """Train to the end, or until diversity is lost."""
        began = time.monotonic()
        print(json.dumps({"step": 0, **self.judge()}), flush=True)
        for step in range(self._plan.steps):
            for group in self._optimizer.param_groups:
                group["lr"] = self._rate(step)
            loss = self._step()
            if (step + 1) % 250 == 0:
                figures = {"step": step + 1, "training_loss": loss, **self.judge()}
                print(json.dumps(figures | {"seconds": time.monotonic() - began}), flush=True)
                networks.save(self.network, self._out)
                if 1 - figures["mean_cosine"] < _LEAST_DIVERSITY:
                    return

    def _rate(self, step: int) -> float:
        warm, left = (step + 1) / 100, (self._plan.steps - step) / (0.5 * self._plan.steps)
        return self._plan.rate * min(1.0, warm, left)

    def _step(self) -> float:
        chosen = self._rng.sample(self._lessons, self._plan.together)
        updates, losses = [], []
        for lesson in chosen:
            count = int(lesson.rows.chunks.max()) + 1
            shown = some_attempts(self._rng, count)
            update = self.network(lesson.rows.of_chunks(shown))
            updates.append(update)
            losses.append(self._judge.loss(Evidence.joined(lesson.asked), update))
        drift = sum(self._judge.drift(self._known, update) for update in updates) / len(updates)
        mean = torch.stack(losses).mean()
        alike = mean_cosine(updates).clamp(min=0)
        total = mean + self._plan.drift * drift + self._plan.alike * alike
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return float(mean.detach())

    @torch.no_grad()
    def judge(self) -> dict[str, float]:
        """On projects of the evaluation split: what its adapters, cut to their rank, do."""
        updates, right, losses, drifts = [], [], [], []
        for lesson in self._judged:
            made = self.network.distill(lesson.rows)
            update = made.b @ made.a
            updates.append(update)
            right += [self._is_right(answer, update) for answer in lesson.asked]
            losses.append(float(self._judge.loss(Evidence.joined(lesson.asked), update)))
            drifts.append(float(self._judge.drift(self._known, update)))
        return {
            "right": sum(right) / len(right),
            "loss": sum(losses) / len(losses),
            "drift": sum(drifts) / len(drifts),
            "delta_w_norm": float(torch.stack([update.norm() for update in updates]).mean()),
            "mean_cosine": float(mean_cosine(updates)),
        }

    def _is_right(self, answer: Evidence, update: torch.Tensor) -> bool:
        """Whether greedy decoding would give it: each token the likeliest after the right ones."""
        return bool((self._judge.logits(answer, update).argmax(-1) == answer.tokens).all())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--base", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kind", choices=("refined", "scratch"), default="refined")
    parser.add_argument("--encoder", default="perceiver")
    parser.add_argument("--projects", type=int, default=Plan().projects)
    parser.add_argument("--steps", type=int, default=Plan().steps)
    parser.add_argument("--rate", type=float, default=Plan().rate)
    parser.add_argument("--rank", type=int, default=32)
    options = parser.parse_args()
    base = base_models.describe(options.base)
    config = json.loads((base.path / "config.json").read_bytes())
    settings = HypernetworkSettings(
        kind=options.kind,
        base_model_id=base.id,
        width=config["intermediate_size"],
        outputs=config["hidden_size"],
        encoder=options.encoder,
        latents=options.rank if options.kind == "scratch" else 64,
        rank=options.rank,
    )
    plan = Plan(projects=options.projects, steps=options.steps, rate=options.rate)
    Training(base.path, options.out, settings, plan).run()


if __name__ == "__main__":
    main()
