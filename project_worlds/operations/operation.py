"""What an operation is. Knows nothing of projects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["numbers", "words", "text", "table", "number"]
"""list[int], list[str], str, dict[str, int], int or float."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation on `xs`, a value of the kind it takes.

    A "{n}" in the phrases stands for a digit from 2 to 9, `n` in `plain`.

    Attributes:
        key: stable identifier.
        takes: the kind of `xs`.
        gives: the kind of the result.
        title: canonical imperative phrase.
        plain: a Python expression over `xs`, and over `n` where the title has "{n}".
        wordings: other phrases for the same thing, none equal to the title.
    """

    key: str
    takes: Kind
    gives: Kind
    title: str
    plain: str
    wordings: tuple[str, ...]

    @property
    def phrases(self) -> tuple[str, ...]:
        """Every way to ask for it, the title first."""
        return (self.title, *self.wordings)

    @property
    def has_number(self) -> bool:
        """Whether its phrases have a "{n}"."""
        return "{n}" in self.title
