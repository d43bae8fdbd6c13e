"""What compiles to data, that it means what Python means, and what does not compile."""

from __future__ import annotations

import pytest

from rune_engine.sandbox import Sandbox
from rune_engine.sandbox.compiling import compile_tests
from rune_engine.sandbox.plan import plan_tests
from rune_engine.sandbox.suite import ready

COMPILED = {
    "loop over literals": "for x, y in [(1, 2), (2, 3)]:\n    assert f(x) == y",
    "loop over a range": "for x in range(3):\n    assert f(x) == x + 1",
    "tolerance": "assert abs(f(1) - 2.0000001) < 1e-6",
    "truth": "assert f(1)\nassert not f(-1)",
    "comparisons": "assert f(1) > 1 and f(1) in (1, 2) and f(1) is not None",
    "answer kept": "result = f(1)\nassert result == 2\nassert isinstance(result, int)",
    "expected kept": "expected = [x + 1 for x in range(3)]\nassert [f(0), f(1), f(2)] == expected",
    "its own function": "def check(candidate):\n    assert candidate(1) == 2\ncheck(f)",
    "test functions": "def test_a():\n    x = 3\n    assert f(x) == 4",
    "import": "import math\nfrom solution import f as g\nassert g(1) == math.floor(2.5)",
    "module": "import solution\nassert solution.f(1) == 2",
    "unittest": (
        "import unittest\nclass T(unittest.TestCase):\n    def test_f(self):\n"
        "        self.assertEqual(f(1), 2)\n        self.assertTrue(f(1) == 2, 'message')\n"
        "        self.assertAlmostEqual(f(0.5), 1.5000000001)\n"
        "        with self.assertRaises(TypeError):\n            f('a')\n"
        "        self.assertRaises(TypeError, f, 'a')\n"
        "if __name__ == '__main__':\n    unittest.main()"
    ),
    "pytest": (
        "import pytest\ndef test_f():\n    assert f(0.1) == pytest.approx(1.1)\n"
        "    with pytest.raises(TypeError):\n        f(None)"
    ),
    "try": (
        "try:\n    f('a')\nexcept TypeError:\n    pass\nelse:\n    raise AssertionError('none')"
    ),
    "type": "assert type(f(1)) is type(2)",
    "random": "import random\nx = random.randint(1, 9)\nassert f(x) == x + 1",
    "keywords": "assert f(x=1) == 2",
}
RIGHT, WRONG = "def f(x): return x + 1", "def f(x): return 7.5"


@pytest.mark.parametrize("name", COMPILED)
async def test_compiled_tests_tell_right_from_wrong_as_the_tests_themselves_do(
    name: str, sandbox: Sandbox
) -> None:
    assert ready(COMPILED[name]).oracle == "outside"
    for candidate, kind in ((RIGHT, "pass"), (WRONG, "fail")):
        verdict = await sandbox.run(candidate, COMPILED[name])
        assert verdict.kind == kind, verdict
        assert verdict.evidence.oracle == "outside"
        if name not in ("pytest", "unittest", "try"):  # whose words are their own
            itself = await sandbox.run(candidate, COMPILED[name], strongest="inside")
            assert itself.kind == kind
            assert itself.evidence.stderr == verdict.evidence.stderr


NOT_COMPILED = {
    "depends on an answer": "assert f(f(1)) == 3",
    "for its effect": "a = [1]\nf(a)\nassert a == [1, 2]",
    "used again": "a = [1]\nassert f(a) == [2]\nassert a == [1]",
    "used again within": "a = [1]\nb = [a]\nassert f(b) == 1\nassert f(a) == 1",
    "a function goes in": "assert f(lambda x: x) == 1",
    "a class": "assert Stack() == 1",
    "a value": "assert f == 1",
    "an attribute": "assert f(1).x == 1",
    "in a comprehension": "assert all(f(x) == x for x in (1, 2))",
    "identity": "a = 1\nassert f(a) is a",
    "asynchronous": "async def test_f():\n    assert await f(1) == 1",
    "imports more": "import statistics\nassert f(1) == statistics.mean([1])",
    "fails by itself": "assert f(1) == 2\nassert 1 == 2",
    "nothing to decide": "assert f(1) is not None",
    "huge": "assert f(10 ** 10 ** 10) == 1",
    "endless": "for x in range(10 ** 9):\n    assert f(x) == x",
    "own exception": "class E(Exception): pass\ntry:\n    f(1)\nexcept E:\n    pass",
    "set up": (
        "import unittest\nclass T(unittest.TestCase):\n    def setUp(self): self.x = 1\n"
        "    def test_f(self): self.assertEqual(f(self.x), 2)"
    ),
}


@pytest.mark.parametrize("name", NOT_COMPILED)
def test_what_data_cannot_say_is_left_as_it_is_and_the_reason_told(name: str) -> None:
    suite = ready(NOT_COMPILED[name])
    assert suite.oracle != "outside"
    assert suite.reason


def test_the_number_of_calls_is_fixed_before_any_run() -> None:
    tests = "for x in range(5):\n    assert f(x) == x\nassert g([1], k=(2,)) == 3"
    cases = compile_tests(tests, plan_tests(tests).to_call)
    assert not isinstance(cases, str)
    assert [call.function for call in cases.calls] == ["f"] * 5 + ["g"]
    assert cases.calls[-1].args == ([1],) and cases.calls[-1].kwargs == {"k": (2,)}
    assert len(cases.expectations) == 6


async def test_a_call_cannot_see_the_other_calls_or_what_is_expected(sandbox: Sandbox) -> None:
    code = (
        "import gc\ndef f(x):\n    seen = repr([o for o in gc.get_objects()"
        " if isinstance(o, (dict, list, tuple)) and len(o) < 50])\n"
        "    print(seen)\n    return x"
    )
    tests = "assert f('a-first-input') == 'a-first-input'\nassert f('b-2nd') != 'c-expected'"
    verdict = await sandbox.run(code, tests)
    assert verdict.evidence.oracle == "outside"
    assert "c-expected" not in verdict.evidence.stdout


@pytest.mark.parametrize(
    ("candidate", "tests"),
    [
        ("def f(x):\n    x.append(1)\n    return x", "a = []\nassert f(a) == [1]\nassert a == [1]"),
        ("n = 0\ndef f():\n    global n\n    n += 1\n    return n", "x = f()\nassert f() == x + 1"),
        (
            "def f(n):\n    yield from range(n)",
            "assert sum(x * y for x, y in zip(f(3), f(3))) == 5",
        ),
        ("def f(x): raise KeyError(x)", "try:\n    f(1)\nexcept LookupError as e:\n    assert e"),
        ("def f(x): return x * 2\ndef g(x): return x / 2", "assert g(f(3)) == 3"),
    ],
    ids=["in place", "state", "generator", "exception", "inverse"],
)
async def test_beside_the_tests_see_what_they_would_see_inside(
    candidate: str, tests: str, sandbox: Sandbox
) -> None:
    for strongest in ("beside", "inside"):
        verdict = await sandbox.run(candidate, tests, strongest=strongest)
        assert verdict.kind == "pass", verdict
        assert verdict.evidence.oracle == strongest
        assert verdict.evidence.in_process is (strongest == "inside")


async def test_tests_that_pass_objects_on_share_the_process_and_say_so(sandbox: Sandbox) -> None:
    candidate = "class P:\n    def __init__(self, x): self.x = x"
    verdict = await sandbox.run(candidate, "p = P(2)\nassert p.x == 2")
    assert verdict.kind == "pass"
    assert verdict.evidence.in_process
    assert "attribute x" in verdict.evidence.not_outside
