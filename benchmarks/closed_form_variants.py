"""What was tried for the closed form: where it writes, which tokens count, what their values are.

    python -m benchmarks.closed_form_variants [--base rune-nano --projects 12] [--only layers gates]

Unseen projects, a dozen sessions each. An answer counts where greedy decoding would give it as it
is, which one forward pass over the right answer tells. The last line but one in each row is what
the base model could do before: plain tasks. All rows are of one run, on the same tasks.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

import base_models
import prompts
from project_worlds import Split, Task, make_plain_task
from rune_engine.models import Trajectory
from trainers import dataset
from trainers.base_model.corpus import ABILITIES, Corpus
from trainers.base_model.encoding import encode_document
from trainers.base_model.export import CLOSED_FORM
from trainers.closed_form import known
from trainers.closed_form.evidence import Evidence, Reader
from trainers.closed_form.output import Output
from trainers.closed_form.statistics import Statistics, solve
from trainers.hypernetwork.lessons import Scheme, trajectories_of, world_of
from trainers.tokens import IGNORED, Example, encode

FIRST_SEED = 650_000
LENGTH = 2048
KINDS = ("combinations", "wordings", "plain", "documented")


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to do it.

    Attributes:
        modules: that are written to, with equal shares of the strength.
        gate: how much a token counts, by its chance and whether it is of a repair.
        values: "error" (the right embedding less the predicted), "right" (the right one alone),
            "curved" (the error through the norm's curvature).
        known: what must be left alone: "own" documents of the base model, those of them that need
            "no context", the standard "library", or "nothing" but a multiple of the identity.
        failed: weight of the tokens that only failed attempts have, as what is to be unlikely.
    """

    modules: tuple[str, ...] = ("last.mlp.down_proj",)
    gate: Callable[[Tensor, Tensor], Tensor] = lambda chances, _repairs: torch.ones_like(chances)
    values: str = "error"
    known: str = "own"
    failed: float = 0.0
    ridge: float = CLOSED_FORM.ridges[0]
    strength: float = CLOSED_FORM.strengths[0]
    rank: int = CLOSED_FORM.rank


VARIANTS: dict[str, dict[str, Variant]] = {
    "as it is": {"as rune-nano ships": Variant()},
    "layers": {
        "the last but one": Variant(modules=("-2.mlp.down_proj",)),
        "the last but two": Variant(modules=("-3.mlp.down_proj",)),
        "the last but three": Variant(modules=("-4.mlp.down_proj",)),
        "the last two, half each": Variant(modules=("last.mlp.down_proj", "-2.mlp.down_proj")),
        "the last o_proj": Variant(modules=("last.self_attn.o_proj",)),
        "the last o_proj and down_proj, half each": Variant(
            modules=("last.self_attn.o_proj", "last.mlp.down_proj")
        ),
    },
    "gates": {
        "surprising tokens alone": Variant(gate=lambda chances, _: (chances < 0.5).float()),
        "tokens by how surprising": Variant(gate=lambda chances, _: 1 - chances),
        "repairs count twice": Variant(gate=lambda chances, repairs: 1 + repairs + 0 * chances),
        "without repairs": Variant(gate=lambda chances, repairs: 1 - repairs + 0 * chances),
    },
    "values": {
        "the right embedding alone": Variant(values="right"),
        "through the norm's curvature": Variant(values="curved"),
    },
    "failed attempts": {
        f"unlikely, weight {weight:g}": Variant(failed=weight) for weight in (0.25, 1.0)
    },
    "known": {
        "documents without context": Variant(known="no context"),
        "the standard library": Variant(known="library"),
        "nothing (an identity of the same size)": Variant(known="nothing"),
    },
    "ridge": {f"{ridge:g}": Variant(ridge=ridge) for ridge in (3.0, 20.0, 200.0)},
    "strength": {f"{nats:g} nats": Variant(strength=nats) for nats in (20.0, 30.0, 60.0)},
    "rank": {f"{rank}": Variant(rank=rank) for rank in (8, 16, 64, 128)},
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A project: its trajectories, and what is asked of each kind afterwards."""

    trajectories: list[Trajectory]
    combinations: list[Example]
    wordings: list[Example]


@dataclass(frozen=True, slots=True)
class Taught:
    """What a project's trajectories say at one module.

    Attributes:
        repairs: 1 where a row is of a repair, [rows].
        wrong: rows of failed attempts' tokens that the answer does not have.
    """

    evidence: Evidence
    repairs: Tensor
    wrong: Evidence


class Bench:
    """A base model, and how it does with an update."""

    def __init__(self, base: str, projects: int, tasks: int) -> None:
        folder = base_models.describe(base).path
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.model.requires_grad_(False).eval()
        self.output = Output.of(self.model)
        rng = random.Random(FIRST_SEED)
        self.plain = [self._asked(make_plain_task(rng, tested=False)) for _ in range(4 * tasks)]
        self.worlds = [self._world(FIRST_SEED + number, tasks) for number in range(projects)]
        self.documented = self._documents(77, {"documented": 1.0}, 4 * tasks, "evaluation")
        library = known._up_to(known._library(self.tokenizer), 6000)
        self._asked_known = {
            "own": self._documents(4242, ABILITIES, 400),
            "no context": self._documents(4242, {"plain": 0.6, "known": 0.4}, 400),
            "library": library,
        }
        self._known: dict[tuple[str, str], Tensor] = {}
        self._taught: dict[tuple[int, str], Taught] = {}

    def module(self, name: str) -> Any:
        """Such as `last.mlp.down_proj`, `-2.self_attn.o_proj`."""
        layer, _, path = name.partition(".")
        return self.model.model.layers[-1 if layer == "last" else int(layer)].get_submodule(path)

    # --- what is read ------------------------------------------------------------------------

    def _world(self, seed: int, tasks: int) -> Asked:
        project, recorded, asked = world_of(seed, "evaluation", Scheme(tasks=tasks, told=0))
        examples = [self._asked(task) for task in asked]
        half = len(examples) // 2
        return Asked(trajectories_of(project, recorded), examples[:half], examples[half:])

    def _asked(self, task: Task) -> Example:
        return self._answered(prompts.conversation(task.description), task.solution)

    def _answered(self, messages: Any, code: str) -> Example:
        return encode(self.tokenizer, messages, prompts.render("answer", code=code), LENGTH)

    def _documents(
        self, seed: int, shares: Mapping[str, float], count: int, split: Split = "training"
    ) -> list[Example]:
        documents = itertools.islice(Corpus(seed, shares, split), count)
        return [encode_document(self.tokenizer, document) for document in documents]

    def known(self, kind: str, module: str) -> Tensor:
        """C at a module."""
        if (kind, module) not in self._known:
            if kind == "nothing":
                own = self.known("own", module)
                found = torch.eye(len(own), dtype=own.dtype) * own.diagonal().mean()
            else:
                found = known.Known.of(self._read(module, self._asked_known[kind]).keys).mean()
            self._known[kind, module] = found
        return self._known[kind, module]

    def taught(self, number: int, module: str) -> Taught:
        """What a project's trajectories say there."""
        if (number, module) not in self._taught:
            at_once, repairs, wrong = [], [], []
            for trajectory in self.worlds[number].trajectories:
                first, *later = dataset.examples_of(trajectory, self.tokenizer, LENGTH)
                at_once.append(first)
                repairs += later
                wrong += self._wrong(trajectory)
            parts = [self._read(module, group) for group in (at_once, repairs)]
            marks = [torch.full((len(part),), float(mark)) for mark, part in enumerate(parts)]
            self._taught[number, module] = Taught(
                Evidence.joined(parts), torch.cat(marks), self._read(module, wrong)
            )
        return self._taught[number, module]

    def _wrong(self, trajectory: Trajectory) -> list[Example]:
        """Failed attempts as answers; only what the right answer does not have is looked at."""
        *failed, last = trajectory.attempts
        messages = prompts.conversation(trajectory.task_description)
        right = set(self._answered(messages, last.generated_code).ids)
        found = [self._answered(messages, attempt.generated_code) for attempt in failed]
        return [
            replace(
                example,
                labels=[IGNORED if label in right else label for label in example.labels],
            )
            for example in found
        ]

    def _read(self, module: str, examples: Sequence[Example]) -> Evidence:
        reader = Reader(self.model)
        reader._tapped = (self.module(module), self.model.model.norm)
        empty = torch.zeros(0, self.module(module).in_features)
        nothing = Evidence(
            empty, torch.zeros(0, self.model.config.hidden_size), torch.zeros(0, dtype=torch.long)
        )
        return Evidence.joined([nothing, *(reader.read([example]) for example in examples)])

    # --- what is made of it -------------------------------------------------------------------

    def update(self, variant: Variant, number: int, module: str) -> Tensor:
        """The change of a module's weight."""
        taught = self.taught(number, module)
        evidence = taught.evidence
        chances = (-self.output.losses(evidence)).exp()
        gates = variant.gate(chances, taught.repairs).unsqueeze(1).sqrt()
        sums = Statistics.of(gates * evidence.keys, gates * self.values(variant, evidence))
        if variant.failed and len(taught.wrong):
            keys, values = taught.wrong.keys, -self.values(variant, taught.wrong)
            sums = sums + Statistics.of(keys, values).scaled(variant.failed)
        strength = variant.strength / len(variant.modules) / self.output.unit(evidence)
        known_here = self.known(variant.known, module)
        found = solve(sums, known_here, variant.ridge, strength, variant.rank)
        return found.b @ found.a

    def values(self, variant: Variant, evidence: Evidence) -> Tensor:
        """How the last states should have moved."""
        if variant.values == "right":
            return self.output.embeddings(evidence.tokens) * self.model.model.norm.weight
        values = self.output.values(evidence)
        if variant.values == "curved":
            along = torch.nn.functional.normalize(evidence.states, dim=-1)
            values = values - (values * along).sum(-1, keepdim=True) * along
        return values

    # --- how it does -------------------------------------------------------------------------

    @contextmanager
    def changed(self, updates: dict[str, Tensor]) -> Iterator[None]:
        """The model with these weights moved."""
        for name, update in updates.items():
            self.module(name).weight += update
        try:
            yield
        finally:
            for name, update in updates.items():
                self.module(name).weight -= update

    @torch.inference_mode()
    def right(self, examples: Sequence[Example]) -> float:
        """The share of the answers that greedy decoding gives as they are."""
        hits = 0
        for example in examples:
            guesses = self.model(torch.tensor([example.ids])).logits[0].argmax(-1).tolist()
            pairs = zip([-1, *guesses], example.labels, strict=False)
            hits += all(label in (IGNORED, guess) for guess, label in pairs)
        return hits / len(examples)

    def measure(self, variant: Variant | None) -> dict[str, float]:
        """Means over the projects; without a variant, of the base model alone."""
        found: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for number, world in enumerate(self.worlds):
            names = variant.modules if variant else ()
            updates = {name: self.update(variant, number, name) for name in names if variant}
            with self.changed(updates):
                found["combinations"].append(self.right(world.combinations))
                found["wordings"].append(self.right(world.wordings))
                found["plain"].append(self.right(self.plain))
                found["documented"].append(self.right(self.documented))
        return {kind: sum(rates) / len(rates) for kind, rates in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--base", default="rune-nano")
    parser.add_argument("--projects", type=int, default=12)
    parser.add_argument("--tasks", type=int, default=6, help="of each kind, in each project")
    parser.add_argument("--only", nargs="*", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--json", type=Path, help="where the figures are written")
    options = parser.parse_args()
    bench = Bench(options.base, options.projects, options.tasks)
    rows = [("", "base model alone", bench.measure(None))]
    print(_line(*rows[0]), flush=True)
    for group in options.only:
        for name, variant in VARIANTS[group].items():
            rows.append((group, name, bench.measure(variant)))
            print(_line(*rows[-1]), flush=True)
    if options.json:
        told = [{"group": group, "variant": name, **figures} for group, name, figures in rows]
        options.json.write_text(json.dumps(told, indent=1), encoding="utf-8")


def _line(group: str, name: str, figures: dict[str, float]) -> str:
    told = " ".join(f"{figures[kind]:7.1%}" for kind in KINDS)
    return f"{group:<16} {name:<48} {told}"


if __name__ == "__main__":
    main()
