"""What a shell command does, from its words alone: looks, changes files, runs tests, or just runs.

Nothing is ever executed. A command that cannot be taken apart just runs. Knows no session.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from rune_engine.capture.steps import Edit

Kind = Literal["look", "run", "test", "change"]
"""`change`: the working tree is not what it was, by other means than an edit."""

_LONGEST = 200_000
_HEREDOC = re.compile(
    r"^(?P<head>[^\n]*?<<-?[ \t]*(?P<quote>['\"]?)(?P<tag>\w+)(?P=quote)[^\n]*)\n"
    r"(?P<body>.*?)^[ \t]*(?P=tag)[ \t]*$",
    re.M | re.S,
)
_REDIRECTION = re.compile(r"(?<![0-9&<>])(>>?)\s*([^\s;&|<>]+)")
_TEE = re.compile(r"\btee\s+(-a\s+)?([^\s;&|<>-][^\s;&|<>]*)")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.S)
_OPERATORS = frozenset("();<>|&\n")
_WRAPPERS = frozenset(
    {"env", "sudo", "time", "nice", "nohup", "command", "exec", "xvfb-run", "npx", "bunx",
     "timeout", "stdbuf", "ionice", "unbuffer"}
)  # fmt: skip
_RUNNERS = frozenset({"uv", "poetry", "pipenv", "hatch", "pdm", "rye", "pixi", "conda", "bundle"})
_LOOKS = frozenset(
    {"ls", "cat", "head", "tail", "less", "more", "grep", "egrep", "rg", "find", "fd", "pwd", "cd",
     "wc", "file", "stat", "tree", "which", "type", "echo", "printf", "open", "goto", "scroll_up",
     "scroll_down", "search_dir", "search_file", "find_file", "nl", "diff", "du", "df", "env",
     "date", "whoami", "id", "ps", "jq", "sort", "uniq", "cut", "awk", "sed", "true", "sleep",
     "submit", "test", "[", "export", "set", "source", "."}
)  # fmt: skip
_GIT_LOOKS = frozenset(
    {"status", "log", "diff", "show", "branch", "blame", "remote", "rev-parse", "ls-files", "grep",
     "config", "describe", "reflog"}
)  # fmt: skip
_GIT_CHANGES = frozenset(
    {"checkout", "restore", "reset", "stash", "revert", "apply", "cherry-pick", "merge", "rebase",
     "pull", "am", "clean", "switch"}
)  # fmt: skip
_TEST_PROGRAMS = frozenset(
    {"pytest", "py.test", "tox", "nox", "nosetests", "nose2", "jest", "vitest", "mocha", "ava",
     "rspec", "phpunit", "ctest", "bats", "behave", "cypress", "karma", "pest"}
)  # fmt: skip
_TEST_MODULES = frozenset({"pytest", "unittest", "nose2", "tox", "nox", "doctest"})
_TEST_COMMANDS = {
    "go": {"test"}, "cargo": {"test", "nextest"}, "mvn": {"test", "verify"}, "npm": {"test", "t"},
    "yarn": {"test"}, "pnpm": {"test", "t"}, "bun": {"test"}, "deno": {"test"}, "mix": {"test"},
    "dotnet": {"test"}, "swift": {"test"}, "make": {"test", "check", "tests"}, "rake": {"test"},
    "gradle": {"test", "check"}, "gradlew": {"test", "check"}, "mvnw": {"test", "verify"},
    "just": {"test"}, "rails": {"test"}, "stack": {"test"}, "cabal": {"test"}, "sbt": {"test"},
    "bazel": {"test"}, "meson": {"test"}, "zig": {"test"}, "django-admin": {"test"},
    "composer": {"test"}, "node": {"--test"},
}  # fmt: skip
_NO_RUN = frozenset(
    {"--version", "--help", "-h", "-V", "--collect-only", "--co", "--fixtures", "--markers",
     "--listTests", "--no-run", "--list", "-n=0", "--dry-run"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ShellReading:
    """What a command line does.

    Args:
        kind: the most telling of its parts: a test before a change before a run before a look.
        edits: the files that it writes, as far as their text is in the command.
        removed: the files that it removes.
        decisive: whether the exit code of the whole is that of the tests.
    """

    kind: Kind
    edits: tuple[Edit, ...] = ()
    removed: tuple[str, ...] = ()
    decisive: bool = False


@dataclass(frozen=True, slots=True)
class _Part:
    """One simple command, and the operators around it."""

    words: tuple[str, ...]
    before: str
    after: str


@lru_cache(maxsize=512)
def read_command(command: str) -> ShellReading:
    """What `command` does, as far as its words tell."""
    if len(command) > _LONGEST:
        return ShellReading("run")
    edits = list(_heredoc_edits(command))
    parts = _parts(_HEREDOC.sub(lambda found: found["head"] + "\n", command))
    if parts is None:
        return ShellReading("change" if edits else "run", tuple(edits))
    edits += [edit for part in parts for edit in _written(part, command)]
    removed = tuple(word for part in parts for word in _removed(part))
    kinds = [_kind(part.words) for part in parts]
    kind = _strongest(kinds)
    if kind in ("look", "run") and any(_patches(part.words) for part in parts):
        kind = "change"
    return ShellReading(kind, tuple(edits), removed, _is_decisive(parts, kinds))


def _strongest(kinds: Sequence[Kind]) -> Kind:
    order: tuple[Kind, ...] = ("test", "change", "run")
    return next((kind for kind in order if kind in kinds), "look")


def _parts(command: str) -> list[_Part] | None:
    """The simple commands of a line; None when it cannot be taken apart."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="();<>|&\n")
    lexer.whitespace = " \t\r"
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        tokens = list(lexer)
    except ValueError:
        return None
    found: list[_Part] = []
    words: list[str] = []
    before = ""
    for token in [*tokens, ";"]:
        if not _is_operator(token) or token[0] in "<>":
            words.append(token)
            continue
        if words:
            found.append(_Part(tuple(words), before, token))
            words = []
        before = token
    if found and not set(found[-1].after) - set(";\n"):  # what ends a line says nothing
        found[-1] = _Part(found[-1].words, found[-1].before, "")
    return found


def _is_operator(token: str) -> bool:
    return bool(token) and set(token) <= _OPERATORS


def _bare(words: Sequence[str]) -> list[str]:
    """The words from the program on, without what only says how it is started."""
    left = list(words)
    while left:
        word = left[0]
        if _ASSIGNMENT.fullmatch(word):
            left = left[1:]
        elif word in _RUNNERS and len(left) > 1 and left[1] in ("run", "exec"):
            left = _without_options(left[2:])
        elif word in _WRAPPERS and len(left) > 1:
            left = _without_options(left[1:])
        else:
            break
    return left


def _without_options(words: list[str]) -> list[str]:
    while words and (words[0].startswith("-") or re.fullmatch(r"\d+(\.\d+)?[smh]?", words[0])):
        words = words[1:]
    return words


def _kind(words: Sequence[str]) -> Kind:
    bare = _bare(words)
    if not bare:
        return "look"
    program = bare[0].rsplit("/", 1)[-1]
    if _is_test(program, bare[1:]):
        return "test"
    if program == "git":
        sub = next((word for word in bare[1:] if not word.startswith("-")), "")
        return "look" if sub in _GIT_LOOKS else "change" if sub in _GIT_CHANGES else "run"
    return "look" if program in _LOOKS else "run"


def _is_test(program: str, arguments: Sequence[str]) -> bool:
    if _NO_RUN.intersection(arguments):
        return False
    if program in _TEST_PROGRAMS:
        return True
    if re.fullmatch(r"(python|pypy)[\d.]*|py", program):
        return _is_python_test(arguments)
    wanted = _TEST_COMMANDS.get(program, set())
    if program == "node":
        return "--test" in arguments
    rest = [word for word in arguments if not word.startswith("-")]
    if rest[:1] == ["run"] and program in ("npm", "yarn", "pnpm", "bun"):
        return bool(rest[1:]) and rest[1].split(":")[0] == "test"
    if program in ("make", "gradle", "gradlew", "mvn", "mvnw", "just", "rake", "sbt"):
        return bool(wanted.intersection(word.rsplit(":", 1)[-1] for word in rest))
    return bool(rest) and rest[0] in wanted


def _is_python_test(arguments: Sequence[str]) -> bool:
    words = list(arguments)
    while words and words[0].startswith("-") and words[0] != "-m":
        words = words[2:] if words[0] in ("-W", "-X") else words[1:]
    if words[:1] == ["-m"]:
        return words[1:2] != [] and words[1] in _TEST_MODULES
    script = words[0].rsplit("/", 1)[-1] if words else ""
    return script in ("runtests.py", "run_tests.py") or (
        script == "manage.py" and words[1:2] == ["test"]
    )


def _is_decisive(parts: Sequence[_Part], kinds: Sequence[Kind]) -> bool:
    """Whether the last part is the tests, and its exit code is that of the line."""
    tests = [position for position, kind in enumerate(kinds) if kind == "test"]
    if not tests or tests != [len(parts) - 1]:
        return False
    last = parts[-1]
    return (last.before == "&&" or set(last.before) <= set(";\n(")) and set(last.after) <= {")"}


def _heredoc_edits(command: str) -> Iterator[Edit]:
    for found in _HEREDOC.finditer(command):
        head, body = found["head"], found["body"]
        before = re.split(r"<<", head)[0]
        program = next(iter(_bare(before.split()[-3:])), "") if before.split() else ""
        target = _REDIRECTION.search(re.sub(r"<<-?\s*\S+", " ", head)) or None
        tee = _TEE.search(head)
        if target and "cat" in before.split():
            yield _whole(target[2], body, appends=target[1] == ">>")
        elif tee:
            yield _whole(tee[2], body, appends=bool(tee[1]))
        elif program == "apply_patch" or "apply_patch" in head:
            yield from patch_edits(body)


def _whole(path: str, body: str, *, appends: bool) -> Edit:
    return Edit(path.strip("'\""), body, whole=not appends)


def _written(part: _Part, command: str) -> Iterator[Edit]:
    """What `sed -i`, and `echo` or `printf` into a file, write."""
    bare = _bare(part.words)
    if not bare:
        return
    if bare[0] in ("sed", "perl") and any(re.match(r"-\w*i", word) for word in bare[1:]):
        script = " ".join(bare)
        yield Edit(bare[-1], script, at=script)
    elif bare[0] in ("echo", "printf") and (">" in bare or ">>" in bare):
        at = next(position for position, word in enumerate(bare) if word in (">", ">>"))
        if bare[at + 1 : at + 2] and bare[at + 1] not in ("/dev/null", "/dev/stderr"):
            said = " ".join(word for word in bare[1:at] if word not in ("-e", "-n"))
            yield Edit(bare[at + 1], said + "\n", whole=bare[at] == ">")


def _removed(part: _Part) -> Iterator[str]:
    bare = _bare(part.words)
    if bare[:2] == ["git", "rm"]:
        bare = bare[1:]
    if bare[:1] == ["rm"]:
        yield from (word for word in bare[1:] if not word.startswith("-"))


def _patches(words: Sequence[str]) -> bool:
    bare = _bare(words)
    return bare[:1] in (["patch"], ["mv"], ["cp"])


def patch_edits(patch: str) -> Iterator[Edit]:
    """The edits of a patch in Codex' format: added files whole, each hunk as old and new text."""
    path, adds = "", False
    old: list[str] = []
    new: list[str] = []

    def hunk() -> Iterator[Edit]:
        if path and (old or new):
            text = "\n".join(new) + "\n"
            before = None if adds else "\n".join(old) + "\n"
            yield Edit(path, text, old=before, whole=adds)

    for line in [*patch.splitlines(), "*** End Patch"]:
        header = re.fullmatch(r"\*\*\* (Add|Update|Delete) File: (.+)", line)
        if line.startswith(("*** ", "@@")):
            yield from hunk()
            old, new = [], []
            if header:
                path, adds = header[2], header[1] == "Add"
            continue
        mark, rest = line[:1], line[1:]
        if mark in ("+", " ", ""):
            new.append(rest)
        if mark in ("-", " ", "") and not adds:
            old.append(rest)
