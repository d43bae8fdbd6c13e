"""A change to somebody's file: shown as a diff, written whole or not at all, undone to the byte.

What a file was before is kept beside it, in `NAME.before-rune`. If only our change has happened
since, undoing it puts that back; otherwise our entries alone are taken out. Knows nothing of what
is in the files.
"""

from __future__ import annotations

import difflib
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rune_engine.durable import write_file
from rune_engine.errors import ConflictError, HomeNotWritableError, InvalidInputError
from rune_engine.setup.edits import Edit

_MARK = "\ufeff"  # some editors on Windows begin a file with it


@dataclass(frozen=True)
class Change:
    """From `before` to `after`; None where there is no file."""

    path: Path
    before: str | None
    after: str | None
    keep: bool
    """Whether what is there now is to be kept as the backup."""

    @property
    def is_empty(self) -> bool:
        return self.before == self.after

    @property
    def backup(self) -> Path:
        """Where what the file was before is kept."""
        return _backup_of(self.path)

    def diff(self) -> str:
        """The change as a unified diff; empty if nothing changes."""
        old = (self.before or "").splitlines(keepends=True)
        new = (self.after or "").splitlines(keepends=True)
        was = str(self.path) if self.before is not None else "/dev/null"
        becomes = str(self.path) if self.after is not None else "/dev/null"
        lines = difflib.unified_diff(old, new, was, becomes, n=2)
        return "".join(line if line.endswith("\n") else line + "\n" for line in lines)

    def apply(self) -> None:
        """Do it.

        Raises:
            ConflictError: the file is no longer what the change was made for.
            HomeNotWritableError: it cannot be written; it is as it was.
        """
        if self.is_empty:
            return
        path = self.path.resolve()  # a link, as managers of such files make them, stays one
        if _text_of(path) != self.before:
            raise ConflictError(
                f"{self.path} has just been changed by somebody else.",
                next_step="Close that program, and run `rune setup` again.",
            )
        try:
            self._write(path)
        except OSError as error:
            raise HomeNotWritableError(
                f"{self.path} cannot be written: {error.strerror or error}. It is as it was.",
                next_step="Make it writable, then run `rune setup` again.",
            ) from error

    def _write(self, path: Path) -> None:
        mode = stat.S_IMODE(path.stat().st_mode) if self.before is not None else 0o600
        if self.keep and self.before is not None:
            write_file(self.backup, self.before, mode)
        if self.after is None:
            path.unlink()
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_file(path, self.after, mode)
        if not self.keep and _text_of(self.backup) == self.after:
            self.backup.unlink()


def adding(path: Path, edit: Edit) -> Change:
    """The change that puts our entries into the file.

    Raises:
        InvalidInputError: it cannot be read as what it should be; it stays as it is.
        ConflictError: an entry of our name is somebody else's.
    """
    text = _text_of(path)
    try:
        mark, plain = _split(text or "")
        after = mark + edit.with_ours(plain)
        known = _has_ours(edit, plain)
    except ValueError as error:
        raise _unreadable(path, error) from error
    return Change(path, text, after, keep=not known or not _backup_of(path).exists())


def removing(path: Path, edit: Edit) -> Change:
    """The change that takes our entries out of the file, and nothing else.

    Raises:
        InvalidInputError: it cannot be read as what it should be; it stays as it is.
    """
    text = _text_of(path)
    if text is None:
        return Change(path, None, None, keep=False)
    old = _text_of(_backup_of(path))
    if _is_only_ours(edit, text, old):
        return Change(path, text, old, keep=False)
    try:
        mark, plain = _split(text)
        after = mark + edit.without_ours(plain, _split(old or "")[1])
    except ValueError as error:
        raise _unreadable(path, error) from error
    return Change(path, text, after, keep=False)


def _is_only_ours(edit: Edit, text: str, old: str | None) -> bool:
    """Whether the file is exactly what our change made of what it was."""
    mark, plain = _split(old or "")
    with suppress(ValueError, ConflictError):
        return mark + edit.with_ours(plain) == text and not _has_ours(edit, plain)
    return False


def _has_ours(edit: Edit, text: str) -> bool:
    return bool(text.strip()) and edit.without_ours(text, text) != text


def _split(text: str) -> tuple[str, str]:
    return (_MARK, text[1:]) if text.startswith(_MARK) else ("", text)


def _text_of(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise _unreadable(path, error) from error
    except OSError as error:
        raise InvalidInputError(
            f"{path} cannot be read: {error.strerror or error}.",
            next_step="Make it readable, then run `rune setup` again.",
        ) from error


def _backup_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.before-rune")


def _unreadable(path: Path, error: ValueError) -> InvalidInputError:
    return InvalidInputError(
        f"{path} cannot be read as it is, and was left so. {error}",
        next_step="Correct it by hand, then run `rune setup` again.",
    )
