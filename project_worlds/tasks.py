"""Tasks with tests and reference solutions, for a project or for none.

A project's task names the package and what to do, never a helper: which helper does it, and how
the house treats an empty input, must be known. A plain task needs no project at all.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from project_worlds.operations import OPERATIONS, Operation
from project_worlds.project import Project

_FRAMES: Mapping[int, tuple[str, ...]] = {
    1: ("{0}.", "Please {0}.", "Your job: {0}."),
    2: ("{0}, then {1}.", "First {0}; then {1}.", "{0}, and after that {1}.", "{0} and {1}."),
    3: ("{0}, then {1}, then {2}.", "First {0}; then {1}; then {2}.", "{0}, {1} and {2}."),
}


@dataclass(frozen=True, slots=True)
class Task:
    """A task.

    Attributes:
        description: what an agent is asked.
        steps: the operations, in order.
        phrases: the wording used for each step.
        solution: reference solution, a whole module.
        tests: assert-style tests that call the entry function.
        project: the project's name, or None for a plain task.
    """

    description: str
    steps: tuple[Operation, ...]
    phrases: tuple[str, ...]
    solution: str
    tests: str
    project: str | None

    @property
    def combination(self) -> tuple[str, ...]:
        """The keys of the steps, in order."""
        return tuple(step.key for step in self.steps)


def sentence(rng: random.Random, phrases: Sequence[str]) -> str:
    """One of the ways to ask for these phrases in this order."""
    text = rng.choice(_FRAMES[len(phrases)]).format(*phrases)
    return text[0].upper() + text[1:]


def _step_lines(steps: Sequence[Operation], expressions: Sequence[str]) -> list[str]:
    lines: list[str] = []
    for index, (step, expression) in enumerate(zip(steps, expressions, strict=True)):
        last = index == len(steps) - 1
        lines.append(f"    # {step.title}")
        lines.append(f"    {'return' if last else 'xs ='} {expression}")
    return lines


def project_solution(project: Project, steps: Sequence[Operation]) -> str:
    """The house's way to write these steps."""
    calls = [f"{project.name}.{project.helpers[step.key]}(xs)" for step in steps]
    lines = [
        f"import {project.name}\n",
        f"def {project.conventions.entry}(xs):",
        "    if not xs:",
        f"        {project.conventions.empty}",
        *_step_lines(steps, calls),
    ]
    return "\n".join(lines)


def plain_solution(steps: Sequence[Operation], entry: str = "solve") -> str:
    """The same steps in plain Python, as a function called `entry`."""
    lines = ["import math\n"] if any("math." in step.plain for step in steps) else []
    lines += [f"def {entry}(xs):", *_step_lines(steps, [step.plain for step in steps])]
    return "\n".join(lines)


def run_solution(code: str, entry: str, argument: list[int], project: Project | None) -> Any:
    """Run trusted, generated code of this package and return the entry function's result.

    Never give it model-written code: that is what the sandbox is for.
    """
    names: dict[str, Any] = {}
    if project is not None:
        module: dict[str, Any] = {}
        exec(project.source(), module)
        code = code.replace(f"import {project.name}\n", "").replace(f"{project.name}.", "_house_")
        names = {f"_house_{name}": module[name] for name in project.helpers.values()}
    exec(code, names)
    return names[entry](list(argument))


def _inputs(rng: random.Random, count: int) -> list[list[int]]:
    fixed = [[3, -4, 0, 6, 6, -1, 5, 2], [8, 7, -3, 7, -2, 0, 1, 4]]
    made = [[rng.randint(-9, 12) for _ in range(rng.randint(6, 9))] for _ in range(count)]
    return fixed + made


def _tests(
    rng: random.Random, code: str, entry: str, empty: str | None, project: Project | None
) -> str:
    lines: list[str] = []
    for xs in _inputs(rng, 3):
        try:
            expected = run_solution(code, entry, xs, project)
        except (ValueError, IndexError, ZeroDivisionError):
            continue  # e.g. the maximum of nothing: not a case the task defines
        lines.append(f"assert {entry}({xs!r}) == {expected!r}")
    if empty is not None and empty.startswith("return"):
        lines.append(f"assert {entry}([]) == {empty.removeprefix('return ')}")
        lines.append(f"assert type({entry}([])) is type({empty.removeprefix('return ')})")
    elif empty is not None:
        error = empty.removeprefix("raise ").split("(")[0]
        lines += ["try:", f"    {entry}([])", f"except {error}:", "    pass"]
        lines += ["else:", f'    raise AssertionError("an empty input raises {error}")']
    return "\n".join(lines) + "\n"


def make_project_task(
    project: Project,
    steps: Sequence[Operation],
    phrases: Sequence[str],
    rng: random.Random,
) -> Task:
    """A task of `project` that asks for `steps` in the words of `phrases`."""
    code = project_solution(project, steps)
    conventions = project.conventions
    return Task(
        description=f"In {project.name}: {sentence(rng, phrases)}",
        steps=tuple(steps),
        phrases=tuple(phrases),
        solution=code,
        tests=_tests(rng, code, conventions.entry, conventions.empty, project),
        project=project.name,
    )


def random_steps(
    rng: random.Random, operations: Sequence[Operation], count: int
) -> list[Operation]:
    """`count` different operations in an order that makes sense: a number comes last."""
    lists = [operation for operation in operations if operation.result == "list"]
    steps = rng.sample(lists, count - 1)
    rest = [operation for operation in operations if operation not in steps]
    return [*steps, rng.choice(rest)]


def make_plain_task(rng: random.Random, count: int | None = None) -> Task:
    """A task that needs no project knowledge: 1 to 3 steps in plain Python."""
    steps = random_steps(rng, OPERATIONS, count or rng.choice((1, 2, 2, 3)))
    phrases = [rng.choice(step.phrases) for step in steps]
    code = plain_solution(steps)
    return Task(
        description=sentence(rng, phrases),
        steps=tuple(steps),
        phrases=tuple(phrases),
        solution=code,
        tests=_tests(rng, code, "solve", None, None),
        project=None,
    )
