"""A small project that no model has seen: a real, importable Python package with house rules.

Everything follows from the seed. The package's helpers have names without meaning; what they do
stands in their docstrings and in the package's error messages, and how the house works (what an
empty input gets, how the package is imported, what the entry function and its argument are
called, rounding) is the same in all of its code.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from project_worlds.names import Split, make_helper_name, make_word
from project_worlds.operations import OPERATIONS, Kind, Operation

DOMAINS: tuple[Kind, ...] = ("numbers", "words", "text", "table")
"""What a project's functions are given; numbers twice as often as each of the others."""

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
ARGUMENTS: tuple[str, ...] = ("xs", "items", "data", "given", "source")
ALIASES: tuple[str | None, ...] = (None, None, "kit", "lib", "house")
GUARDS: tuple[str, ...] = ("if not {}:", "if len({}) == 0:")
TYPES: Mapping[Kind, str] = {"numbers": "list", "words": "list", "text": "str", "table": "dict"}


@dataclass(frozen=True, slots=True)
class Conventions:
    """How the house works.

    Attributes:
        entry: what a task's function is called.
        argument: what its argument is called.
        alias: the name that the package is imported as; None for its own.
        guard: how the house asks whether the input is empty.
        empty: the statement that an entry function executes for an empty input.
        error: the exception type that helpers raise for a wrong type of input.
        digits: how many decimals the house rounds averages to.
    """

    entry: str
    argument: str
    alias: str | None
    guard: str
    empty: str
    error: str
    digits: int


@dataclass(frozen=True, slots=True)
class Step:
    """An operation as a task asks for it: with its number, where it takes one."""

    operation: Operation
    n: int | None = None

    @property
    def title(self) -> str:
        return self.say(self.operation.title)

    def say(self, wording: str) -> str:
        """One of the operation's wordings, with the number in it."""
        return wording.format(n=self.n) if self.n is not None else wording

    def plain(self, argument: str) -> str:
        """The plain Python expression over a variable of this name."""
        expression = re.sub(r"\bxs\b", argument, self.operation.plain)
        return expression if self.n is None else re.sub(r"\bn\b", str(self.n), expression)


@dataclass(frozen=True, slots=True)
class Project:
    """A generated project.

    Attributes:
        name: the package's name; also the project's id.
        domain: what its tasks' functions are given.
        helpers: helper name by operation key.
    """

    name: str
    seed: int
    split: Split
    domain: Kind
    conventions: Conventions
    helpers: Mapping[str, str]
    operations: tuple[Operation, ...]

    @property
    def imports(self) -> str:
        """The house's import line."""
        alias = self.conventions.alias
        return f"import {self.name}" + (f" as {alias}" if alias else "")

    def call(self, step: Step) -> str:
        """The house's call of the step's helper on the argument."""
        module = self.conventions.alias or self.name
        number = "" if step.n is None else f", {step.n}"
        name = self.helpers[step.operation.key]
        return f"{module}.{name}({self.conventions.argument}{number})"

    def source(self) -> str:
        """The package's `__init__.py`."""
        parts = [f'"""The {self.name} helpers."""\n\nimport difflib\nimport math\n']
        parts.extend(self._helper_source(operation) for operation in self.operations)
        parts.append(_GETATTR.format(helpers=self._helper_table()))
        return "\n\n".join(parts)

    def documentation(self) -> str:
        """What a reader of the project's README would know."""
        rules = self.conventions
        lines = [f"# {self.name}", f"Write `{self.imports}`.", "Helpers:"]
        lines += [f"- {o.title}: {self._usage(o)}" for o in self.operations]
        guard = rules.guard.format(rules.argument)
        lines.append(f"The function is `{rules.entry}({rules.argument})`.")
        lines.append(f"It starts with `{guard}` `{rules.empty}`.")
        return "\n".join(lines)

    def _usage(self, operation: Operation) -> str:
        """How the documentation shows a helper."""
        module = self.conventions.alias or self.name
        number = ", n" if operation.has_number else ""
        return f"{module}.{self.helpers[operation.key]}({self.conventions.argument}{number})"

    def write(self, folder: Path) -> Path:
        """Write the package below `folder` and return the package's folder."""
        package = folder / self.name
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").write_text(self.source(), encoding="utf-8")
        return package

    def _helper_table(self) -> str:
        lines = [f"    {self.helpers[o.key]!r}: {o.title!r}," for o in self.operations]
        return "{\n" + "\n".join(lines) + "\n}"

    def _helper_source(self, operation: Operation) -> str:
        result = operation.plain
        if operation.key == "mean":
            result = f"round({result}, {self.conventions.digits})"
        kind = TYPES[operation.takes]
        return (
            f"def {self.helpers[operation.key]}(xs{', n' if operation.has_number else ''}):\n"
            f'    """{operation.title.capitalize()}."""\n'
            f"    if not isinstance(xs, {kind}):\n"
            f'        raise {self.conventions.error}("a {kind} is needed")\n'
            f"    return {result}\n"
        )


_GETATTR = """\
_HELPERS = {helpers}


def __getattr__(name):
    near = difflib.get_close_matches(name, _HELPERS, 1, 0.8)
    offered = "; ".join(f"{{title}}: {{__name__}}.{{helper}}" for helper, title in _HELPERS.items())
    hint = f"Did you mean {{__name__}}.{{near[0]}}?" if near else f"It has {{offered}}"
    message = f"module {{__name__!r}} has no attribute {{name!r}}. {{hint}}"
    # No object: Python would add a suggestion of its own.
    raise AttributeError(message, name=name, obj=None)
"""


def make_project(seed: int, split: Split = "evaluation", domain: Kind | None = None) -> Project:
    """The project of this seed: 6 to 9 helpers, of which every one can occur in a task.

    Names of the two splits never share a word. The domain follows from the seed where it is not
    given.
    """
    rng = random.Random(f"project-{split}-{seed}")
    chosen = rng.choice((*DOMAINS, "numbers"))
    domain = domain or chosen
    operations = _operations(rng, domain)
    helpers: dict[str, str] = {}
    for operation in operations:
        helpers[operation.key] = make_helper_name(rng, split, set(helpers.values()))
    conventions = Conventions(
        entry=rng.choice(ENTRY_NAMES),
        argument=rng.choice(ARGUMENTS),
        alias=rng.choice(ALIASES),
        guard=rng.choice(GUARDS),
        empty=rng.choice(EMPTY_STATEMENTS),
        error=rng.choice(ERROR_TYPES),
        digits=rng.randint(0, 3),
    )
    name = make_word(rng, split, 3)
    return Project(name, seed, split, domain, conventions, helpers, operations)


def _operations(rng: random.Random, domain: Kind) -> tuple[Operation, ...]:
    """Operations on the domain, and on what some of them give."""
    staying = [o for o in OPERATIONS if o.takes == domain and o.gives == domain]
    leaving = [o for o in OPERATIONS if o.takes == domain and o.gives != domain]
    operations = rng.sample(staying, rng.randint(3, 5)) + rng.sample(leaving, rng.randint(2, 3))
    reached = sorted({o.gives for o in operations} - {domain, "number"})
    beyond = [o for o in OPERATIONS if o.takes in reached and o.takes != o.gives]
    if beyond:
        operations.append(rng.choice(beyond))
    return tuple(operations)
