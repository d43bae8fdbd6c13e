"""Whether a merge of two adapters helps: beside both of them, and beside distilling all at once.

    python -m benchmarks.merging_quality --projects 24 --direct 4 --work FOLDER

Unseen generated projects; of each, one adapter of every other session and one of the others, every
merge of the two, and what both halves teach together. All are asked the same held-out tasks, once
and greedily, and the sandbox runs what they answer. Everything found out is kept in the work
folder: a run that was ended goes on from there. Writes `docs/assessments/merging.md`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.merging_figures import assessment, figures_of
from benchmarks.merging_ways import HALVES, WAYS, Made, Workshop
from rune_engine.config import load_config
from rune_engine.experiments.base import Base, find_base
from rune_engine.experiments.conditions import Asker
from rune_engine.experiments.recording import Taught, record
from rune_engine.experiments.sampling import Answered, Draws, Sampler
from rune_engine.experiments.settings import GateSettings
from rune_engine.experiments.subjects import world_subject
from rune_engine.inference.factory import create_provider
from rune_engine.inference.provider import InferenceProvider
from rune_engine.sandbox import Sandbox

SEED = 250
"""Of the worlds: no other benchmark and no gate uses them."""
DOCUMENT = Path("docs", "assessments", "merging.md")
BASE = "base"


@dataclass(frozen=True, slots=True)
class Kind:
    """What came of the adapters of one kind of parents.

    Attributes:
        answered: by the adapter's name: "A", "B", "together", or a way's.
        made: the same adapters, by name and project.
    """

    answered: dict[str, list[Answered]] = field(default_factory=dict)
    made: dict[str, dict[str, Made]] = field(default_factory=dict)


class Run:
    """One run: makes the adapters and asks them."""

    def __init__(self, taught: Sequence[Taught], asker: Asker, workshop: Workshop) -> None:
        self._taught = taught
        self._asker = asker
        self._workshop = workshop

    async def base(self) -> list[Answered]:
        """The base model alone."""
        return await self._asker.alone()

    async def kind(self, kind: str, projects: int) -> Kind:
        """Every adapter of the first so many projects, with parents of one kind."""
        found = Kind()
        for each in self._taught[:projects]:
            for name, made in self._of_project(kind, each).items():
                found.made.setdefault(name, {})[each.subject.name] = made
            _say(f"{kind}: adapters of {each.subject.name}")
        for name, by_project in found.made.items():
            refs = {project: made.ref for project, made in by_project.items()}
            found.answered[name] = await self._asker.alone(refs, only=list(refs))
            _say(f"{kind}: asked {name}")
        return found

    def _of_project(self, kind: str, taught: Taught) -> dict[str, Made]:
        halves = {half: self._workshop.parent(kind, taught, half) for half in HALVES}
        parents = list(halves.values())
        merges = {way.name: self._workshop.merged(way, taught, parents) for way in WAYS}
        return {**halves, "together": self._workshop.together(kind, taught, parents), **merges}


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


async def measure(options: argparse.Namespace, work: Path) -> dict[str, object]:
    """Everything, as figures."""
    config = load_config(home=work / "home", base_model=options.base)
    base, sandbox = find_base(options.base, config), Sandbox(config.sandbox)
    provider = create_provider(options.base, config)
    sampler = _sampler(base, provider, sandbox, work)
    settings = GateSettings(
        base=options.base, sessions=options.sessions, tasks=options.tasks, plain=0
    )
    subjects = [world_subject(SEED, number, settings) for number in range(options.projects)]
    try:
        taught = await record(subjects, work, sandbox, lambda: None)
        _say(f"recorded {len(taught)} projects")
        workshop = Workshop(base, work, seed=0, threads=options.threads)
        run = Run(taught, Asker(taught, sampler, sandbox), workshop)
        wanted = {"hypernetwork": options.projects * base.hypernetwork}
        wanted |= {"closed form": options.projects, "direct": options.direct}
        alone = await run.base()
        kinds = {kind: await run.kind(kind, count) for kind, count in wanted.items() if count}
    finally:
        sampler.close()
        await provider.close()
    figures = figures_of(taught, alone, {k: (v.answered, v.made) for k, v in kinds.items()})
    asked = vars(settings_of(options))
    return figures | {"command": _command(options), "base_model": base.id, "asked": asked}


def settings_of(options: argparse.Namespace) -> argparse.Namespace:
    """What a reader has to know of a run."""
    wanted = ("base", "projects", "direct", "sessions", "tasks")
    return argparse.Namespace(**{name: getattr(options, name) for name in wanted})


def _sampler(base: Base, provider: InferenceProvider, sandbox: Sandbox, work: Path) -> Sampler:
    draws = Draws(base=base.sha256, samples=1, temperature=0.0, max_tokens=192, seed=0)
    return Sampler(provider, sandbox, draws, work)


def _command(options: argparse.Namespace) -> str:
    told: Mapping[str, object] = vars(settings_of(options))
    return "python -m benchmarks.merging_quality " + " ".join(
        f"--{name} {value}" for name, value in told.items()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--base", default="rune-nano")
    parser.add_argument("--projects", type=int, default=24)
    parser.add_argument("--direct", type=int, default=0, help="projects with trained parents, too")
    parser.add_argument("--sessions", type=int, default=12, help="of each project; half a parent")
    parser.add_argument("--tasks", type=int, default=8, help="held out, of each of two kinds")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--work", type=Path, help="keeps what was found out")
    parser.add_argument("--json", type=Path, help="where the figures are written")
    parser.add_argument("--assessment", type=Path, default=DOCUMENT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rune-merging-") as scratch:
        work = (options.work or Path(scratch)).absolute()
        work.mkdir(parents=True, exist_ok=True)
        figures = asyncio.run(measure(options, work))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    options.assessment.write_text(assessment(figures), encoding="utf-8")
    print(assessment(figures))


if __name__ == "__main__":
    main()
