"""Tasks with tests and reference solutions, for a project or for none.

A project's task names the package and what to do, never a helper: which helper does it, and how
the house works, must be known. A plain task needs no project at all.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from project_worlds.inputs import EMPTY, make_inputs
from project_worlds.operations import OPERATIONS, Kind, Operation
from project_worlds.project import DOMAINS, Project, Step

_FRAMES: Mapping[int, tuple[str, ...]] = {
    1: ("{0}.", "Please {0}.", "Your job: {0}."),
    2: ("{0}, then {1}.", "First {0}; then {1}.", "{0}, and after that {1}.", "{0} and {1}."),
    3: ("{0}, then {1}, then {2}.", "First {0}; then {1}; then {2}.", "{0}, {1} and {2}."),
}
PARTS: tuple[str, ...] = ("prepare", "tidy", "select", "gather", "collect")
"""Names of the function that a task of two functions asks for beside the entry."""


@dataclass(frozen=True, slots=True)
class Task:
    """A task.

    Attributes:
        description: what an agent is asked.
        steps: the operations, in order.
        phrases: the wording used for each step, as the operation has it.
        solution: reference solution, a whole module.
        tests: assert-style tests that call the entry function.
        project: the project's name, or None for a plain task.
    """

    description: str
    steps: tuple[Step, ...]
    phrases: tuple[str, ...]
    solution: str
    tests: str
    project: str | None

    @property
    def combination(self) -> tuple[str, ...]:
        """The keys of the steps' operations, in order."""
        return tuple(step.operation.key for step in self.steps)


def sentence(rng: random.Random, steps: Sequence[Step], wordings: Sequence[str]) -> str:
    """One of the ways to ask for these steps in these words."""
    said = [step.say(wording) for step, wording in zip(steps, wordings, strict=True)]
    text = rng.choice(_FRAMES[len(said)]).format(*said)
    return text[0].upper() + text[1:]


def _step_lines(steps: Sequence[Step], expressions: Sequence[str], argument: str) -> list[str]:
    lines: list[str] = []
    for index, (step, expression) in enumerate(zip(steps, expressions, strict=True)):
        last = index == len(steps) - 1
        lines.append(f"    # {step.title}")
        lines.append(f"    {'return' if last else f'{argument} ='} {expression}")
    return lines


def project_solution(project: Project, steps: Sequence[Step], part: str | None = None) -> str:
    """The house's way to write these steps; the first in a function `part`, where one is named."""
    rules = project.conventions
    calls = [project.call(step) for step in steps]
    lines = [project.imports + "\n"]
    if part is not None:
        lines += [
            f"def {part}({rules.argument}):",
            *_step_lines(steps[:1], calls[:1], rules.argument),
            "",
        ]
    lines += [
        f"def {rules.entry}({rules.argument}):",
        f"    {rules.guard.format(rules.argument)}",
        f"        {rules.empty}",
    ]
    if part is not None:
        lines.append(f"    {rules.argument} = {part}({rules.argument})")
        steps, calls = steps[1:], calls[1:]
    return "\n".join([*lines, *_step_lines(steps, calls, rules.argument)])


def plain_solution(steps: Sequence[Step], entry: str = "solve") -> str:
    """The same steps in plain Python, as a function called `entry`."""
    expressions = [step.plain("xs") for step in steps]
    lines = ["import math\n"] if any("math." in each for each in expressions) else []
    lines += [f"def {entry}(xs):", *_step_lines(steps, expressions, "xs")]
    return "\n".join(lines)


def run_solution(code: str, entry: str, argument: Any, project: Project | None) -> Any:
    """Run trusted, generated code of this package and return the entry function's result.

    Never give it model-written code: that is what the sandbox is for.
    """
    names: dict[str, Any] = {}
    if project is not None:
        module: dict[str, Any] = {}
        exec(project.source(), module)
        prefix = f"{project.conventions.alias or project.name}."
        code = code.replace(f"{project.imports}\n", "").replace(prefix, "_house_")
        names = {f"_house_{name}": module[name] for name in project.helpers.values()}
    exec(code, names)
    return names[entry](argument)


def make_tests(
    rng: random.Random, steps: Sequence[Step], code: str, project: Project | None
) -> str:
    """Assert-style tests that `code` passes, by calling its entry function."""
    entry = project.conventions.entry if project else "solve"
    kind = steps[0].operation.takes
    lines: list[str] = []
    for argument in make_inputs(rng, kind, 3):
        shown = repr(argument)
        try:
            expected = run_solution(code, entry, argument, project)
        except (ValueError, IndexError, ZeroDivisionError):
            continue  # e.g. the maximum of nothing: not a case the task defines
        if isinstance(expected, dict):  # the order of the rows counts
            lines.append(f"assert list({entry}({shown}).items()) == {list(expected.items())!r}")
        else:
            lines.append(f"assert {entry}({shown}) == {expected!r}")
    if project is not None:
        lines += _empty_tests(entry, EMPTY[kind], project.conventions.empty)
    return "\n".join(lines) + "\n"


def _empty_tests(entry: str, nothing: str, statement: str) -> list[str]:
    """What the house wants for an empty input."""
    action, _, value = statement.partition(" ")
    if action == "return":
        return [
            f"assert {entry}({nothing}) == {value}",
            f"assert type({entry}({nothing})) is type({value})",
        ]
    error = value.split("(")[0]
    return [
        "try:",
        f"    {entry}({nothing})",
        f"except {error}:",
        "    pass",
        "else:",
        f'    raise AssertionError("an empty input raises {error}")',
    ]


def make_project_task(
    project: Project,
    steps: Sequence[Step],
    wordings: Sequence[str],
    rng: random.Random,
    *,
    tested: bool = True,
) -> Task:
    """A task of `project` that asks for `steps` in these wordings; now and then two functions.

    Without `tested` it has no tests, which take the longest to make.
    """
    description = f"In {project.name}: {sentence(rng, steps, wordings)}"
    part = None
    if len(steps) > 1 and rng.random() < 0.15:
        part = rng.choice(PARTS)
        description += f" Put the first step into `{part}`."
    code = project_solution(project, steps, part)
    return Task(
        description=description,
        steps=tuple(steps),
        phrases=tuple(wordings),
        solution=code,
        tests=make_tests(rng, steps, code, project) if tested else "",
        project=project.name,
    )


def random_steps(
    rng: random.Random, operations: Sequence[Operation], kind: Kind, count: int
) -> list[Step]:
    """Up to `count` different operations, each on what the one before it gives."""
    steps: list[Step] = []
    while len(steps) < count:
        used = [step.operation for step in steps]
        fitting = [o for o in operations if o.takes == kind and o not in used]
        if len(steps) < count - 1:  # rather one that something can follow
            fitting = [o for o in fitting if _leads_on(o, operations, used)] or fitting
        if not fitting:
            break
        operation = rng.choice(fitting)
        steps.append(make_step(rng, operation))
        kind = operation.gives
    return steps


def make_step(rng: random.Random, operation: Operation) -> Step:
    """The operation, with a number where it takes one."""
    return Step(operation, rng.randint(2, 9) if operation.has_number else None)


def _leads_on(
    operation: Operation, operations: Sequence[Operation], used: Sequence[Operation]
) -> bool:
    return any(
        o.takes == operation.gives and o not in used and o is not operation for o in operations
    )


def make_plain_task(rng: random.Random, count: int | None = None, *, tested: bool = True) -> Task:
    """A task that needs no project knowledge: 1 to 3 steps in plain Python."""
    kind = rng.choice((*DOMAINS, "numbers"))
    steps = random_steps(rng, OPERATIONS, kind, count or rng.choice((1, 2, 2, 3)))
    wordings = [rng.choice(step.operation.phrases) for step in steps]
    code = plain_solution(steps)
    return Task(
        description=sentence(rng, steps, wordings),
        steps=tuple(steps),
        phrases=tuple(wordings),
        solution=code,
        tests=make_tests(rng, steps, code, None) if tested else "",
        project=None,
    )
