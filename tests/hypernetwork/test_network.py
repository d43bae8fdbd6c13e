"""Hypernetworks: where they start, what they keep, and that every encoder takes any rows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from trainers.closed_form.evidence import Evidence
from trainers.closed_form.statistics import Statistics, solve
from trainers.hypernetwork import network as networks
from trainers.hypernetwork.objective import Judge, mean_cosine
from trainers.hypernetwork.rows import Rows
from trainers.hypernetwork.settings import EncoderKind, HypernetworkSettings, Kind

WIDTH, OUTPUTS, VOCABULARY = 24, 12, 40
ENCODERS: tuple[EncoderKind, ...] = ("perceiver", "mean", "hierarchical", "recurrent")


def settings(kind: Kind = "refined", encoder: EncoderKind = "perceiver") -> HypernetworkSettings:
    return HypernetworkSettings(
        kind=kind,
        base_model_id="tiny",
        width=WIDTH,
        outputs=OUTPUTS,
        encoder=encoder,
        latents=6,
        hidden=16,
        rank=6,
    )


def rows(count: int = 30, attempts: int = 5) -> Rows:
    return Rows(
        keys=torch.randn(count, WIDTH),
        states=torch.randn(count, OUTPUTS),
        values=torch.randn(count, OUTPUTS),
        right=torch.randn(count, OUTPUTS),
        losses=torch.rand(count),
        chunks=torch.arange(count) * attempts // count,
    )


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def known() -> torch.Tensor:
    keys = torch.randn(200, WIDTH)
    return keys.T @ keys / len(keys)


def test_a_refined_network_starts_as_the_closed_form(known: torch.Tensor) -> None:
    network = networks.make(settings(), known)
    taught = rows()
    expected = solve(Statistics.of(taught.keys, taught.values), known.double(), 30.0, 60.0, OUTPUTS)
    update = network(taught)
    assert torch.allclose(update, expected.b @ expected.a, rtol=1e-2, atol=1e-2)
    cut = network.distill(taught)
    assert cut.a.shape == (6, WIDTH) and cut.b.shape == (OUTPUTS, 6)


@pytest.mark.parametrize("kind", ["refined", "scratch"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_part_of_a_network_learns(
    kind: Kind, encoder: EncoderKind, known: torch.Tensor
) -> None:
    network = networks.make(settings(kind, encoder), known)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    for _ in range(2):  # what lies behind a layer of zeros has no gradient in the first step
        optimizer.zero_grad()
        network(rows()).square().sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    still = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


@pytest.mark.parametrize("kind", ["refined", "scratch"])
def test_what_is_saved_is_what_is_loaded(kind: Kind, known: torch.Tensor, tmp_path: Path) -> None:
    network = networks.make(settings(kind), known).eval()
    networks.save(network, tmp_path)
    taught = rows()
    with torch.no_grad():
        assert torch.equal(networks.load(tmp_path)(taught), network(taught))


def test_other_rows_make_another_update(known: torch.Tensor) -> None:
    network = networks.make(settings("scratch"), known)
    assert float(mean_cosine([network(rows()), network(rows())])) < 0.999


def test_the_rows_of_some_attempts_are_theirs() -> None:
    taught = rows(30, 5)
    some = taught.of_chunks([1, 3])
    assert len(some) == 12
    assert set(some.chunks.tolist()) == {1, 3}
    assert torch.equal(some.keys, taught.keys[torch.isin(taught.chunks, torch.tensor([1, 3]))])


def test_no_update_drifts_nowhere_and_the_right_one_lowers_the_loss(known: torch.Tensor) -> None:
    judge = Judge(torch.randn(VOCABULARY, OUTPUTS), torch.ones(OUTPUTS), 1e-6)
    taught = Evidence(
        torch.randn(8, WIDTH), torch.randn(8, OUTPUTS), torch.randint(0, VOCABULARY, (8,))
    )
    nothing = torch.zeros(OUTPUTS, WIDTH)
    assert float(judge.drift(taught, nothing)) == pytest.approx(0.0, abs=1e-6)
    wanted = judge.head[taught.tokens] * 5
    made = solve(Statistics.of(taught.keys, wanted), known.double(), 1e-3, 1.0, OUTPUTS)
    update = made.b @ made.a
    assert float(judge.loss(taught, update)) < float(judge.loss(taught, None)) / 2
    assert float(judge.drift(taught, update)) > 0.1


def test_cosines_are_of_pairs() -> None:
    one, other = torch.eye(2), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert float(mean_cosine([one])) == 0.0
    assert float(mean_cosine([one, one])) == pytest.approx(1.0)
    assert float(mean_cosine([one, one, other])) == pytest.approx(1 / 3)
