"""A small project that no model has seen: a real, importable Python package with house rules.

Everything follows from the seed. The package's helpers have names without meaning; what they do
stands in their docstrings, and how the house works (what an empty input gets, which error a wrong
input raises, rounding, how the entry function is called) is the same in all of its code.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from project_worlds.names import Split, make_helper_name, make_word
from project_worlds.operations import OPERATIONS, Operation

EMPTY_STATEMENTS: tuple[str, ...] = (
    "return None",
    "return 0",
    "return -1",
    "return []",
    'return "empty"',
    'raise ValueError("empty")',
    'raise LookupError("empty")',
    "return False",
)
ENTRY_NAMES: tuple[str, ...] = ("compute", "process", "answer", "handle", "derive", "evaluate")
ERROR_TYPES: tuple[str, ...] = ("TypeError", "ValueError", "RuntimeError")


@dataclass(frozen=True, slots=True)
class Conventions:
    """How the house works.

    Attributes:
        entry: what a task's function is called.
        empty: the statement that an entry function executes for an empty input.
        error: the exception type that helpers raise for anything but a list.
        digits: how many decimals the house rounds averages to.
    """

    entry: str
    empty: str
    error: str
    digits: int


@dataclass(frozen=True, slots=True)
class Project:
    """A generated project.

    Attributes:
        name: the package's name; also the project's id.
        helpers: helper name by operation key.
    """

    name: str
    seed: int
    split: Split
    conventions: Conventions
    helpers: Mapping[str, str]
    operations: tuple[Operation, ...]

    def source(self) -> str:
        """The package's `__init__.py`."""
        parts = [f'"""The {self.name} helpers."""\n\nimport math\n']
        parts.extend(self._helper_source(operation) for operation in self.operations)
        return "\n\n".join(parts)

    def _helper_source(self, operation: Operation) -> str:
        result = operation.plain
        if operation.key == "mean":
            result = f"round({result}, {self.conventions.digits})"
        return (
            f"def {self.helpers[operation.key]}(xs):\n"
            f'    """{operation.title.capitalize()}."""\n'
            "    if not isinstance(xs, list):\n"
            f'        raise {self.conventions.error}("a list is needed")\n'
            f"    return {result}\n"
        )

    def write(self, folder: Path) -> Path:
        """Write the package below `folder` and return the package's folder."""
        package = folder / self.name
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").write_text(self.source(), encoding="utf-8")
        return package


def make_project(seed: int, split: Split = "evaluation") -> Project:
    """The project of this seed: 5 to 8 helpers, at least two of them ending in a number.

    Names of the two splits never share a word.
    """
    rng = random.Random(f"project-{split}-{seed}")
    lists = [operation for operation in OPERATIONS if operation.result == "list"]
    numbers = [operation for operation in OPERATIONS if operation.result == "number"]
    operations = (*rng.sample(lists, rng.randint(3, 5)), *rng.sample(numbers, rng.randint(2, 3)))
    helpers: dict[str, str] = {}
    for operation in operations:
        helpers[operation.key] = make_helper_name(rng, split, set(helpers.values()))
    conventions = Conventions(
        entry=rng.choice(ENTRY_NAMES),
        empty=rng.choice(EMPTY_STATEMENTS),
        error=rng.choice(ERROR_TYPES),
        digits=rng.randint(0, 3),
    )
    name = make_word(rng, split, 3)
    return Project(name, seed, split, conventions, helpers, operations)
