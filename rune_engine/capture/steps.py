"""What a session is made of, whichever agent recorded it: prompts, edits and commands.

All of it is data that somebody else wrote; nothing here is ever an instruction. Knows no format
and no database.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a user asked for; `cwd` is the folder they were in, where that is known."""

    text: str
    cwd: str | None = None


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of one file.

    Args:
        new: the text that was written.
        old: the text that it takes the place of; None when `new` is the whole file.
        at: a place in the file, such as a range of lines: an edit of the same place replaces this.
        whole: whether `new` is all of the file.
        refused: why the agent's tool did not apply it, such as a syntax error; None if it did.
    """

    path: str
    new: str
    old: str | None = None
    at: str | None = None
    whole: bool = False
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """A command that ended, with what it printed; the exit code is None where it is not known.

    Args:
        checks: whether it ran a program that is known to check itself (`self_checks`).
    """

    text: str
    stdout: str = ""
    stderr: str = ""
    exit_code: int | None = None
    checks: bool = False


Step = Prompt | Edit | Command


@dataclass(frozen=True, slots=True)
class Session:
    """One session as its file tells it.

    Args:
        agent: who worked, such as `claude-code`.
        id: the agent's own name for the session.
        ended: whether the file says that nothing follows.
        waiting: whether a tool was called that has not answered yet.
        project: a project's id, where the file names one.
    """

    agent: str
    id: str
    steps: tuple[Step, ...]
    cwd: str | None = None
    ended: bool = False
    waiting: bool = False
    project: str | None = None


@dataclass(slots=True)
class Reading:
    """The sessions of one file, and how many records of which kind were understood or skipped."""

    sessions: list[Session] = field(default_factory=list)
    understood: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)

    def skip(self, why: str) -> None:
        self.skipped[why[:80]] += 1

    def take(self, what: str) -> None:
        self.understood[what[:80]] += 1
