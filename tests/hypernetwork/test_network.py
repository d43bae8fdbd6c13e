"""Hypernetworks: where they start, what they keep, and that every encoder takes any rows."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from trainers.closed_form.evidence import Evidence
from trainers.closed_form.known import Known
from trainers.closed_form.statistics import LowRank, Statistics, solve
from trainers.hypernetwork import files
from trainers.hypernetwork import network as networks
from trainers.hypernetwork.objective import Judge, divergence, mean_cosine, reconstruction
from trainers.hypernetwork.rows import Rows
from trainers.hypernetwork.settings import EncoderKind, HeadsKind, HypernetworkSettings, Kind
from trainers.hypernetwork.teacher import Told

WIDTH, OUTPUTS, VOCABULARY, KNOWN = 24, 12, 40, 16
ENCODERS: tuple[EncoderKind, ...] = ("perceiver", "mean", "hierarchical", "recurrent")


def settings(
    kind: Kind = "refined", encoder: EncoderKind = "perceiver", heads_kind: HeadsKind = "rows"
) -> HypernetworkSettings:
    return HypernetworkSettings(
        kind=kind,
        heads_kind=heads_kind,
        base_model_id="tiny",
        targets=("layers.1.mlp.down_proj",),
        epsilon=1e-6,
        known=KNOWN,
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
        tokens=torch.randint(0, VOCABULARY, (count,)),
        values=torch.randn(count, OUTPUTS),
        right=torch.randn(count, OUTPUTS),
        losses=torch.rand(count),
        chunks=torch.arange(count) * attempts // count,
    )


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def known() -> Known:
    return Known.of(torch.randn(200, WIDTH), most=KNOWN)


def closed_form(taught: Rows, known: Known, rank: int) -> LowRank:
    nats = taught.values.square().sum(-1) / (taught.states.square().mean(-1) + 1e-6).sqrt()
    own = float(nats[taught.losses > math.log(2)].mean())
    sums = Statistics.of(taught.keys, taught.values)
    return solve(sums, known.mean(), 30.0, 60.0 / own, rank)


@pytest.mark.parametrize("wide", [False, True])
def test_a_refined_network_starts_as_the_closed_form(
    known: Known, wide: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "is_wide", lambda _width, _rows: wide)
    network, taught = networks.make(settings(), known), rows()
    expected = closed_form(taught, known, OUTPUTS)
    update = network(taught).detach()
    wanted = expected.b @ expected.a
    assert float((update - wanted).norm() / wanted.norm()) < 1e-3
    cut, narrow = network.distill(taught), closed_form(taught, known, 6)
    assert cut.a.shape == (6, WIDTH) and cut.b.shape == (OUTPUTS, 6)
    error = (cut.b @ cut.a - narrow.b @ narrow.a).norm() / narrow.norm
    assert float(error) < 1e-3


@pytest.mark.parametrize(
    ("kind", "heads_kind"),
    [("refined", "rows"), ("scratch", "ranks"), ("scratch", "pointers"), ("scratch", "rows")],
)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_part_of_a_network_learns(
    kind: Kind, heads_kind: HeadsKind, encoder: EncoderKind, known: Known
) -> None:
    network = networks.make(settings(kind, encoder, heads_kind), known)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    for _ in range(2):  # what lies behind a layer of zeros has no gradient in the first step
        optimizer.zero_grad()
        network(rows()).square().sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    still = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


@pytest.mark.parametrize("kind", ["refined", "scratch"])
def test_what_is_written_is_what_is_read(kind: Kind, known: Known, tmp_path: Path) -> None:
    network, taught = networks.make(settings(kind), known).eval(), rows()
    files.write(network, tmp_path, "a base")
    with torch.no_grad():
        wanted, found = network(taught), files.read(tmp_path)(taught)
    # Large tensors are kept in bfloat16.
    assert float((found - wanted).norm() / wanted.norm()) < 0.02
    assert files.read(tmp_path).settings == network.settings


@pytest.mark.parametrize(
    "targets",
    [(), ("layers.1.self_attn.q_proj",), ("layers.0.mlp.down_proj", "layers.1.mlp.down_proj")],
)
def test_a_target_that_no_pass_has_read_for_is_refused(targets: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError, match="target"):
        HypernetworkSettings.model_validate({**settings().model_dump(), "targets": targets})


@pytest.mark.parametrize("heads_kind", ["ranks", "pointers", "rows"])
def test_other_rows_make_another_update(heads_kind: HeadsKind, known: Known) -> None:
    network = networks.make(settings("scratch", heads_kind=heads_kind), known)
    assert float(mean_cosine([network(rows()), network(rows())])) < 0.999


@pytest.mark.parametrize("heads_kind", ["ranks", "pointers", "rows"])
def test_an_update_from_scratch_is_cut_to_its_rank(heads_kind: HeadsKind, known: Known) -> None:
    network, taught = networks.make(settings("scratch", heads_kind=heads_kind), known), rows()
    made = network.distill(taught)
    assert made.a.shape == (6, WIDTH) and made.b.shape == (OUTPUTS, 6)
    whole, moves = network(taught).detach(), taught.keys @ network(taught).detach().T
    left = (made.moves(taught.keys) - moves).square().sum()
    best = torch.linalg.svdvals(moves)[6:].square().sum()
    assert float(left) <= float(best) * 1.01 + 1e-4 * float(moves.square().sum())
    assert whole.shape == (OUTPUTS, WIDTH)


def test_the_rows_of_some_attempts_are_theirs() -> None:
    taught = rows(30, 5)
    some = taught.of_chunks([1, 3])
    assert len(some) == 12
    assert set(some.chunks.tolist()) == {1, 3}
    assert torch.equal(some.keys, taught.keys[torch.isin(taught.chunks, torch.tensor([1, 3]))])


def test_no_update_drifts_nowhere_and_the_right_one_lowers_the_loss(known: Known) -> None:
    judge = Judge(torch.randn(VOCABULARY, OUTPUTS), torch.ones(OUTPUTS), 1e-6)
    taught = Evidence(
        torch.randn(8, WIDTH), torch.randn(8, OUTPUTS), torch.randint(0, VOCABULARY, (8,))
    )
    nothing = torch.zeros(OUTPUTS, WIDTH)
    assert float(judge.drift(taught, nothing)) == pytest.approx(0.0, abs=1e-6)
    wanted = judge.head[taught.tokens] * 5
    made = solve(Statistics.of(taught.keys, wanted), known.mean(), 1e-3, 1.0, OUTPUTS)
    update = made.b @ made.a
    after, before = (
        torch.nn.functional.cross_entropy(judge.logits(taught, each), taught.tokens)
        for each in (update, None)
    )
    assert float(after) < float(before) / 2
    assert float(judge.drift(taught, update)) > 0.1


def test_cosines_are_of_pairs() -> None:
    one, other = torch.eye(2), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert float(mean_cosine([one])) == 0.0
    assert float(mean_cosine([one, one])) == pytest.approx(1.0)
    assert float(mean_cosine([one, one, other])) == pytest.approx(1 / 3)


def test_a_teacher_who_said_the_same_is_no_loss_and_another_one_is() -> None:
    logits = torch.randn(6, VOCABULARY)
    chances = logits.log_softmax(-1).topk(8)
    told = Told(chances.indices, chances.values)
    assert float(divergence(told, logits)) == pytest.approx(0.0, abs=1e-6)
    other = torch.randn(6, VOCABULARY)
    exact = torch.nn.functional.kl_div(
        other.log_softmax(-1), logits.log_softmax(-1), log_target=True, reduction="batchmean"
    )
    assert 0 < float(divergence(told, other)) <= float(exact)


def test_an_update_is_off_by_nothing_from_itself_and_by_all_when_there_is_none() -> None:
    keys = torch.randn(20, WIDTH)
    wanted = LowRank(torch.randn(OUTPUTS, 3), torch.randn(3, WIDTH))
    update = wanted.b @ wanted.a
    assert float(reconstruction(update, wanted, keys)) == pytest.approx(0.0, abs=1e-9)
    assert float(reconstruction(0 * update, wanted, keys)) == pytest.approx(1.0)
