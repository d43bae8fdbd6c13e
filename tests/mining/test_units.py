"""Which pieces of a file changed, and which of them are the same change twice."""

from __future__ import annotations

import ast

import pytest

from rune_engine.mining import duplicates, units
from rune_engine.mining.duplicates import doubles, marks
from rune_engine.mining.history import Target
from rune_engine.mining.standalone import suite_for
from rune_engine.mining.units import Unit, changed_units

FILLER = "\n\n".join(f"def filler_{n}():\n    return {n} * 1000 + {n} // 7" for n in range(60))
LARGE = f"""import json
import re as regex
from typing import Any

{FILLER}


def load(text: str) -> Any:
    \"\"\"Read it.\"\"\"
    return json.loads(text)


@property
def odd(n): return n % 2


class Cart:
    \"\"\"What is wanted.\"\"\"

    tax = 0.1

    def __init__(self):
        self.items = []

    def add(self, item):
        self.items.append(item)
        return self

    def names(self):
        return [regex.sub("x", "y", item) for item in self.items]
"""


def changed(before: str | None, after: str) -> list[Unit]:
    found, _ = changed_units(before, after)
    return found


def left_out(before: str | None, after: str) -> list[str]:
    found, skipped = changed_units(before, after)
    assert found == []
    return skipped


def test_a_function_comes_with_the_imports_it_uses() -> None:
    [unit] = changed(LARGE, LARGE.replace("json.loads(text)", "json.loads(text or 'null')"))
    assert (unit.name, unit.kind) == ("load", "function")
    assert unit.after.startswith("import json\nfrom typing import Any\n\n\ndef load(")
    assert "regex" not in unit.after and "text or 'null'" in unit.after
    assert unit.before is not None and "json.loads(text)\n" in unit.before


def test_a_method_stands_in_its_class_and_the_rest_of_the_file_stays() -> None:
    after = LARGE.replace("self.items.append(item)", "self.items += [item]")
    [unit] = changed(LARGE, after)
    assert (unit.name, unit.kind) == ("Cart.add", "method")
    assert unit.after == (
        "class Cart:\n    def add(self, item):\n        self.items += [item]\n        return self\n"
    )
    assert unit.reverted == LARGE


def test_many_methods_or_the_class_itself_are_one_unit() -> None:
    after = LARGE.replace("tax = 0.1", "tax = 0.2")
    after = after.replace("self.items = []", "self.items = list()")
    [unit] = changed(LARGE, after)
    assert (unit.name, unit.kind) == ("Cart", "class")
    assert unit.after.startswith("import re as regex\n")


def test_a_new_function_has_no_version_before() -> None:
    after = LARGE + "\n\ndef new():\n    return json\n"
    [unit] = changed(LARGE, after)
    assert (unit.name, unit.before) == ("new", None)
    assert "def new" not in unit.reverted
    assert ast.dump(ast.parse(unit.reverted)) == ast.dump(ast.parse(LARGE))


def test_a_small_file_is_one_unit() -> None:
    [unit] = changed("def a():\n    return 1\n", "def a():\n    return 2\n\n\nB = 3\n")
    assert (unit.name, unit.kind, unit.reverted) == ("", "file", unit.before)
    [new] = changed(None, "def a():\n    return 1\n")
    assert (new.before, new.reverted) == (None, "")


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("def a():\n    return 1\n", "def a():  # 1\n    '1'\n\n    return (1)\n", units.NO_CHANGE),
        ("A = 1\n", "A = 2\n", units.NOTHING_INSIDE),
        (LARGE, LARGE.replace("import json\n", "import json\nimport os\n"), units.NOTHING_INSIDE),
        (LARGE, LARGE.replace('"""Read it."""', '"""Read."""'), units.NOTHING_INSIDE),
        (LARGE, LARGE.split("class Cart")[0], units.NOTHING_INSIDE),
        ("def a(:\n", "def a():\n    return 1\n", units.NOT_PARSED),
        (None, "print 'old'\n", units.NOT_PARSED),
        (None, "x = " + "(" * 5000 + ")" * 5000, units.NOT_PARSED),
        (None, "x = " + "-" * 100_000 + "1", units.NOT_PARSED),
        (LARGE, LARGE.replace("n % 2", "n % 3"), units.TOO_SMALL),
        (
            LARGE,
            LARGE + "\n\ndef long():\n" + "    print('a line that is long')\n" * 200,
            units.TOO_LARGE,
        ),
    ],
)  # fmt: skip
def test_what_is_left_out_has_a_reason(before: str | None, after: str, reason: str) -> None:
    assert left_out(before, after) == [reason]


def test_names_that_are_defined_twice_are_left_alone() -> None:
    twice = LARGE + "\n\ndef twice():\n    return 'a'\n\n\ndef twice():\n    return 'b'\n"
    assert left_out(twice, twice.replace("'b'", "'c'")) == [units.NOTHING_INSIDE]


def test_odd_line_ends_do_not_move_the_pieces() -> None:
    before = LARGE.replace("\n", "\r\n").replace("1000", "'\x0c\x85\u2028'")
    [unit] = changed(before, before.replace("json.loads(text)", "json.loads(text, strict=False)"))
    assert unit.after.endswith("return json.loads(text, strict=False)\n")


# --- the same twice ------------------------------------------------------------------------------


def target(before: str | None, after: str, path: str = "shop/cart.py") -> Target:
    [unit] = changed(before, after)
    return Target(path, unit)


ONE = "def count(items):\n    return len(items) + 1\n"
TWO = "def count(items):\n    return len(items)\n"
THREE = "def count(items):\n    return len(list(items))\n"


def test_a_cherry_pick_is_found_whatever_surrounds_it() -> None:
    elsewhere = target(f"X = 1\n\n{ONE}", f"X = 1\n\n{TWO}", "other/place.py")
    found = doubles([marks(target(ONE, TWO)), marks(elsewhere)])
    assert found == {1: duplicates.SAME_CHANGE}


def test_a_change_that_was_undone_is_left_out_with_what_undid_it() -> None:
    undoing, done = target(TWO, ONE), target(ONE, TWO)
    assert doubles([marks(undoing), marks(done)]) == dict.fromkeys((0, 1), duplicates.UNDONE)


def test_the_steps_of_a_functions_life_are_all_kept() -> None:
    steps = [target(TWO, THREE), target(ONE, TWO), target(None, ONE)]
    assert doubles([marks(each) for each in steps]) == {}


def test_a_near_duplicate_of_a_long_piece_is_found() -> None:
    body = "".join(f"    total += items[{n}] * weight_{n}\n" for n in range(60))
    long = f"def weigh(items):\n    total = 0\n{body}    return total\n"
    new, old = target(None, long), target(None, long.replace("return total", "return int(total)"))
    assert doubles([marks(new), marks(old)]) == {1: duplicates.NEARLY}


# --- alone ---------------------------------------------------------------------------------------

TESTS = "from shop.cart import (\n    count,\n)\n\ndef test_it():\n    assert count([1]) == 1\n"


def test_tests_are_rewritten_for_a_piece_that_stands_alone() -> None:
    suite = suite_for(target(ONE, TWO), TESTS, {"shop"})
    assert suite is not None
    assert suite.startswith("from solution import count\n\n\n\ndef test_it")
    ast.parse(suite)
    for spelled in ("from shop import cart", "import shop.cart as cart"):
        text = f"{spelled}\n\ndef test_it():\n    assert cart.count([1]) == 1\n"
        found = suite_for(target(ONE, TWO), text, {"shop"})
        assert found is not None and found.startswith("import solution as cart")


@pytest.mark.parametrize(
    "tests",
    [
        "from shop.cart import total\n",
        "from shop.cart import *\n",
        "from .cart import count\n",
        "import shop.cart\n",
        "from shop.cart import count\nfrom shop.tax import tax\n",
        "def test_it():\n    assert True\n",
        "def broken(:\n",
    ],
)
def test_what_needs_more_of_the_project_is_not_rewritten(tests: str) -> None:
    assert suite_for(target(ONE, TWO), tests, {"shop"}) is None
    using = target(None, f"from shop.tax import tax\n\n\n{TWO}")
    assert suite_for(using, TESTS, {"shop"}) is None
