"""Whose task is it? Projects by the words that their adapters were taught, in memory.

A task's text is compared with a project by the cosine of their TF-IDF vectors (Salton & Buckley
1988, "Term-weighting approaches in automatic text retrieval"), where a word's frequency is the
share of the project's tasks that have it: a word in each of them, such as the project's own name,
counts far more than one that a single task used. Common words are looked up only for projects that
the rarer ones have found. Knows no database; the words of one base model's adapters are put in.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from heapq import nlargest
from sys import intern

from rune_engine.registry.taught import Taught

MOST_POSTINGS = 1_500
"""Entries of the index that one question reads, unless its rarest word alone has more."""
MOST_COMPARED = 20


@dataclass(eq=False, slots=True)
class _Project:
    id: str
    tasks: int
    words: dict[str, int]
    adapters: frozenset[str]
    length: float = 0.0
    length_of: int = -1  # which state of the index `length` was taken in


@dataclass(frozen=True, slots=True)
class Near:
    """A project, and the cosine of its words and a text's, 0 to 1."""

    project_id: str
    nearness: float


class TextIndex:
    """Projects by their words. For one thread at a time."""

    def __init__(self) -> None:
        self._projects: dict[str, _Project] = {}
        self._having: dict[str, set[_Project]] = {}
        self._state = 0

    def __len__(self) -> int:
        """How many projects it knows."""
        return len(self._projects)

    def put(self, project_id: str, adapters: Iterable[Taught]) -> None:
        """Let a project be known by these adapters alone; by none it is not known any more."""
        self._remove(project_id)
        self._state += 1
        known = [each for each in adapters if each.tasks]
        if not known:
            return
        words: Counter[str] = Counter()
        for each in known:
            words.update({intern(word): count for word, count in each.words.items()})
        ids = frozenset(each.adapter_id for each in known)
        project = _Project(project_id, sum(each.tasks for each in known), dict(words), ids)
        self._projects[project_id] = project
        for word in project.words:
            self._having.setdefault(word, set()).add(project)

    def adapters(self, project_id: str) -> frozenset[str]:
        """The adapters that a project is known by."""
        found = self._projects.get(project_id)
        return found.adapters if found else frozenset()

    def nearest(self, words: Iterable[str], limit: int = 3) -> list[Near]:
        """The nearest projects to a text's words, the nearest first; none that shares no word."""
        weighed = sorted(((self._rarity(word), word) for word in words), reverse=True)
        length = math.sqrt(sum(rarity * rarity for rarity, _ in weighed))
        near = (
            Near(project.id, self._product(weighed, project) / (length * self._length(project)))
            for project in self._found(weighed)
        )
        return nlargest(limit, near, key=lambda each: (each.nearness, each.project_id))

    def _remove(self, project_id: str) -> None:
        project = self._projects.pop(project_id, None)
        if project is None:
            return
        for word in project.words:
            having = self._having[word]
            having.remove(project)
            if not having:
                del self._having[word]

    def _rarity(self, word: str) -> float:
        """A word's inverse document frequency, in nats; a document is a project.

        One that no project has is as rare as one that a single project has, and no rarer: in a
        small home most of any text is new.
        """
        return math.log1p(len(self._projects) / max(len(self._having.get(word, ())), 1))

    def _found(self, weighed: list[tuple[float, str]]) -> list[_Project]:
        """Those projects that share the most of the rarer words."""
        shared: dict[_Project, float] = {}
        read = 0
        for rarity, word in weighed:
            having = self._having.get(word, ())
            if read and read + len(having) > MOST_POSTINGS:
                break
            read += len(having)
            for project in having:
                more = rarity * rarity * project.words[word] / project.tasks
                shared[project] = shared.get(project, 0.0) + more
        return nlargest(MOST_COMPARED, shared, key=shared.__getitem__)

    def _product(self, weighed: list[tuple[float, str]], project: _Project) -> float:
        words, tasks = project.words, project.tasks
        return sum(
            rarity * rarity * words[word] / tasks for rarity, word in weighed if word in words
        )

    def _length(self, project: _Project) -> float:
        if project.length_of != self._state:
            squares = (
                (self._rarity(word) * count / project.tasks) ** 2
                for word, count in project.words.items()
            )
            project.length, project.length_of = math.sqrt(sum(squares)), self._state
        return project.length
