"""What of one commit is worth having: its message as a task, and what it changed as units.

A reading of the repository that gives the same whenever it is done again. Knows no sandbox.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rune_engine.mining import messages, paths, units
from rune_engine.mining.issues import Issue
from rune_engine.mining.messages import Message
from rune_engine.mining.repository import Change, Repository
from rune_engine.mining.units import Unit

ROOT = "has no parent"
TOO_BROAD = "changes too much at once"
NO_UNIT = "changes nothing that could be learned"
UNREADABLE = "git cannot read it"

MOST_FILES, MOST_UNITS = 20, 6
UNREADABLE_FILE = "too large, missing, or not UTF-8"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of source that changed; `before` is None for a new one."""

    path: str
    before: str | None
    after: str


@dataclass(frozen=True, slots=True)
class Target:
    """One unit that a commit changed in one file."""

    path: str
    unit: Unit

    @property
    def key(self) -> str:
        return f"{self.path}\0{self.unit.name}"


@dataclass(frozen=True, slots=True)
class MinedCommit:
    """A commit that asked for something, and what it changed for it."""

    id: str
    parent: str
    message: Message
    files: tuple[SourceFile, ...]
    tests: tuple[str, ...]
    targets: tuple[Target, ...]
    issue: Issue | None = None

    def task(self, target: Target) -> str:
        """What was asked for, and where: two units of one commit are two tasks."""
        asked = self.issue.task if self.issue is not None else self.message.task
        unit = target.unit
        where = f"the {unit.kind} `{unit.name}`" if unit.name else "the whole file"
        return f"{asked}\n\nIn {target.path}: {where}."


@dataclass
class Skipped:
    """How much was left out, by its reason."""

    commits: Counter[str] = field(default_factory=Counter)
    files: Counter[str] = field(default_factory=Counter)
    units: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Rules:
    """What is wanted: files by their globs, and the issues that are known."""

    globs: Sequence[str] = ()
    issues: Mapping[int, Issue] = field(default_factory=dict)


class History:
    """Reads commits of one repository; what one of them says of others is remembered."""

    def __init__(self, repository: Repository, rules: Rules) -> None:
        self._repository = repository
        self._rules = rules
        self._numbers = frozenset(rules.issues)
        self._undone: set[str] = set()

    def read(self, commit_id: str, skipped: Skipped) -> MinedCommit | None:
        """The commit, or None; what was left out of it is added to `skipped`."""
        found = self._read(commit_id, skipped)
        if isinstance(found, str):
            skipped.commits[found] += 1
            return None
        return found

    def _read(self, commit_id: str, skipped: Skipped) -> MinedCommit | str:
        commit = self._repository.commit(commit_id)
        if commit is None:
            return UNREADABLE
        if len(commit.parents) != 1:
            return messages.MERGE if commit.parents else ROOT
        self._undone.update(messages.undone_by(commit.message))
        if any(commit_id.startswith(undone) for undone in self._undone):
            return "reverted later"
        message = messages.read(commit.message, known_issues=self._numbers)
        if isinstance(message, str):
            return message
        [parent] = commit.parents
        changes = self._repository.changes(parent, commit_id)
        if changes is None:
            return UNREADABLE
        files = self._sources(changes, skipped)
        if files is None:
            return TOO_BROAD
        targets = _targets(files, skipped)
        if not targets:
            return NO_UNIT
        if len(targets) > MOST_UNITS:
            return TOO_BROAD
        tests = tuple(c.path for c in changes if c.new is not None and paths.is_test_file(c.path))
        issue = next((i for i in map(self._rules.issues.get, message.issues) if i), None)
        return MinedCommit(commit_id, parent, message, tuple(files), tests, tuple(targets), issue)

    def _sources(self, changes: Sequence[Change], skipped: Skipped) -> list[SourceFile] | None:
        """The files of source; None when there are too many for one thing that was asked."""
        wanted = []
        for change in changes:
            reason = paths.kind_of(change.path, self._rules.globs)
            if reason is None and change.new is None:
                reason = "deleted, or no regular file"
            if reason is not None:
                skipped.files[reason] += 1
            else:
                wanted.append(change)
        if len(wanted) > MOST_FILES:
            return None
        found = []
        for change in wanted:
            read = self._source(change)
            if isinstance(read, str):
                skipped.files[read] += 1
            else:
                found.append(read)
        return found

    def _source(self, change: Change) -> SourceFile | str:
        assert change.new is not None
        after = self._repository.text(change.new)
        before = self._repository.text(change.old) if change.old and change.status != "A" else None
        if after is None or (before is None and change.status in "MR"):
            return UNREADABLE_FILE
        if paths.is_generated(after):
            return paths.GENERATED
        return SourceFile(change.path, before, after)


def _targets(files: Sequence[SourceFile], skipped: Skipped) -> list[Target]:
    found = []
    for file in files:
        taken, left = units.changed_units(file.before, file.after)
        found += [Target(file.path, unit) for unit in taken]
        skipped.units.update(left)
    return found
