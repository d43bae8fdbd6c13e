"""Trajectories become training examples: what was asked, what failed, and the code that passed.

The target is always code that passed its tests. A failed attempt only ever stands in the prompt,
with its error output, before the code that repaired it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from transformers import PreTrainedTokenizerBase

import prompts
from rune_engine.errors import NothingToDistillError, TrainingError
from rune_engine.feedback import failure_output
from rune_engine.models import Trajectory
from rune_engine.suspicion import teaches
from trainers.tokens import Example, encode


@dataclass(frozen=True, slots=True)
class Split:
    """Examples to train on and examples kept back; a task is never on both sides."""

    training: list[Example]
    kept_back: list[Example]
    rehearsal: list[Example] = field(default_factory=list)

    @property
    def everything(self) -> list[Example]:
        return self.training + self.kept_back


def load_trajectories(path: Path) -> list[Trajectory]:
    """Read JSON Lines of `Trajectory`.

    Raises:
        TrainingError: the file is missing or a line is not a trajectory.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [Trajectory.model_validate(json.loads(line)) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"The trajectories in {path} cannot be read: {error}",
            next_step="Start the distillation again; the engine writes this file anew.",
        ) from error


def nothing_to_distill(trajectories: Sequence[Trajectory]) -> NothingToDistillError:
    """The error for trajectories that give no example."""
    return NothingToDistillError(
        f"None of {len(trajectories)} trajectories ends in code that passed its tests.",
        next_step="Record sessions whose last attempt passed.",
    )


def examples_of(
    trajectory: Trajectory, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[Example]:
    """A trajectory's examples: solving at once, and repairing after what had failed.

    A trajectory that does not teach (`rune_engine.suspicion`) gives none.
    """
    *failed, last = trajectory.attempts
    if not teaches(trajectory):
        return []
    task, answer = trajectory.task_description, prompts.render("answer", code=last.generated_code)
    earlier = [(attempt.generated_code, failure_output(attempt)) for attempt in failed]
    histories = [[], earlier] if earlier else [[]]
    return [
        encode(tokenizer, prompts.conversation(task, history), answer, max_length)
        for history in histories
    ]


def split(
    trajectories: Sequence[Trajectory],
    tokenizer: PreTrainedTokenizerBase,
    *,
    kept_back: float,
    seed: int,
    max_length: int,
) -> Split:
    """Encode every trajectory; keep back about the share `kept_back` of the tasks.

    Which tasks are kept back follows from the seed and the task's text alone. With fewer than
    six tasks nothing is kept back: every one of them is needed.
    """
    tasks = sorted({t.task_description for t in trajectories}, key=lambda t: _rank(t, seed))
    count = round(len(tasks) * kept_back) if len(tasks) >= 6 else 0
    chosen = frozenset(tasks[:count])
    return Split(
        training=_encode(
            (t for t in trajectories if t.task_description not in chosen), tokenizer, max_length
        ),
        kept_back=_encode(
            (t for t in trajectories if t.task_description in chosen), tokenizer, max_length
        ),
    )


def load_rehearsal(
    base_model: Path, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[Example]:
    """What the base model can already do and must not lose; empty when its folder says nothing.

    `rehearsal.jsonl` holds one `{"task", "code"}` a line.
    """
    file = base_model / "rehearsal.jsonl"
    if not file.is_file():
        return []
    tasks = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [
        encode(
            tokenizer,
            prompts.conversation(task["task"]),
            prompts.render("answer", code=task["code"]),
            max_length,
        )
        for task in tasks
    ]


def _encode(
    trajectories: Iterable[Trajectory], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[Example]:
    return [e for t in trajectories for e in examples_of(t, tokenizer, max_length)]


def _rank(task: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{task}".encode()).hexdigest()
