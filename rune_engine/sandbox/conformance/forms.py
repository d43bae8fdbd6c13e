"""The task of every forgery, `add(a, b)`: a right and a wrong answer, and tests in all forms."""

from __future__ import annotations

WRONG = "def add(a, b):\n    return 0\n\n"
RIGHT = "def add(a, b):\n    return a + b\n"

FORMS = {
    "asserts": (
        "assert add(1, 2) == 3\nassert add(5, 5) == 10\nassert add(-4, 1) == -3\n"
        "assert add('ab', 'c') == 'abc'\n"
    ),
    "check(candidate)": (
        "METADATA = {}\n\ndef check(candidate):\n    assert candidate(1, 2) == 3\n"
        "    assert candidate(20, 22) == 42, 'larger numbers'\n\ncheck(add)\n"
    ),
    "functions": (
        "def test_small():\n    values = [add(n, n) for n in range(1, 5)]\n"
        "    assert values == [2, 4, 6, 8]\n\n"
        "def test_signs():\n    for n in (1, 2, 3):\n        assert add(n, -n - 1) == -1\n"
    ),
    "unittest": (
        "import unittest\n\nclass AddTest(unittest.TestCase):\n"
        "    def test_small(self):\n        self.assertEqual(add(1, 2), 3)\n\n"
        "    def test_many(self):\n        for n in range(1, 4):\n"
        "            self.assertEqual(add(n, n), 2 * n)\n"
    ),
    "in process": (
        "import statistics\n\nclass Pair:\n    def __init__(self, left, right):\n"
        "        self.left, self.right = left, right\n\n"
        "    def total(self):\n        return add(self.left, self.right)\n\n"
        "def test_pairs():\n"
        "    totals = [Pair(n, n + 1).total() for n in range(1, 6)]\n"
        "    assert statistics.mean(totals) == 7\n    assert totals == [3, 5, 7, 9, 11]\n"
    ),
}
"""The same function's tests in the forms that suites come in; the last compiles to no data."""

RANDOM_TESTS = (
    "import random\n\ndef test_random():\n    for _ in range(20):\n"
    "        a, b = random.randint(1, 10**6), random.randint(1, 10**6)\n"
    "        assert add(a, b) == a + b\n"
)
TIMED_TESTS = (
    "import time\n\ndef test_is_fast():\n    began = time.perf_counter()\n"
    "    for n in range(300):\n        assert add(n, 1) == n + 1\n"
    "    assert time.perf_counter() - began < 0.1\n"
)
MUTATED_TESTS = (
    "def test_keeps_its_argument():\n    values = [1, 2]\n    expected = [1, 2, 3]\n"
    "    assert add(values, [3]) == expected\n    assert values == [1, 2]\n"
)
