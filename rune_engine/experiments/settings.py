"""What a run of the gate is asked for. Knows nothing of models or projects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rune_engine.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class GateSettings:
    """One run of the gate; with the same settings and base model it gives the same figures.

    Attributes:
        base: any name of a base model that `model_store.resolve` knows.
        seeds: of the generated worlds; each makes `projects` of them.
        sessions: recorded in each project.
        tasks: held out in each project, of each kind.
        plain: tasks in each project's turn that need no project.
        samples: answers to each task under each condition, at `temperature`.
        side_samples: at most so many of them beside the conditions: plain tasks, repair, growth
            and consolidation.
        max_tokens: of an answer.
        growth: after how many trajectories an adapter is made besides the one of all.
        growth_direct: whether direct training is tried at these, too.
        consolidated: how many projects become one adapter.
        resamples: of the bootstrap.
        seed: of the samples, the random adapters and the bootstrap.
        suite: tasks in HumanEval's format instead of generated worlds.
        suite_share: of the suite's tasks that are taught; the others are held out.
    """

    base: str = "rune-nano"
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)
    projects: int = 3
    sessions: int = 12
    tasks: int = 8
    plain: int = 8
    samples: int = 5
    side_samples: int = 2
    temperature: float = 0.2
    max_tokens: int = 192
    growth: tuple[int, ...] = (1, 3, 6)
    growth_direct: bool = False
    consolidated: int = 4
    resamples: int = 10_000
    seed: int = 0
    suite: Path | None = None
    suite_share: float = 0.5

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise InvalidInputError(
                "The gate needs seeds, each once.", next_step="Give --seeds 1 2 3 4 5."
            )
        if not 0 < self.suite_share < 1:
            raise InvalidInputError(
                f"A share of {self.suite_share} leaves nothing to teach, or nothing to ask.",
                next_step="Give a share between 0 and 1.",
            )

    def command(self) -> str:
        """The command that runs this again; paths of this machine are left out."""
        told = [f"rune experiment gate --base {Path(self.base).name or self.base}"]
        if self.suite is not None:
            told.append(f"--suite {self.suite.name} --suite-share {self.suite_share:g}")
        else:
            told.append(f"--seeds {' '.join(map(str, self.seeds))} --projects {self.projects}")
            told.append(f"--sessions {self.sessions} --tasks {self.tasks} --plain {self.plain}")
        told.append(f"--samples {self.samples} --side-samples {self.side_samples}")
        told.append(
            f"--temperature {self.temperature:g} --max-tokens {self.max_tokens} --seed {self.seed}"
        )
        told.append(f"--growth '{','.join(map(str, self.growth))}'")
        told.append(f"--consolidated {self.consolidated} --resamples {self.resamples}")
        told.append("--growth-direct" if self.growth_direct else "")
        return " ".join(part for part in told if part)
