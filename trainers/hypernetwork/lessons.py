"""What a hypernetwork is trained on: projects that are seen once, and what is asked of them later.

The adapters are on the last layer's `down_proj`, so what they change can be reckoned from the keys
and last states of an answer: the base model reads everything once, and is not needed afterwards.
A project's sessions become trajectories, and those become rows, as in a distillation.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from transformers import PreTrainedTokenizerBase

import prompts
from project_worlds import Project, Session, Task, make_held_out, make_project, make_sessions
from project_worlds.mistakes import failure
from project_worlds.names import Split
from rune_engine.models import Attempt, Trajectory
from trainers import dataset
from trainers.base_model.corpus import ABILITIES, Corpus
from trainers.base_model.encoding import encode_document
from trainers.closed_form.evidence import Evidence, Reader
from trainers.closed_form.kept import Kept
from trainers.closed_form.output import Output
from trainers.closed_form.settings import ClosedFormSettings
from trainers.hypernetwork.rows import Rows, rows_of
from trainers.hypernetwork.teacher import Teacher, Told
from trainers.tokens import Example, encode


@dataclass(frozen=True, slots=True)
class Asked:
    """Answers that are asked for after the sessions.

    Attributes:
        evidence: rows of all of them.
        answers: which answer each row is of, ascending, [rows].
        told: what the base model says with the sessions in its prompt, if it was asked.
    """

    evidence: Evidence
    answers: torch.Tensor
    told: Told | None = None


@dataclass(frozen=True, slots=True)
class Lesson:
    """A project: what was recorded of it, and the answers that are asked for afterwards."""

    rows: Rows
    asked: Asked


@dataclass(frozen=True, slots=True)
class Scheme:
    """How lessons are made.

    Attributes:
        sessions: recorded of each project.
        tasks: asked of each kind that is held out.
        told: of the likeliest tokens that the base model says with the sessions in its prompt;
            with 0 it is not asked.
    """

    sessions: int = 12
    tasks: int = 6
    told: int = 16


class LessonMaker:
    """A base model that reads projects.

    Args:
        longest: tokens that it can read at once.
    """

    def __init__(
        self, reader: Reader, tokenizer: PreTrainedTokenizerBase, longest: int, scheme: Scheme
    ) -> None:
        self._reader = reader
        self._output = Output.of(reader.model)
        self._tokenizer = tokenizer
        self._longest = longest
        self._max_length = min(longest, ClosedFormSettings().max_length)
        self._scheme = scheme

    def make(self, seed: int, split: Split = "meta_training") -> Lesson:
        """The lesson of the project of this seed."""
        project, recorded, asked = world_of(seed, split, self._scheme)
        kept = [self._kept(each) for each in trajectories_of(project, recorded)]
        evidence = [self._reader.read([self._example(task)]) for task in asked]
        answers = [torch.full((len(each),), number) for number, each in enumerate(evidence)]
        told = None
        if self._scheme.told:
            teacher = Teacher(self._reader.model, self._tokenizer, self._longest)
            shown = [session.task for session in recorded]
            told = teacher.tell(shown, asked, self._scheme.told)
        return Lesson(
            rows_of(self._output, kept),
            Asked(Evidence.joined(evidence), torch.cat(answers), told),
        )

    def _kept(self, trajectory: Trajectory) -> Kept:
        examples = dataset.examples_of(trajectory, self._tokenizer, self._max_length)
        evidence = self._reader.read(examples)
        return Kept.of(evidence, self._output.values(evidence))

    def _example(self, task: Task) -> Example:
        answer = prompts.render("answer", code=task.solution)
        messages = prompts.conversation(task.description)
        return encode(self._tokenizer, messages, answer, self._max_length)


def world_of(
    seed: int, split: Split, scheme: Scheme
) -> tuple[Project, Sequence[Session], list[Task]]:
    """A project, its sessions, and what is asked afterwards: combinations first, then wordings."""
    project = make_project(seed, split)
    recorded = make_sessions(project, scheme.sessions)
    held_out = make_held_out(project, recorded, scheme.tasks)
    return project, recorded, [*held_out.new_combinations, *held_out.new_wordings]


def trajectories_of(project: Project, recorded: Sequence[Session]) -> list[Trajectory]:
    """The sessions as an agent would have recorded them, with what failed attempts had printed."""
    return [_trajectory(project, session, number) for number, session in enumerate(recorded)]


def _trajectory(project: Project, session: Session, number: int) -> Trajectory:
    *failed, last = session.attempts
    wrong = [
        Attempt(
            generated_code=code,
            stderr=failure(project, code, session.task.tests) or "",
            tests_passed=False,
        )
        for code in failed
    ]
    return Trajectory(
        id=f"t{number}",
        session_id=f"s{number}",
        content_hash=f"{number:064x}",
        created_at="2026-01-01T00:00:00Z",
        project_id=project.name,
        task_description=session.task.description,
        outcome="success",
        attempts=[*wrong, Attempt(generated_code=last, tests_passed=True)],
    )


def read_plain(
    reader: Reader, tokenizer: PreTrainedTokenizerBase, seed: int, count: int
) -> Evidence:
    """Answers that need no memory, and that an adapter must leave alone."""
    corpus = Corpus(seed, ABILITIES)
    documents = itertools.islice(corpus, count)
    return reader.read([encode_document(tokenizer, document) for document in documents])


def shown_and_asked(
    rng: random.Random, seed: int, split: Split, scheme: Scheme
) -> tuple[list[int], list[int]]:
    """Which trajectories of a lesson are shown, often all and sometimes a few, and which of its
    answers can be known from them: those whose every operation occurs in one."""
    sessions, asked = _operations(seed, split, scheme)
    for _ in range(_TRIES):
        count = len(sessions) if rng.random() < 0.5 else rng.randint(1, len(sessions))
        shown = rng.sample(range(len(sessions)), count)
        seen = frozenset[str]().union(*(sessions[number] for number in shown))
        known = [number for number, needed in enumerate(asked) if needed <= seen]
        if known:
            return shown, known
    return list(range(len(sessions))), list(range(len(asked)))


_TRIES = 20


@lru_cache(maxsize=4096)
def _operations(
    seed: int, split: Split, scheme: Scheme
) -> tuple[list[frozenset[str]], list[frozenset[str]]]:
    """Those of a project's sessions, and those of what is asked of it."""
    _, recorded, asked = world_of(seed, split, scheme)
    tasks = [session.task for session in recorded]
    sessions, questions = (
        [frozenset(task.combination) for task in group] for group in (tasks, asked)
    )
    return sessions, questions
