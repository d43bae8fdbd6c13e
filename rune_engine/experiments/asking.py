"""What is put to the model: a task, alone or after a project's sessions, as the agent loop asks.

Knows words only; nothing of models, adapters or verdicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import prompts
from rune_engine.experiments.subjects import GateTask
from rune_engine.feedback import failure_output
from rune_engine.inference.provider import ChatMessage
from rune_engine.models import Attempt, Trajectory


@dataclass(frozen=True, slots=True)
class Question:
    """A task as it is put to the model, and the folder that its code may import from."""

    subject: str
    task: GateTask
    messages: tuple[ChatMessage, ...]
    workspace: Path


def conversation(
    task: GateTask, shown: Sequence[Trajectory] = (), failed: Sequence[Attempt] = ()
) -> tuple[ChatMessage, ...]:
    """The messages that ask for `task`.

    Args:
        shown: earlier sessions of the project, oldest first; they come before the task.
        failed: attempts at this very task.
    """
    system, *asked = prompts.conversation(task.description, _told(failed))
    before = [message for trajectory in shown for message in _session(trajectory)]
    return tuple(
        ChatMessage(message["role"], message["content"])  # type: ignore[arg-type]
        for message in (system, *before, *asked)
    )


def _session(trajectory: Trajectory) -> list[dict[str, str]]:
    """A session's turns: what was asked, what failed and what that said, the code that passed."""
    *failed, last = trajectory.attempts
    _system, *turns = prompts.conversation(trajectory.task_description, _told(failed))
    answer = prompts.render("answer", code=last.generated_code)
    return [*turns, {"role": "assistant", "content": answer}]


def _told(failed: Sequence[Attempt]) -> list[tuple[str, str]]:
    return [(attempt.generated_code, failure_output(attempt)) for attempt in failed]
