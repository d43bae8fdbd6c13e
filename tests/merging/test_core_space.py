"""Core space beside whole matrices: what is exact there, what is not, and that this is told."""

from __future__ import annotations

import itertools

import merging_support as support
import pytest
import torch
from merging_support import adapter, dense, off
from torch import Tensor

from trainers.closed_form.statistics import LowRank
from trainers.merging.adapters import Adapter
from trainers.merging.core import CoreSpace
from trainers.merging.merge import Merged, merge_adapters
from trainers.merging.methods import Method

EXACT = 1e-6
AVERAGE = (0.5, 0.5)
WEIGHT_METHODS = ("linear", "ties", "dare_linear", "dare_ties")
FULL = {"m": (6, 9)}
"""A module that two adapters of rank 9 fill."""


def merged(method: Method, *adapters: Adapter, rank: int | None = None) -> Merged:
    return merge_adapters(adapters, method, rank, dense_error=True)


def densely(method: Method, module: str, *adapters: Adapter) -> Tensor:
    return method.combine([dense(each.updates[module]) for each in adapters], module)


@pytest.mark.parametrize("ranks", [(4, 4), (1, 8), (16, 3, 5)])
def test_every_parent_is_whole_in_the_space_that_they_share(ranks: tuple[int, ...]) -> None:
    updates = [support.update((24, 40), rank, seed) for seed, rank in enumerate(ranks)]
    space = CoreSpace.of(updates)
    assert space.left.shape[1] <= sum(ranks) and space.right.shape[1] <= sum(ranks)
    for basis in (space.left, space.right):
        assert off(basis.T @ basis, torch.eye(basis.shape[1]).double()) < EXACT
    for core, update in zip(space.cores, updates, strict=True):
        assert off(space.left @ core @ space.right.T, dense(update)) < EXACT


@pytest.mark.parametrize("weights", [(0.5, 0.5), (1.0, 1.0), (0.9, -0.3)])
def test_the_linear_merge_is_the_true_average_of_the_updates(weights: tuple[float, float]) -> None:
    one, other = adapter("one", 4, 1), adapter("other", 7, 2)
    found = merged(Method("linear", weights), one, other)
    for module, update in found.updates.items():
        parts = zip(weights, (one, other), strict=True)
        wanted = sum(weight * dense(each.updates[module]) for weight, each in parts)
        assert isinstance(wanted, Tensor)
        assert off(dense(update), wanted) < EXACT
    assert found.rank == 11 and found.cut_error == 0
    assert found.dense_error is not None and found.dense_error < EXACT


@pytest.mark.parametrize("density", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("name", WEIGHT_METHODS)
def test_where_the_ranks_fill_the_module_every_method_is_the_dense_one(
    name: str, density: float
) -> None:
    one, other = (adapter(str(seed), 9, seed, shapes=FULL) for seed in (1, 2))
    method = Method(name, (0.3, 0.7), density, seed=5)
    found = merged(method, one, other)
    assert off(dense(found.updates["m"]), densely(method, "m", one, other)) < EXACT


def test_where_updates_share_their_directions_ties_is_the_dense_one() -> None:
    """Each update scales single inputs into single outputs, so cores hold the matrix's entries."""

    def scaled(name: str, sizes: list[float]) -> Adapter:
        places = torch.eye(30)[:, : len(sizes)]
        return Adapter(
            name, "tiny", ("m",), {"m": LowRank(places, torch.tensor(sizes).diag() @ places.T)}
        )

    one, other = scaled("one", [3.0, -2.0, 1.0, 0.5]), scaled("other", [1.5, 2.5, 0.25, -4.0])
    method = Method("ties", AVERAGE, 1.0)
    found = merged(method, one, other)
    wanted = densely(method, "m", one, other)
    assert wanted.diagonal()[:4].tolist() == [2.25, 2.5, 0.625, -4.0]
    assert off(dense(found.updates["m"]), wanted) < EXACT


@pytest.mark.parametrize("name", ["ties", "dare_linear", "dare_ties"])
def test_elsewhere_the_difference_from_the_dense_method_is_told(name: str) -> None:
    one, other = adapter("one", 4, 1), adapter("other", 4, 2)
    method = Method(name, AVERAGE, 0.5, seed=3)
    found = merged(method, one, other)
    difference = whole = 0.0
    for module, update in found.updates.items():
        wanted = densely(method, module, one, other)
        difference += float((dense(update) - wanted).square().sum())
        whole += float(wanted.square().sum())
    assert found.dense_error == pytest.approx((difference / whole) ** 0.5, rel=1e-5)
    assert found.dense_error > 0.1
    assert merge_adapters([one, other], method).dense_error is None


@pytest.mark.parametrize("density", [0.3, 1.0])
def test_neither_the_parents_order_nor_how_they_are_factored_matters(density: float) -> None:
    one, other = adapter("one", 4, 1), adapter("other", 6, 2)
    turned = {
        module: LowRank(u.b * 8.0, u.a / 8.0) if number else LowRank(-u.b.flip(1), -u.a.flip(0))
        for number, (module, u) in enumerate(one.updates.items())
    }
    again = Adapter("again", "tiny", one.target_modules, turned)
    method = Method("ties", AVERAGE, density)
    wanted = merged(method, one, other)
    for parents in ([other, one], [again, other]):
        found = merged(method, *parents)
        for module, update in found.updates.items():
            assert off(dense(update), dense(wanted.updates[module])) < EXACT


def test_what_dare_drops_follows_from_the_seed() -> None:
    one, other = adapter("one", 4, 1), adapter("other", 4, 2)

    def of(seed: int) -> Tensor:
        found = merge_adapters([one, other], Method("dare_linear", AVERAGE, 0.5, seed))
        return dense(found.updates["model.layers.0.mlp.down_proj"])

    before = torch.random.get_rng_state()
    assert torch.equal(of(1), of(1)) and off(of(2), of(1)) > 0.1
    assert torch.equal(torch.random.get_rng_state(), before), "nobody else's draws are moved"


def test_dare_is_the_average_on_average() -> None:
    one, other = (adapter(str(seed), 2, seed, shapes={"m": (12, 12)}) for seed in (1, 2))
    wanted = (dense(one.updates["m"]) + dense(other.updates["m"])) / 2
    drawn = [
        dense(merge_adapters([one, other], Method("dare_linear", AVERAGE, 0.5, seed)).updates["m"])
        for seed in range(200)
    ]
    assert off(torch.stack(drawn).mean(0), wanted) < 0.15


def test_a_merge_has_no_more_rank_than_it_needs() -> None:
    one = adapter("one", 4, 1)
    same = Adapter("same", "tiny", one.target_modules, one.updates)
    found = merged(Method("linear", AVERAGE), one, same)
    assert found.rank == 4
    for module, update in found.updates.items():
        assert off(dense(update), dense(one.updates[module])) < EXACT
    nothing = merged(Method("linear", (1.0, -1.0)), one, same)
    assert nothing.rank == 1 and all(not dense(each).any() for each in nothing.updates.values())


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_a_wanted_rank_is_the_best_of_that_rank(rank: int) -> None:
    one, other = adapter("one", 4, 1), adapter("other", 4, 2)
    method = Method("linear", AVERAGE)
    found = merged(method, one, other, rank=rank)
    lost = whole = 0.0
    for module, update in found.updates.items():
        u, sizes, vh = torch.linalg.svd(densely(method, module, one, other), full_matrices=False)
        best = u[:, :rank] @ sizes[:rank].diag() @ vh[:rank]
        assert off(dense(update), best) < EXACT
        lost += float(sizes[rank:].square().sum())
        whole += float(sizes.square().sum())
    assert found.rank == rank
    assert found.cut_error == pytest.approx((lost / whole) ** 0.5, abs=EXACT)
    assert found.dense_error == pytest.approx(found.cut_error, abs=EXACT)


def test_more_rank_than_an_adapter_may_have_is_cut_and_told() -> None:
    shapes = {"m": (300, 300)}
    parents = [adapter(str(seed), 140, seed, shapes=shapes) for seed in (1, 2)]
    found = merge_adapters(parents, Method("linear", AVERAGE))
    assert found.rank == 256 and 0 < found.cut_error < 0.2


@pytest.mark.parametrize("name", WEIGHT_METHODS)
def test_three_parents_merge_as_well(name: str) -> None:
    parents = [adapter(str(seed), 9, seed, shapes=FULL) for seed in (1, 2, 3)]
    method = Method(name, (1 / 3,) * 3, 0.5)
    found = merged(method, *parents)
    assert off(dense(found.updates["m"]), densely(method, "m", *parents)) < EXACT


def test_equal_weights_of_one_in_all_give_ties_mean_of_those_that_agree() -> None:
    signs = list(itertools.product((2.0, -1.0), repeat=2))
    matrices = [torch.tensor([[pair[side] for pair in signs]]).double() for side in (0, 1)]
    found = Method("ties", AVERAGE, 1.0).combine(matrices, "m")
    assert found.tolist() == [[2.0, 2.0, 2.0, -1.0]]
