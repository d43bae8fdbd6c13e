"""Whether tests that cannot be compiled can at least run in another process than the candidate.

They can where nothing but plain values has to go between the two. That follows from the tests
alone, so no candidate can choose to have them in its own process. Pure syntax; when in doubt, no.
"""

from __future__ import annotations

import ast
import builtins
from dataclasses import dataclass

_VALUE_ATTRIBUTES = frozenset(
    name
    for kind in (str, bytes, int, float, complex, list, tuple, dict, set, frozenset)
    for name in dir(kind)
    if not name.startswith("__")
)
_NEAR = (
    "sys io contextlib importlib inspect builtins subprocess threading multiprocessing gc types "
    "asyncio signal os tempfile pathlib logging warnings mock tracemalloc weakref"
)
_SAME_PROCESS = frozenset(_NEAR.split())
"""Modules with which tests look at more than what a call returns."""
_FRAGILE = (ast.Await, ast.AsyncFunctionDef, ast.Global, ast.Nonlocal, ast.Lambda)


@dataclass(frozen=True)
class Crossing:
    """`names` are the candidate's functions that the tests call, or `objects` why that is not all
    they need."""

    names: tuple[str, ...] = ()
    objects: str | None = None


def looks_like_class(name: str) -> bool:
    return name[:1].isupper() and "_" not in name and name != name.upper()


def crossing(tests: str) -> Crossing:
    """What of the candidate the tests need; `tests` parses."""
    tree = ast.parse(tests)
    scan = _Scan(tree)
    scan.visit(tree)
    if scan.objects is None and not scan.names:
        return Crossing(objects="they use nothing of the candidate")
    return Crossing(tuple(sorted(scan.names)), scan.objects)


class _Scan(ast.NodeVisitor):
    def __init__(self, tree: ast.Module) -> None:
        self.names: set[str] = set()
        self.objects: str | None = None
        self._bound = _bound_names(tree)
        self._modules = {"solution"} & _imported(tree)
        self._ours = {"self", "cls"} | _imported(tree) | _of_modules(tree)
        self._own = _own_attributes(tree)

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, _FRAGILE):
            self._needs(f"{type(node).__name__.lower()}")
        super().visit(node)

    def _needs(self, what: str) -> None:
        self.objects = self.objects or f"they use {what}"

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._check_module(alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.module != "solution":
            return self._check_module(node.module or "")
        for alias in node.names:
            if alias.name == "*":
                self._needs("every name of the candidate")
            self._function(alias.name)
        return None

    def _check_module(self, name: str) -> None:
        if set(name.split(".")) & _SAME_PROCESS:
            self._needs(f"the module {name}")

    def _function(self, name: str) -> None:
        if looks_like_class(name):
            self._needs(f"the class {name}")
        self.names.add(name)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        owner = node.value.id if isinstance(node.value, ast.Name) else ""
        if owner in self._modules:
            self._function(node.attr)
            if not isinstance(node.ctx, ast.Load):
                self._needs("the candidate's module as an object")
            return
        ours = owner in self._ours or node.attr in self._own
        if not ours and node.attr not in _VALUE_ATTRIBUTES:
            self._needs(f"the attribute {node.attr}")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        function = node.func
        if isinstance(function, ast.Name) and self._is_unbound(function.id):
            self._function(function.id)
        else:
            self.visit(function)
        to_tests = isinstance(function, ast.Name) and function.id in self._bound
        method = function.attr if isinstance(function, ast.Attribute) else ""
        to_raise = method in ("assertRaises", "raises")
        for argument in arguments:
            named = argument.id if isinstance(argument, ast.Name) else ""
            if named and self._is_unbound(named) and (to_tests or to_raise):
                self._function(named)
            else:
                self.visit(argument)

    def visit_Name(self, node: ast.Name) -> None:
        if self._is_unbound(node.id):
            self._needs(f"{node.id} as a value")

    def visit_Compare(self, node: ast.Compare) -> None:
        for sign, operand in zip(node.ops, node.comparators, strict=True):
            singular = isinstance(operand, ast.Constant)
            type_of = isinstance(operand, ast.Call) and ast.unparse(operand.func) == "type"
            if isinstance(sign, ast.Is | ast.IsNot) and not singular and not type_of:
                self._needs("the identity of values")
        self.generic_visit(node)

    def _is_unbound(self, name: str) -> bool:
        return not (name in self._bound or hasattr(builtins, name) or name.startswith("__"))


def _bound_names(tree: ast.Module) -> set[str]:
    bound = _imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
    return bound


def _own_attributes(tree: ast.Module) -> set[str]:
    """What the tests' own classes have: their methods, and what is assigned to."""
    return {
        part.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for part in node.body
        if isinstance(part, ast.FunctionDef)
    } | {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }


def _of_modules(tree: ast.Module) -> set[str]:
    """The names of objects that the tests' own modules gave them."""
    modules = _imported(tree) - {"solution"}
    return {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        if ast.unparse(node.value.func).split(".")[0] in modules
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _imported(tree: ast.Module) -> set[str]:
    return {
        (alias.asname or alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }


def needed_names(tests: str) -> tuple[str, ...]:
    """Every name that the tests use and do not define: the candidate's."""
    tree = ast.parse(tests)
    bound = _bound_names(tree)
    loaded = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    from_solution = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "solution"
        for alias in node.names
    }
    unbound = {name for name in loaded - bound if not hasattr(builtins, name)}
    return tuple(sorted((unbound | from_solution) - {"*"}))
