"""The program-evaluation criterion: predict what a program gives for inputs that were not shown.

An adapter that learnt a procedure, and not only how its code looks, can carry it out. So the model
is told the task that a program solved, not the program, and is asked what that program gives for
inputs that none of its tests has; the answer is a value, and no code of the model is run. See Cook
et al. 2025, "Programming by Backprop: LLMs acquire reusable algorithmic abstractions during code
training" (https://arxiv.org/abs/2506.18777). The programs are those that the adapter was trained
on; what they really give is found out by running them in the sandbox.
"""

from __future__ import annotations

import ast
import json
import random
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rune_engine.agent.code import extract_code
from rune_engine.evaluation.tasks import HeldOutTask, task_of
from rune_engine.models import Trajectory
from rune_engine.sandbox.sandbox import Sandbox

INPUTS = 2
"""Unseen inputs that each program is asked for."""
_MOST_CALLS = 20
_LONGEST_ANSWER = 300


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a function with plain values: `compute([3, 1])`."""

    function: str
    arguments: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.function}({', '.join(map(repr, self.arguments))})"


async def predictions(
    trajectories: Sequence[Trajectory],
    sandbox: Sandbox,
    *,
    workspace: Path | None = None,
    seed: int = 0,
) -> list[HeldOutTask]:
    """What to ask of the programs that these trajectories ended in, those left out that cannot be
    called with plain values, or give none.

    Raises:
        SandboxUnavailableError: this machine cannot isolate code.
    """
    found = []
    for trajectory in trajectories:
        task = task_of(trajectory, workspace)
        if task.reference is None:
            continue
        calls = unseen_calls(task.reference, task.tests, seed=seed)
        for call, value in await _values(task, calls, sandbox):
            found.append(_question(task, call, value))
    return found


def unseen_calls(code: str, tests: str, *, seed: int = 0) -> list[Call]:
    """Calls like those in `tests` of functions that `code` defines, with inputs that are in none.

    They follow from the seed and the tests.
    """
    shown = list(_shown_calls(code, tests))
    known = {str(call) for call in shown}
    rng = random.Random(f"{seed}/{tests}")
    found: dict[str, Call] = {}
    for _ in range(_MOST_CALLS if shown else 0):
        like = rng.choice(shown)
        call = Call(like.function, tuple(_another(rng, each) for each in like.arguments))
        if str(call) not in known:
            found.setdefault(str(call), call)
        if len(found) == INPUTS:
            break
    return list(found.values())


def same(answer: str, expected: str) -> bool:
    """Whether an answer's text is the value that the literal `expected` spells, of its types."""
    try:
        return _alike(ast.literal_eval(extract_code(answer).strip()), ast.literal_eval(expected))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False


def _alike(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, dict):
        return _alike(list(one.items()), list(other.items()))
    return bool(one == other)


def _shown_calls(code: str, tests: str) -> Iterator[Call]:
    """The calls in `tests` of `code`'s functions whose arguments are literals."""
    try:
        defined = {n.name for n in ast.parse(code).body if isinstance(n, ast.FunctionDef)}
        nodes = list(ast.walk(ast.parse(tests)))
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in nodes:
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        if node.keywords or not node.args or node.func.id not in defined:
            continue
        try:
            yield Call(node.func.id, tuple(ast.literal_eval(each) for each in node.args))
        except (ValueError, TypeError):
            continue


def _another(rng: random.Random, value: Any) -> Any:
    """A value of the same kind."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value + rng.choice((-3, -2, -1, 1, 2, 3))
    if isinstance(value, float):
        return round(value + rng.choice((-1.5, -0.5, 0.5, 1.5)), 3)
    if isinstance(value, str):
        words = value.split(" ")
        rng.shuffle(words)
        return " ".join(words) if len(words) > 1 else "".join(rng.sample(value, len(value)))
    if isinstance(value, list | tuple):
        made = [_another(rng, each) for each in rng.sample(value, len(value))]
        return type(value)(made)
    if isinstance(value, dict):
        return {key: _another(rng, each) for key, each in value.items()}
    return value


async def _values(
    task: HeldOutTask, calls: Sequence[Call], sandbox: Sandbox
) -> list[tuple[Call, str]]:
    """Each call with the literal that it gives; those that raise, or give none, are left out."""
    if not calls or task.reference is None:
        return []
    mark = secrets.token_hex(8)  # the program prints, too
    lines = ["import json", "def _show(number, call):"]
    lines += ["    try:", "        value = repr(call())", "    except Exception:", "        return"]
    lines += [f"    print('{mark}' + json.dumps([number, value]))"]
    lines += [f"_show({number}, lambda: {call})" for number, call in enumerate(calls)]
    tests = "\n".join(lines) + "\n"
    verdict = await sandbox.run(task.reference, tests, workspace=task.workspace, strongest="inside")
    if verdict.evidence is None:
        return []
    found = []
    for line in verdict.evidence.stdout.splitlines():
        if line.startswith(mark):
            number, value = json.loads(line.removeprefix(mark))
            if len(value) <= _LONGEST_ANSWER and same(value, value):
                found.append((calls[number], value))
    return found


def _question(task: HeldOutTask, call: Call, value: str) -> HeldOutTask:
    import prompts

    asked = prompts.render("predict", task_description=task.description, call=str(call))
    return HeldOutTask(
        description=asked,
        tests=f"assert {call} == {value}\n",
        trajectory_id=task.trajectory_id,
        answer=value,
    )
