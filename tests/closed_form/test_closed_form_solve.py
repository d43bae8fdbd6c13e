"""The solve and its sums, on tensors alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trainers.closed_form.known import Known
from trainers.closed_form.statistics import STEADYING, LowRank, Products, Statistics, solve

ROUNDING = 1e-6
"""Of the update's size: what leaves a solve is float32."""


def rows(count: int, width: int = 40, outputs: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Keys and values of which some directions matter more than others."""
    made = torch.Generator().manual_seed(seed)
    scales = torch.linspace(0.2, 3.0, width)
    keys = torch.randn(count, width, generator=made) * scales
    return keys, torch.randn(count, outputs, generator=made)


def known(width: int = 40, rest: float = 0.0) -> Known:
    return Known(rows(25, width, seed=9)[0] / 5, rest)


def whole(update: LowRank) -> Tensor:
    return update.b.double() @ update.a.double()


def off(found: LowRank, wanted: LowRank | Tensor) -> float:
    """The difference in the size of what was wanted."""
    right = whole(wanted) if isinstance(wanted, LowRank) else wanted
    return float((whole(found) - right).norm() / right.norm())


def steadied(taught: Statistics, mean: Tensor, ridge: float) -> Tensor:
    gram = taught.gram + ridge * mean
    return gram + STEADYING * gram.diagonal().mean() * torch.eye(len(gram))


def test_the_solution_is_that_of_the_normal_equations() -> None:
    keys, values = rows(30)
    taught, mean = Statistics.of(keys, values), known().mean()
    exact_keys, exact_values = keys.double(), values.double()
    gram = exact_keys.T @ exact_keys + 7.0 * mean
    gram += STEADYING * gram.diagonal().mean() * torch.eye(40)
    wanted = 5.0 * exact_values.T @ exact_keys @ torch.linalg.inv(gram)
    assert off(solve(taught, mean, 7.0, 5.0, rank=12), wanted) < ROUNDING


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_the_cut_is_the_best_of_its_rank_in_the_metric_of_the_rows(rank: int) -> None:
    taught, mean = Statistics.of(*rows(30)), known().mean()
    gram = steadied(taught, mean, 7.0)
    full = taught.cross @ torch.linalg.inv(gram)
    metric = torch.linalg.cholesky(gram)

    def cost(update: Tensor) -> float:
        return float(((update - full) @ metric).norm())

    best = float(torch.linalg.svdvals(full @ metric)[rank:].norm())
    left, sizes, right = torch.linalg.svd(full)
    plain = left[:, :rank] * sizes[:rank] @ right[:rank]
    found = cost(whole(solve(taught, mean, 7.0, 1.0, rank)))
    assert found == pytest.approx(best, rel=1e-5)
    assert found < 0.999 * cost(plain)


def test_a_session_added_is_as_if_all_had_been_solved_for_at_once() -> None:
    (keys, values), (more_keys, more_values) = rows(30), rows(11, seed=1)
    together = Statistics.of(torch.cat([keys, more_keys]), torch.cat([values, more_values]))
    added = Statistics.of(keys, values) + Statistics.of(more_keys, more_values)
    mean = known().mean()
    assert off(solve(added, mean, 7.0, 2.0, 6), solve(together, mean, 7.0, 2.0, 6)) < ROUNDING


def test_a_session_subtracted_is_as_if_it_had_never_been_seen() -> None:
    first, second, mean = Statistics.of(*rows(30)), Statistics.of(*rows(11, seed=1)), known().mean()
    never = solve(first, mean, 7.0, 2.0, 6)
    assert off(solve(first + second, mean, 7.0, 2.0, 6), never) > 0.01
    assert off(solve(first + second - second, mean, 7.0, 2.0, 6), never) < ROUNDING


def test_rows_that_count_twice_are_rows_that_stand_there_twice() -> None:
    keys, values = rows(30)
    twice = Statistics.of(torch.cat([keys, keys]), torch.cat([values, values]))
    mean = known().mean()
    scaled = Statistics.of(keys, values).scaled(2.0)
    assert off(solve(scaled, mean, 7.0, 1.0, 6), solve(twice, mean, 7.0, 1.0, 6)) < ROUNDING


@pytest.mark.parametrize("width", [40, 300], ids=["more rows", "wider keys"])
@pytest.mark.parametrize("rest", [0.0, 0.05])
def test_products_of_rows_give_what_sums_over_rows_give(width: int, rest: float) -> None:
    keys, values = rows(50, width)
    mean = known(width, rest)
    summed = solve(Statistics.of(keys, values), mean.mean(), 30.0, 3.0, 8)
    products = Products.of(keys, values, mean.rows, mean.rest)
    assert off(products.solve(30.0, 3.0, 8), summed) < 1e-5


def test_products_leave_rows_out_as_if_they_had_never_been_there() -> None:
    keys, values = rows(50, 300)
    mean = known(300, 0.05)
    every = Products.of(keys, values, mean.rows, mean.rest)
    fewer = Products.of(keys[20:], values[20:], mean.rows, mean.rest)
    left = every.solve(30.0, 1.0, 8, torch.arange(20, 50))
    assert off(left, fewer.solve(30.0, 1.0, 8)) < ROUNDING


def test_the_norm_and_the_moves_are_those_of_the_product() -> None:
    update = solve(Statistics.of(*rows(30)), known().mean(), 7.0, 5.0, 4)
    assert update.norm == pytest.approx(float(whole(update).norm()), rel=1e-5)
    keys = rows(5, seed=3)[0]
    wanted = (keys.double() @ whole(update).T).float()
    torch.testing.assert_close(update.moves(keys), wanted, rtol=1e-3, atol=1e-4)


def test_few_rows_of_what_is_known_are_kept_as_they_are() -> None:
    keys = rows(20)[0].bfloat16().float()
    mean = (keys.T @ keys).double() / 20
    torch.testing.assert_close(Known.of(keys).mean(), mean, rtol=0.02, atol=0.02)
    assert Known.of(keys).rest == 0.0


@pytest.mark.parametrize("width", [40, 300], ids=["more rows", "wider keys"])
def test_many_rows_become_their_largest_directions_and_a_rest(width: int) -> None:
    keys = rows(120, width)[0]
    wanted = (keys.T @ keys).double() / 120
    found = Known.of(keys, most=30)
    assert found.rows.shape == (30, width) and found.rest > 0
    torch.testing.assert_close(found.mean().trace(), wanted.trace(), rtol=0.01, atol=0.0)
    largest = torch.linalg.eigvalsh(wanted)[-1]
    assert float(torch.linalg.matrix_norm(found.mean() - wanted, 2)) < 0.5 * float(largest)
