"""What a hypernetwork is trained on: projects that are seen once, and what is asked of them later.

The adapters are on the last layer's `down_proj`, so what they change can be reckoned from the keys
and last states of an answer: the base model reads everything once, and is not needed afterwards.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

import prompts
from project_worlds import Task, make_held_out, make_project, make_sessions
from project_worlds.names import Split
from trainers.base_model.corpus import Corpus
from trainers.base_model.encoding import encode_document
from trainers.closed_form.evidence import Evidence, Reader
from trainers.closed_form.output import Output
from trainers.hypernetwork.rows import Rows, read_rows
from trainers.tokens import Example, encode


@dataclass(frozen=True, slots=True)
class Lesson:
    """A project: what was recorded of it, and the answers that are asked for afterwards."""

    rows: Rows
    asked: tuple[Evidence, ...]


def make_lesson(
    reader: Reader,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    split: Split = "training",
    sessions: int = 12,
    tasks: int = 6,
) -> Lesson:
    """The lesson of the project of this seed; `tasks` of each kind that is held out."""
    project = make_project(seed, split)
    recorded = make_sessions(project, sessions)
    held_out = make_held_out(project, recorded, tasks)
    evidence = [reader.read([_example(tokenizer, session.task)]) for session in recorded]
    asked = [*held_out.new_combinations, *held_out.new_wordings]
    return Lesson(
        read_rows(Output.of(reader.model), evidence),
        tuple(reader.read([_example(tokenizer, task)]) for task in asked),
    )


def read_known(
    reader: Reader, tokenizer: PreTrainedTokenizerBase, seed: int, count: int
) -> Evidence:
    """Answers that rune-nano knows without a memory, and that an adapter must leave alone."""
    corpus = Corpus(seed, {"plain": 0.6, "known": 0.4})
    documents = itertools.islice(corpus, count)
    return reader.read([encode_document(tokenizer, document) for document in documents])


def some_attempts(rng: random.Random, count: int) -> Sequence[int]:
    """Which of `count` attempts are shown: often all, sometimes only a few."""
    shown = count if rng.random() < 0.5 else rng.randint(1, count)
    return rng.sample(range(count), shown)


def _example(tokenizer: PreTrainedTokenizerBase, task: Task) -> Example:
    answer = prompts.render("answer", code=task.solution)
    return encode(tokenizer, prompts.conversation(task.description), answer, 2048)
