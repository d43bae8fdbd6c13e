"""From steps to trajectories: which edits and commands belong to which task, and how it went.

A task is a prompt that led to edits. An attempt is edits and the commands that were run on them;
the next edit begins another. The last run of tests decides the outcome, and without one, or with
edits after it, the outcome is unknown. Knows no format and no database.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rune_engine.capture.shell import ShellReading, read_command
from rune_engine.capture.steps import Command, Edit, Prompt, Session
from rune_engine.capture.verdicts import tests_passed
from rune_engine.models import MAX_ATTEMPTS_PER_TRAJECTORY, Attempt, Outcome

MAX_TASKS = 500
MAX_PROMPT_CHARS = 20_000
MAX_CODE_CHARS = 200_000
MAX_OUTPUT_CHARS = 32_000

_Work = Edit | Command


@dataclass(frozen=True, slots=True)
class Task:
    """One task of a session.

    Args:
        number: its place in the session, from 0.
        closed: whether nothing that follows in the session can add to it.
    """

    number: int
    description: str
    attempts: tuple[Attempt, ...]
    outcome: Outcome
    cwd: str | None
    closed: bool

    @property
    def fingerprint(self) -> str:
        """sha256 of what happened; the same when it is read again."""
        parts = [self.description, self.outcome]
        for one in self.attempts:
            parts += (one.generated_code, one.stdout, one.stderr)
            parts.append(f"{one.exit_code} {one.tests_passed}")
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(slots=True)
class _Turn:
    prompts: list[Prompt]
    work: list[_Work]

    @property
    def edits(self) -> bool:
        return any(isinstance(step, Edit) or read_command(step.text).edits for step in self.work)

    @property
    def runs(self) -> bool:
        return any(
            isinstance(s, Command) and read_command(s.text).kind != "look" for s in self.work
        )


def tasks_of(session: Session) -> list[Task]:
    """The tasks of a session, in order; turns that changed nothing are no tasks.

    A later turn without an edit adds its runs to the task before it.
    """
    turns: list[_Turn] = []
    waiting: list[Prompt] = []
    for turn in _turns(session):
        if turn.edits:
            prompts = [*waiting, *turn.prompts] if not turns else turn.prompts
            turns.append(_Turn(prompts, turn.work))
        elif not turns:
            waiting += turn.prompts
        elif turn.runs:
            turns[-1].work += turn.work
    made = (_task(n, turn, session, n < len(turns) - 1) for n, turn in enumerate(turns[:MAX_TASKS]))
    return [task for task in made if task is not None]


def _turns(session: Session) -> Iterator[_Turn]:
    turn = _Turn([], [])
    for step in session.steps:
        if not isinstance(step, Prompt):
            turn.work.append(step)
            continue
        if turn.work:
            yield turn
            turn = _Turn([], [])
        turn.prompts.append(step)
    yield turn


def _task(number: int, turn: _Turn, session: Session, followed: bool) -> Task | None:
    description = "\n\n".join(clean(prompt.text).strip() for prompt in turn.prompts)
    if not description.strip():
        return None
    made = _attempts(turn.work)
    if not made.attempts or any(len(a.generated_code) > MAX_CODE_CHARS for a in made.attempts):
        return None
    folders = [prompt.cwd for prompt in turn.prompts if prompt.cwd]
    return Task(
        number=number,
        description=shortened(description, MAX_PROMPT_CHARS),
        attempts=tuple(made.attempts[-MAX_ATTEMPTS_PER_TRAJECTORY:]),
        outcome=made.outcome,
        cwd=folders[-1] if folders else session.cwd,
        closed=followed,
    )


@dataclass(frozen=True, slots=True)
class _Made:
    attempts: list[Attempt]
    outcome: Outcome


class _Files:
    """What a task has written so far: pieces of text by file, in the order of the edits."""

    def __init__(self) -> None:
        self._pieces: dict[str, list[tuple[str | None, str]]] = {}

    def apply(self, edit: Edit) -> None:
        pieces = self._pieces.setdefault(edit.path, [])
        if edit.whole:
            pieces[:] = [(None, edit.new)]
            return
        for place, (at, text) in enumerate(pieces):
            if edit.old and edit.old in text:
                pieces[place] = (at, text.replace(edit.old, edit.new, 1))
                return
            if edit.at is not None and edit.at == at:
                pieces[place] = (at, edit.new)
                return
        pieces.append((edit.at, edit.new))

    def remove(self, path: str) -> None:
        name = path.removeprefix("./")
        for known in [
            known for known in self._pieces if known == name or known.endswith("/" + name)
        ]:
            del self._pieces[known]

    def with_refused(self, edit: Edit) -> str:
        """The text as it would have been."""
        return self._spelled({**self._pieces, edit.path: [(None, edit.new)]})

    def text(self) -> str:
        return self._spelled(self._pieces)

    @staticmethod
    def _spelled(files: dict[str, list[tuple[str | None, str]]]) -> str:
        """A single file as it is; several each under a line with its path."""
        texts = {
            path: "\n".join(text.rstrip("\n") for _, text in pieces if text.strip()) + "\n"
            for path, pieces in files.items()
        }
        texts = {path: text for path, text in texts.items() if text.strip()}
        if len(texts) == 1:
            return clean(next(iter(texts.values())))
        return clean("\n".join(f"# file: {path}\n{text}" for path, text in texts.items()))


def _attempts(work: Sequence[_Work]) -> _Made:
    """The attempts of one task, and what its last run of tests says."""
    files, attempts = _Files(), list[Attempt]()
    runs: list[Command] = []
    open_edits, evidence = False, None  # evidence: of the last run of tests, gone with a change

    def close() -> None:
        if open_edits:
            attempts.append(_attempt(files.text(), runs))
        runs.clear()

    for step in work:
        shell = read_command(step.text) if isinstance(step, Command) else None
        edits = [step] if isinstance(step, Edit) else _applied(step, shell)
        for edit in edits:
            if edit.refused is not None:
                close()
                open_edits = False
                attempts.append(_refused(files.with_refused(edit), edit))
                continue
            if runs:
                close()
                open_edits = False
            files.apply(edit)
            open_edits, evidence = True, None
        if isinstance(step, Command) and shell is not None:
            for path in shell.removed:
                files.remove(path)
            if shell.kind == "change":
                evidence = None
            elif _is_test(step):
                evidence = (tests_passed(step, decisive=shell.decisive),)
            if shell.kind != "look" and open_edits:
                runs.append(step)
    close()
    return _judged(attempts, evidence[0] if evidence else None)


def _judged(attempts: list[Attempt], passed: bool | None) -> _Made:
    """The outcome; an attempt whose verdict no longer holds at the end is left without one."""
    if attempts and passed is not None and attempts[-1].tests_passed is passed:
        return _Made(attempts, "success" if passed else "exhausted")
    if attempts and attempts[-1].tests_passed is not None:
        attempts[-1] = attempts[-1].model_copy(update={"tests_passed": None})
    return _Made(attempts, "unknown")


def _is_test(run: Command) -> bool:
    """By its words, or because the program that it runs checks itself."""
    kind = read_command(run.text).kind
    return kind == "test" or (kind == "run" and run.checks)


def _applied(step: Command, shell: ShellReading | None) -> tuple[Edit, ...]:
    """The edits of a command, unless it failed and did nothing else."""
    if shell is None or (step.exit_code and shell.kind in ("look", "change")):
        return ()
    return shell.edits


def _attempt(code: str, runs: Iterable[Command]) -> Attempt:
    runs = list(runs)
    judged = [run for run in runs if _is_test(run)]
    last = judged[-1] if judged else runs[-1] if runs else None
    decisive = bool(judged) and read_command(judged[-1].text).decisive
    return Attempt(
        generated_code=code,
        stdout=shortened(clean("\n".join(_shown(run) for run in runs)), MAX_OUTPUT_CHARS),
        stderr=shortened(clean("\n".join(r.stderr for r in runs if r.stderr)), MAX_OUTPUT_CHARS),
        exit_code=last.exit_code if last else None,
        tests_passed=tests_passed(judged[-1], decisive=decisive) if judged else None,
    )


def _refused(code: str, edit: Edit) -> Attempt:
    """An edit that the agent's tool did not accept: no tests were run on it."""
    return Attempt(
        generated_code=code, stderr=shortened(clean(edit.refused or ""), MAX_OUTPUT_CHARS)
    )


def _shown(run: Command) -> str:
    """A command and its output, as a terminal shows them."""
    return f"$ {run.text.strip()}\n{run.stdout}".rstrip("\n")


def clean(text: str) -> str:
    """The text with what cannot be stored replaced: NUL, and halves of surrogate pairs."""
    return text.replace("\0", "�").encode("utf-8", "replace").decode("utf-8")


def shortened(text: str, limit: int) -> str:
    """The text, or its beginning and its end with a line between that says how much is left out."""
    if len(text) <= limit:
        return text
    mark = f"\n[... {len(text) - limit} characters left out ...]\n"
    return text[: limit // 3] + mark + text[-(limit - limit // 3) :]
