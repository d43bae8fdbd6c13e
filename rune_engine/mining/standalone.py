"""Tests of a repository rewritten for a piece that stands alone as `solution`, where they can be.

Only then can a model that is given the task be judged by them later. Pure.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Set

from rune_engine.mining import paths
from rune_engine.mining.history import Target

_MOST_CHARS = 20_000


def suite_for(target: Target, test: str, own: Set[str]) -> str | None:
    """The test file's text with `solution` in place of the target's module; None where it needs
    more of the project than what the target defines.

    Args:
        own: the project's top-level modules.
    """
    if len(test) > _MOST_CHARS or _imports_any(target.unit.after, own):
        return None
    try:
        tree = ast.parse(test)
        defined = _defined(ast.parse(target.unit.after))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    modules = paths.module_names(target.path)
    lines, used = test.replace("\r\n", "\n").split("\n"), False
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        new = _rewritten(node, modules, defined, own)
        if new is None:
            return None
        if new:
            used = True
            if (node.end_lineno or node.lineno) > node.lineno:
                lines[node.lineno : node.end_lineno] = [""] * (node.end_lineno - node.lineno)  # type: ignore[operator]
            lines[node.lineno - 1] = " " * node.col_offset + new
    return "\n".join(lines) if used else None


def _rewritten(
    node: ast.Import | ast.ImportFrom,
    modules: Collection[str],
    defined: Collection[str],
    own: Collection[str],
) -> str | None:
    """The import as it must be; empty where it stays, None where it cannot be had."""
    if isinstance(node, ast.ImportFrom):
        if node.level:
            return None
        names = {alias.name for alias in node.names}
        if node.module in modules:
            known = names <= set(defined)
            return f"from solution import {_spelled(node.names)}" if known else None
        [first, *more] = node.names
        if not more and f"{node.module}.{first.name}" in modules:
            return f"import solution as {first.asname or first.name}"
        return None if (node.module or "").split(".")[0] in own else ""
    if len(node.names) == 1 and node.names[0].name in modules:
        [only] = node.names
        if only.asname or "." not in only.name:
            return f"import solution as {only.asname or only.name}"
        return None
    return None if any(alias.name.split(".")[0] in own for alias in node.names) else ""


def _spelled(names: list[ast.alias]) -> str:
    return ", ".join(f"{n.name} as {n.asname}" if n.asname else n.name for n in names)


def _defined(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {each.id for each in node.targets if isinstance(each, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found


def _imports_any(text: str, own: Set[str]) -> bool:
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return True
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            if node.level or (node.module or "").split(".")[0] in own:
                return True
        elif isinstance(node, ast.Import) and own & {a.name.split(".")[0] for a in node.names}:
            return True
    return False
