"""A file of issues, as `gh issue list --state all --json number,title,body` writes it, or one JSON
object a line. Only number, title and body are read; whoever wrote them is not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rune_engine.errors import InvalidInputError
from rune_engine.mining.messages import shortened, without_people

MOST_BYTES = 64 * 1024**2


@dataclass(frozen=True, slots=True)
class Issue:
    number: int
    title: str
    body: str

    @property
    def task(self) -> str:
        return shortened(f"{self.title}\n\n{self.body}" if self.body else self.title)


def read_issues(file: Path) -> dict[int, Issue]:
    """The issues by their numbers; an entry that is none is left out.

    Raises:
        InvalidInputError: the file cannot be read, or holds no issue.
    """
    try:
        if not file.is_file() or file.stat().st_size > MOST_BYTES:
            raise ValueError(f"it is no file of at most {MOST_BYTES // 1024**2} MiB")
        text = file.read_text(encoding="utf-8-sig")
        found = {issue.number: issue for issue in filter(None, map(_issue, _entries(text)))}
    except (OSError, ValueError, RecursionError) as error:
        raise _unusable(file, str(error)) from None
    if not found:
        raise _unusable(file, "it has no object with `number` and `title`")
    return found


def _entries(text: str) -> Iterator[Any]:
    try:
        whole = json.loads(text)
    except ValueError:
        yield from _lines(text)
        return
    yield from whole if isinstance(whole, list) else [whole]


def _lines(text: str) -> Iterator[Any]:
    for line in text.splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def _issue(entry: Any) -> Issue | None:
    if not isinstance(entry, dict):
        return None
    number, title, body = entry.get("number"), entry.get("title"), entry.get("body")
    if isinstance(number, bool) or not isinstance(number, int) or not isinstance(title, str):
        return None
    clean = without_people(body.replace("\r\n", "\n")) if isinstance(body, str) else ""
    title = without_people(title.replace("\n", " "))
    return Issue(number, title, clean) if title else None


def _unusable(file: Path, why: str) -> InvalidInputError:
    return InvalidInputError(
        f"{str(file)[:300]} cannot be used as issues: {why[:300]}.",
        next_step="`gh issue list --state all --limit 1000 --json number,title,body` writes one.",
    )
