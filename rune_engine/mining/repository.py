"""Reads the objects of a git repository that nobody trusts, in bounded time and memory.

Only plumbing is called that reads commits, trees and blobs: no hook, filter, pager, external diff,
signature check or network protocol of the repository's own settings comes into play, and nothing is
written to it. Knows nothing of what a commit means. Who made one is not even read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from rune_engine.errors import InvalidInputError, RepositoryUnreadableError
from rune_engine.mining import git

_REGULAR = {"100644", "100755", "100664"}


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit's parents and message; nothing of who made it or when."""

    id: str
    parents: tuple[str, ...]
    message: str


@dataclass(frozen=True, slots=True)
class Change:
    """A file that a commit added ("A"), modified ("M"), deleted ("D") or renamed ("R").

    `old` and `new` are blobs, None where there is no regular file.
    """

    status: str
    path: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class TreeFile:
    """A regular file of a commit's tree; size in bytes."""

    path: str
    blob: str
    size: int


class Repository:
    """One repository while it is read; `close` ends every process. For one thread at a time."""

    def __init__(self, folder: Path, *, most_blob_bytes: int = 256 * 1024) -> None:
        self._folder = folder
        self._most = most_blob_bytes
        self._sizes: git.Batch | None = None
        self._contents: git.Batch | None = None
        self._ended = False
        self.bytes_read = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every process; what another thread still asks is answered with nothing."""
        self._ended = True
        self._drop()

    def _drop(self) -> None:
        for batch in (self._sizes, self._contents):
            if batch is not None:
                batch.close()
        self._sizes = self._contents = None

    def resolve(self, branch: str | None) -> str:
        """The commit that a branch, a tag or what is checked out (None) stands at.

        Raises:
            InvalidInputError: there is none.
            RepositoryUnreadableError: git cannot read the repository.
        """
        if self._call("rev-parse", "--git-dir") is None:
            raise RepositoryUnreadableError(
                f"{self._folder} is not a git repository that git can read.",
                next_step="Give the folder of a clone; `git status` says what is wrong with it.",
            )
        name = branch or "HEAD"
        found = self._call("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        if not found:
            raise InvalidInputError(
                f"There is no commit at {name} in {self._folder}.",
                next_step="Name a branch that `git branch -a` shows.",
            )
        return found.decode("ascii", "replace").strip()

    def newest(self, commit: str, *, limit: int, since: int | None = None) -> list[str]:
        """At most `limit` commits that lead to `commit`, newest first.

        Args:
            since: seconds since 1970; older ones are left out.
        """
        age = [] if since is None else [f"--max-age={since}"]
        listed = self._call("rev-list", f"--max-count={limit}", *age, commit, "--")
        if listed is None:
            raise RepositoryUnreadableError(
                f"git cannot list the history of {self._folder}.",
                next_step="`git fsck` says what is missing; a shallow clone can be deepened.",
            )
        return listed.decode("ascii", "replace").split()

    def commit(self, commit: str) -> Commit | None:
        """None where it is not there, is too large or is none."""
        data = self._object(commit, b"commit")
        if data is None:
            return None
        head, _, body = data.partition(b"\n\n")
        lines = head.split(b"\n")
        parents = tuple(
            line[7:].decode("ascii", "replace") for line in lines if line.startswith(b"parent ")
        )
        named = next((line[9:] for line in lines if line.startswith(b"encoding ")), b"utf-8")
        return Commit(commit, parents, _decoded(body, named.decode("ascii", "replace")))

    def changes(self, parent: str, commit: str) -> list[Change] | None:
        """What differs between two commits; None where git cannot tell, or it is far too much."""
        listed = self._call(
            "diff-tree", "-r", "-z", "--raw", "-M", "--no-ext-diff", "--no-textconv",
            "--no-abbrev", "--ignore-submodules=all", "-O/dev/null", parent, commit, "--",
        )  # fmt: skip
        return None if listed is None else _changes(listed)

    def text(self, blob: str) -> str | None:
        """A blob as text; None where it is not there, too large, or not UTF-8."""
        data = self._object(blob, b"blob")
        if data is None or b"\0" in data:
            return None
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            return None

    def files(self, commit: str) -> list[TreeFile] | None:
        """The regular files of its tree; no link, no submodule, no path that leads out of it."""
        listed = self._call("ls-tree", "-r", "-z", "-l", "--full-tree", commit)
        return None if listed is None else list(filter(None, map(_file, listed.split(b"\0"))))

    # --- how git is asked ----------------------------------------------------------------------

    def _object(self, name: str, kind: bytes) -> bytes | None:
        """Its bytes; only asked for once its size is known to be small."""
        if self._ended:
            return None
        try:
            self._sizes = self._sizes or self._batch("--batch-check")
            found = self._sizes.size(name, kind)
            if found is None or found > self._most:
                return None
            self._contents = self._contents or self._batch("--batch")
            data = self._contents.content(name)
        except (OSError, EOFError, ValueError):
            self._drop()  # an object that git dies of counts as missing; the next one may be good
            return None
        self.bytes_read += len(data or b"")
        return data

    def _batch(self, how: str) -> git.Batch:
        return git.Batch(git.command(self._folder, "cat-file", how))

    def _call(self, *arguments: str) -> bytes | None:
        return None if self._ended else git.output(self._folder, *arguments)


def _decoded(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding, "replace")
    except (LookupError, ValueError):
        return data.decode("utf-8", "replace")


def _changes(listed: bytes) -> list[Change]:
    """From `:old_mode new_mode old new status NUL path NUL [path NUL]`."""
    parts = iter(listed.split(b"\0"))
    found = []
    for head in parts:
        if not head.startswith(b":"):
            continue
        old_mode, new_mode, old, new, status = head[1:].decode("ascii", "replace").split(" ")
        path = next(parts, b"")
        if status[0] in "RC":
            path = next(parts, b"")
        name = _path(path)
        if name is not None:
            before = old if old_mode in _REGULAR else None
            after = new if new_mode in _REGULAR else None
            found.append(Change(status[0], name, before, after))
    return found


def _file(entry: bytes) -> TreeFile | None:
    head, _, path = entry.partition(b"\t")
    fields, name = head.decode("ascii", "replace").split(), _path(path)
    if name is None or len(fields) != 4 or fields[0] not in _REGULAR or not fields[3].isdigit():
        return None
    return TreeFile(name, fields[2], int(fields[3]))


def _path(data: bytes) -> str | None:
    """A path within the tree as text; None for one that leads out of it or is no plain text."""
    try:
        path = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    parts = path.split("/")
    outside = any(part in ("", ".", "..") or part.lower() == ".git" for part in parts)
    return None if outside or not path.isprintable() or len(path) > 1000 else path
