"""What `unittest`'s assertions mean, as expressions. Pure syntax."""

from __future__ import annotations

import ast

_TWO: dict[str, type[ast.cmpop]] = {
    "assertEqual": ast.Eq,
    "assertListEqual": ast.Eq,
    "assertTupleEqual": ast.Eq,
    "assertDictEqual": ast.Eq,
    "assertSetEqual": ast.Eq,
    "assertMultiLineEqual": ast.Eq,
    "assertSequenceEqual": ast.Eq,
    "assertNotEqual": ast.NotEq,
    "assertIs": ast.Is,
    "assertIsNot": ast.IsNot,
    "assertIn": ast.In,
    "assertNotIn": ast.NotIn,
    "assertGreater": ast.Gt,
    "assertGreaterEqual": ast.GtE,
    "assertLess": ast.Lt,
    "assertLessEqual": ast.LtE,
}
_PATTERNS = {
    "assertTrue": "{0}",
    "assertFalse": "not {0}",
    "assertIsNone": "{0} is None",
    "assertIsNotNone": "{0} is not None",
    "assertIsInstance": "isinstance({0}, {1})",
    "assertNotIsInstance": "not isinstance({0}, {1})",
}


def assertion_of(node: ast.Call) -> ast.expr | None:
    """The expression that must be true, or None where that is not known.

    `node` is a call of a method of `self`; a message as its last argument is left out.
    """
    assert isinstance(node.func, ast.Attribute)
    name, arguments = node.func.attr, node.args
    named = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg != "msg"}
    if any(isinstance(argument, ast.Starred) for argument in arguments):
        return None
    if name == "assertAlmostEqual" and set(named) <= {"places", "delta"} and len(arguments) == 2:
        return _almost_equal(arguments, named)
    if named:
        return None
    if name in _TWO and len(arguments) in (2, 3):
        return ast.copy_location(ast.Compare(arguments[0], [_TWO[name]()], [arguments[1]]), node)
    pattern = _PATTERNS.get(name)
    needed = 2 if pattern and "{1}" in pattern else 1
    if pattern is None or len(arguments) not in (needed, needed + 1):
        return None
    return _filled(pattern, arguments)


def _almost_equal(arguments: list[ast.expr], named: dict[str | None, ast.expr]) -> ast.expr:
    if "delta" in named:
        return _filled("abs({0} - {1}) <= {2}", [*arguments, named["delta"]])
    places = named.get("places", ast.Constant(7))
    return _filled("round(abs({0} - {1}), {2}) == 0", [*arguments, places])


class _Filler(ast.NodeTransformer):
    def __init__(self, parts: list[ast.expr]) -> None:
        self._parts = parts

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._parts[int(node.id[1:])] if node.id.startswith("_") else node


def _filled(pattern: str, parts: list[ast.expr]) -> ast.expr:
    text = pattern.format(*(f"_{number}" for number in range(len(parts))))
    filled: ast.expr = _Filler(parts).visit(ast.parse(text, mode="eval").body)
    return ast.copy_location(filled, parts[0])
