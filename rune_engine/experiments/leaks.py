"""Whether anything that is asked was taught, or seen when the base model was trained.

001 says that more than 15 points of gain should be doubted; these checks run whatever the gain is.
Knows subjects, trajectories and files; nothing of answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from project_worlds import split_of
from rune_engine.experiments.adapters import Made
from rune_engine.experiments.recording import Taught
from rune_engine.experiments.subjects import NEW_WORDINGS, GateTask
from rune_engine.models import Trajectory

DOUBTFUL_GAIN = 0.15
_REHEARSAL = "rehearsal.jsonl"
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must not be; `found` are the first examples of it."""

    title: str
    looked_at: int
    count: int
    found: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        return self.count == 0


def check_everything(
    taught: Sequence[Taught], used: Mapping[str, Mapping[str, Made]], base: Path
) -> list[Check]:
    """Every check.

    Args:
        used: by condition, the adapter that each subject was asked with.
        base: the base model's folder.
    """
    return [
        descriptions(taught),
        solutions(taught),
        combinations_taught(taught),
        wordings(taught),
        adapters_lessons(taught, used),
        own_adapters(used),
        names_kept_back(taught),
        names_in_rehearsal(taught, base),
    ]


def descriptions(taught: Sequence[Taught]) -> Check:
    """Held-out tasks that some trajectory asks, of whichever project."""
    known = {_plain(t.task_description) for each in taught for t in each.trajectories}
    tasks = [task for each in taught for task in each.subject.tasks]
    return _check(
        "a held-out task's description stands in a trajectory",
        len(tasks),
        (task.key for task in tasks if _plain(task.description) in known),
    )


def solutions(taught: Sequence[Taught]) -> Check:
    """Held-out solutions that were attempted in a session; but for new wordings.

    A new wording asks for what was done before in words that were not: there the code may be known.
    """
    pairs = [(each, task) for each in taught for task in _combined(each)]
    known = {
        each.subject.name: {_plain(a.generated_code) for t in each.trajectories for a in t.attempts}
        for each in taught
    }
    return _check(
        "a held-out solution stands in a trajectory of its project",
        len(pairs),
        (task.key for each, task in pairs if _plain(task.solution) in known[each.subject.name]),
    )


def combinations_taught(taught: Sequence[Taught]) -> Check:
    """New combinations that a session of their project had."""
    pairs = [(each, task) for each in taught for task in _combined(each) if task.operations]
    return _check(
        "a new combination was recorded",
        len(pairs),
        (
            task.key
            for each, task in pairs
            if task.operations in {lesson.operations for lesson in each.subject.lessons}
        ),
    )


def wordings(taught: Sequence[Taught]) -> Check:
    """New wordings of which a session of their project used a phrase."""
    pairs = [
        (each, task) for each in taught for task in each.subject.tasks if task.kind == NEW_WORDINGS
    ]
    return _check(
        "a new wording was recorded",
        len(pairs),
        (
            task.key
            for each, task in pairs
            if {p for lesson in each.subject.lessons for p in lesson.phrases} & set(task.phrases)
        ),
    )


def adapters_lessons(taught: Sequence[Taught], used: Mapping[str, Mapping[str, Made]]) -> Check:
    """Held-out tasks among what an adapter's trainer was really given."""
    asked = {_plain(task.description) for each in taught for task in each.subject.tasks}
    made = {each.ref.id: each for adapters in used.values() for each in adapters.values()}
    found = (
        f"{name}: {trajectory.id}"
        for name, each in made.items()
        for trajectory in each.learnt_from()
        if _asks(trajectory, asked)
    )
    return _check("an adapter was made from a held-out task", len(made), found)


def own_adapters(used: Mapping[str, Mapping[str, Made]]) -> Check:
    """Adapters that learnt from another project than they are used on; from the same, where wrong
    ones are wanted."""
    pairs = [(name, s, made) for name, each in used.items() for s, made in each.items()]
    return _check(
        "a project was asked with an adapter that is not what its condition says",
        len(pairs),
        (
            f"{condition}: {made.ref.id} on {subject}"
            for condition, subject, made in pairs
            if ({t.project_id for t in made.learnt_from()} == {subject})
            is (condition == "wrong_project")
        ),
    )


def names_kept_back(taught: Sequence[Taught]) -> Check:
    """Words of the projects that base models may have been trained on."""
    words = [word for each in taught for name in each.subject.names for word in name.split("_")]
    return _check(
        "a name's word belongs to the split that base models are trained on",
        len(words),
        (word for word in words if split_of(word) != "evaluation"),
    )


def names_in_rehearsal(taught: Sequence[Taught], base: Path) -> Check:
    """Names of the projects in what stands beside the base model for trainers to rehearse."""
    file = base / _REHEARSAL
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    words = set(re.findall(r"\w+", text))
    names = [name for each in taught for name in each.subject.names]
    return _check(
        "a name of a project stands in the base model's rehearsal",
        len(names),
        (name for name in names if name in words),
    )


def _combined(each: Taught) -> list[GateTask]:
    return [task for task in each.subject.tasks if task.kind != NEW_WORDINGS]


def _asks(trajectory: Trajectory, asked: set[str]) -> bool:
    return _plain(trajectory.task_description) in asked


def _plain(text: str) -> str:
    """Without what does not count: case and white space."""
    return " ".join(text.lower().split())


def _check(title: str, looked_at: int, found: Iterable[str]) -> Check:
    every = list(found)
    return Check(title, looked_at, len(every), tuple(every[:_SHOWN]))
