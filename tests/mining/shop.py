"""A small shop's history: with tests that decide, with tests that do not, and without any."""

from __future__ import annotations

from pathlib import Path

from repositories import History

CART = '''"""What a customer wants."""


def total(prices):
    """Add them up."""
    return sum(prices) + 1
'''
CART_FIXED = CART.replace("sum(prices) + 1", "sum(prices)")
CART_TESTS = """from shop.cart import total


def test_the_total_is_the_sum():
    assert total([2, 3]) == 5
    assert total([]) == 0
"""
_FILLER = "\n\n".join(
    f'def reason_{n}():\n    return "reason {n} of the tax office"' for n in range(40)
)
TAX = f'''from shop.cart import total

{_FILLER}


class Tax:
    """Of one country."""

    def __init__(self, rate):
        self.rate = rate

    def on(self, prices):
        return total(prices) * self.rate
'''
TAX_ROUNDED = TAX.replace("total(prices) * self.rate", "round(total(prices) * self.rate, 2)")
TAX_NAMED = TAX_ROUNDED.replace(
    "    def on(self",
    '    def __str__(self):\n        return f"{self.rate:.0%}"\n\n    def on(self',
)
TAX_TESTS = """import pytest

from shop.tax import Tax
from tests.prices import PRICES


@pytest.fixture
def tax():
    return Tax(0.19)


def test_tax_is_rounded(tax):
    assert tax.on(PRICES) == 0.63
"""


def shop(folder: Path) -> tuple[History, dict[str, str]]:
    """The repository, and its commits by a word for each."""
    history, made = History(folder), {}
    made["root"] = history.commit(
        "Begin the shop with a cart",
        {"shop/__init__.py": "", "shop/cart.py": CART, "README.md": "A shop.\n"},
    )
    made["tax"] = history.commit("Add the tax of a country", {"shop/tax.py": TAX})
    made["fixed"] = history.commit(
        "fix(cart): the total counted one too many (#7)\n\nNobody should pay for nothing.\n\n"
        "Signed-off-by: Ada Confidential <ada@secret.example>\nCo-authored-by: Bob <b@b.example>",
        {"shop/cart.py": CART_FIXED, "tests/__init__.py": "", "tests/test_cart.py": CART_TESTS},
    )
    made["rounded"] = history.commit(
        "Round the tax to whole cents",
        {
            "shop/tax.py": TAX_ROUNDED,
            "tests/test_tax.py": TAX_TESTS,
            "tests/prices.py": "PRICES = [1.11, 2.22]\n",
        },
    )
    made["named"] = history.commit("Show a tax as its percentage", {"shop/tax.py": TAX_NAMED})
    made["bump"] = history.commit("Bump version to 1.2.3", {"shop/__init__.py": "V = '1.2.3'\n"})
    return history, made
