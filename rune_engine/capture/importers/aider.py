"""aider's chat history (`.aider.chat.history.md`), with git for what was really changed.

One Markdown file a repository, many sessions in it: `# aider chat started at`, prompts as
headings, aider's own lines quoted. An edit that became a commit is taken from the commit; without
git, from the SEARCH/REPLACE blocks that aider says it applied. Commands are only there when their
output was given to the model.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from rune_engine.capture.files import read_text
from rune_engine.capture.importers.importer import Importer
from rune_engine.capture.steps import Command, Edit, Prompt, Reading, Session, Step
from rune_engine.projects import safe_git

_NAME = ".aider.chat.history.md"
_START = re.compile(r"^# aider chat started at (.+)$", re.M)
_COMMIT = re.compile(r"> Commit ([0-9a-f]{7,40}) ")
_APPLIED = re.compile(r"> Applied edit to (.+)")
_BLOCK = re.compile(
    r"^(?P<path>[^\n`<>]+)\n```[^\n]*\n<{5,9} SEARCH\n(?P<old>.*?)^={5,9}\n"
    r"(?P<new>.*?)^>{5,9} REPLACE",
    re.M | re.S,
)
_RUN = re.compile(
    r"I ran this command:\s*(?P<command>.+?)\s*And got this output:\s*(?P<out>.*)", re.S
)
_OWN = re.compile(r"^/(?!run\b|test\b)\w+")
_MOST_COMMITS = 200
_MOST_PATCH_CHARS = 400_000

Show = Callable[[str], str]
"""The patch of a commit; empty when there is none."""


def unit_of(path: Path) -> Path | None:
    return path if path.name == _NAME else None


def recognises(path: Path, head: bytes) -> bool:
    return path.name == _NAME or (path.suffix == ".md" and b"# aider chat started at" in head)


def read(path: Path) -> Reading:
    """The sessions of a history, oldest first. Raises InvalidInputError."""
    reading = Reading()
    content = read_text(path)
    shown = 0

    def show(commit: str) -> str:
        nonlocal shown
        shown += 1
        return _patch(path.parent, commit) if shown <= _MOST_COMMITS else ""

    starts = [*_START.finditer(content)]
    for position, start in enumerate(starts):
        last = position == len(starts) - 1
        end = len(content) if last else starts[position + 1].start()
        digest = hashlib.sha256(f"{path}\0{start[1]}\0{position}".encode()).hexdigest()[:24]
        steps = tuple(_steps(content[start.end() : end], show, reading))
        session = Session("aider", digest, steps, cwd=str(path.parent), ended=not last)
        reading.sessions.append(session)
        reading.take("session")
    return reading


def _steps(chat: str, show: Show, reading: Reading) -> Iterator[Step]:
    """A prompt, and what aider did on it; the history has no other order."""
    prompt: list[str] = []
    answer: list[str] = []
    for line in [*chat.splitlines(), "#### "]:
        if line.startswith("#### ") or line == "####":
            if answer:
                yield from _exchange(prompt, answer, show, reading)
                prompt, answer = [], []
            prompt.append(line[5:])
        elif line.strip() or answer:
            answer.append(line)


def _exchange(prompt: list[str], answer: list[str], show: Show, reading: Reading) -> Iterator[Step]:
    asked = "\n".join(prompt).strip()
    run = _RUN.search(asked)
    if run:
        reading.take("command")
        yield Command(run["command"].strip(), run["out"].strip())
    elif asked and not _OWN.match(asked):
        reading.take("prompt")
        yield Prompt(asked)
    said = "\n".join(answer)
    commits = _COMMIT.findall(said)
    edits = [edit for commit in commits for edit in _of_patch(show(commit))]
    if not edits:
        applied = {path.strip() for path in _APPLIED.findall(said)}
        edits = [edit for edit in _blocks(said) if edit.path in applied]
    for edit in edits:
        reading.take("edit")
        yield edit


def _blocks(said: str) -> Iterator[Edit]:
    for block in _BLOCK.finditer(said):
        old = block["old"]
        yield Edit(block["path"].strip(), block["new"], old=old or None, whole=not old.strip())


def _patch(folder: Path, commit: str) -> str:
    options = ("--format=", "--no-color", "--no-ext-diff", "--no-textconv", "--unified=3")
    return safe_git(folder, "show", *options, commit, "--")[:_MOST_PATCH_CHARS]


def _of_patch(patch: str) -> Iterator[Edit]:
    """Each hunk of a unified diff as an edit; a new file whole."""
    path, adds = "", False
    old: list[str] = []
    new: list[str] = []
    inside = False
    for line in [*patch.splitlines(), "diff "]:
        if line.startswith(("diff ", "@@")):
            if path and (old or new):
                before = None if adds else "".join(old)
                yield Edit(path, "".join(new), old=before, whole=adds)
            old, new, inside = [], [], line.startswith("@@")
            if not inside:
                path, adds = "", False
        elif not inside and line.startswith("--- "):
            adds = line == "--- /dev/null"
        elif not inside and line.startswith("+++ "):
            path = line[4:].removeprefix("b/") if line != "+++ /dev/null" else ""
        elif inside and line[:1] in ("+", " ", "-", ""):
            if line[:1] != "-":
                new.append(line[1:] + "\n")
            if line[:1] != "+":
                old.append(line[1:] + "\n")


IMPORTER = Importer("aider", unit_of, recognises, read)
