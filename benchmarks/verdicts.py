"""Every HumanEval task through every oracle: references, bodies replaced by `pass`, mutations.

    python -m benchmarks.verdicts ../shared/data/HumanEval.jsonl.gz --json verdicts.json

All references must pass and nothing wrong may. A mutation changes one token of the reference; which
one matters is found by trying, in the sandbox: where none of the first few is told from the
reference by the task's own tests, the task has no mutation, and the result says how many.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from rune_engine.config import SandboxLimits
from rune_engine.evaluation.suites import SuiteTask, load_suite
from rune_engine.sandbox import Sandbox
from rune_engine.sandbox.verdict import Oracle, Pass
from rune_engine.suspicion import suspicion

ORACLES: tuple[Oracle, ...] = ("outside", "beside", "inside")
_TRIES = 16
_SWAPS: dict[type[ast.AST], Callable[[], ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Mod: ast.Mult,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_NAMES = {
    **{"len": "id", "max": "min", "min": "max", "sum": "len", "sorted": "list", "any": "all"},
    **{"lower": "upper", "upper": "lower", "swapcase": "lower", "startswith": "endswith"},
    **{"endswith": "startswith", "count": "find", "isinstance": "hasattr", "set": "list"},
    **{"join": "strip", "abs": "id", "str": "repr", "int": "float"},
}


def gutted(task: SuiteTask) -> str:
    """The reference with its last function's body replaced by `pass`."""
    tree = ast.parse(task.reference_solution)
    function = _entry(task, tree)
    function.body = [ast.Pass()]
    return ast.unparse(tree)


def _entry(task: SuiteTask, tree: ast.Module) -> ast.FunctionDef:
    name = task.test_suite.rstrip().rsplit("check(", 1)[1].rstrip(")")
    [found] = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name]
    return found


def mutations(task: SuiteTask) -> Iterator[str]:
    """The reference with one token of its entry function changed: an operator, a comparison, a
    constant, or which function is called."""
    reference = ast.parse(task.reference_solution)
    count = len(list(ast.walk(_entry(task, reference))))
    helpers = [node.name for node in reference.body if isinstance(node, ast.FunctionDef)]
    names = {**dict.fromkeys(helpers, "str"), **_NAMES}
    for position in range(count):
        tree = ast.parse(task.reference_solution)
        if _mutate(list(ast.walk(_entry(task, tree)))[position], names):
            yield ast.unparse(ast.fix_missing_locations(tree))


def _mutate(node: ast.AST, names: dict[str, str]) -> bool:
    for name in ("op", "ops"):
        old = getattr(node, name, None)
        if isinstance(old, list) and old and type(old[0]) in _SWAPS:
            old[0] = _SWAPS[type(old[0])]()
            return True
        if type(old) in _SWAPS:
            setattr(node, name, _SWAPS[type(old)]())
            return True
    if isinstance(node, ast.Constant) and type(node.value) in (int, bool):
        node.value = not node.value if isinstance(node.value, bool) else node.value + 1
        return True
    if isinstance(node, ast.Constant) and type(node.value) is str:
        node.value += "x"
        return True
    for name in ("id", "attr"):
        if getattr(node, name, None) in names:
            setattr(node, name, names[getattr(node, name)])
            return True
    return False


async def mutated(sandbox: Sandbox, task: SuiteTask) -> str | None:
    """A mutation of `task` that changes a result, or None where none was found."""
    for number, code in enumerate(mutations(task)):
        if number == _TRIES:
            return None
        verdict = await sandbox.run(code, task.test_suite, strongest="inside")
        if verdict.kind != "pass":
            return code
    return None


async def measure(tasks: list[SuiteTask], oracle: Oracle, wrong: dict[str, list[str]]) -> Any:
    """How the references and the `wrong` solutions of `tasks` come out with one oracle."""
    sandbox = Sandbox(SandboxLimits(wall_seconds=60))
    began = time.perf_counter()
    counts, used, failed = Counter[str](), Counter[str](), list[str]()

    async def one(task: SuiteTask) -> None:
        verdict = await sandbox.run(task.reference_solution, task.test_suite, strongest=oracle)
        counts[f"references {verdict.kind}"] += 1
        used[verdict.evidence.oracle if verdict.evidence else "none"] += 1
        if not isinstance(verdict, Pass):
            failed.append(f"{task.task_id}: {verdict.message[-300:]}")
        for code in wrong[task.task_id]:
            answer = await sandbox.run(code, task.test_suite, strongest=oracle)
            counts[f"wrong {answer.kind}"] += 1
            if isinstance(answer, Pass):
                failed.append(f"{task.task_id}: a wrong solution passed")

    await _two_at_a_time([lambda task=task: one(task) for task in tasks])
    seconds = round(time.perf_counter() - began, 1)
    return {"verdicts": counts, "oracles": used, "failed": failed, "seconds": seconds}


async def _two_at_a_time(actions: list[Callable[[], Awaitable[None]]]) -> None:
    slots = asyncio.Semaphore(2)

    async def one(action: Callable[[], Awaitable[None]]) -> None:
        async with slots:
            await action()

    await asyncio.gather(*(one(action) for action in actions))


async def wrong_solutions(tasks: list[SuiteTask]) -> dict[str, list[str]]:
    """By task: the gutted reference, and a mutation where one was found."""
    sandbox, wrong = Sandbox(), dict[str, list[str]]()

    async def one(task: SuiteTask) -> None:
        mutation = await mutated(sandbox, task)
        wrong[task.task_id] = [gutted(task), *([mutation] if mutation else [])]

    await _two_at_a_time([lambda task=task: one(task) for task in tasks])
    return wrong


async def run(tasks: list[SuiteTask]) -> dict[str, Any]:
    wrong = await wrong_solutions(tasks)
    flagged = [t.task_id for t in tasks if suspicion(t.reference_solution, t.test_suite)]
    return {
        "tasks": len(tasks),
        "without a mutation": [name for name, codes in wrong.items() if len(codes) == 1],
        "references flagged": flagged,
        **{oracle: await measure(tasks, oracle, wrong) for oracle in ORACLES},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    result = asyncio.run(run(load_suite(arguments.suite, arguments.limit)))
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.json is not None:
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
