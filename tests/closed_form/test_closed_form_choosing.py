"""The end of a base model, and the settings that are chosen by what it says."""

from __future__ import annotations

from pathlib import Path

import closed_form_support as support
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from trainers import dataset
from trainers.closed_form import output as output_module
from trainers.closed_form.base_files import shape_of
from trainers.closed_form.choosing import MOST_NATS, Lesson, choose, folded
from trainers.closed_form.evidence import Evidence, Reader
from trainers.closed_form.kept import Kept
from trainers.closed_form.known import Known
from trainers.closed_form.output import Output
from trainers.closed_form.settings import ClosedFormSettings
from trainers.closed_form.statistics import Statistics, solve

KNOWN = Known(torch.randn(20, support.WIDTH, generator=torch.Generator().manual_seed(3)), 0.01)


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return support.make_base(tmp_path_factory.mktemp("base") / "tiny", tied=request.param)


@pytest.fixture(scope="module")
def evidence(folder: Path) -> list[Evidence]:
    """What each of four sessions says."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    reader = Reader.load(folder, "cpu", torch.float32)
    every = support.trajectories(4)
    return [reader.read(dataset.examples_of(each, tokenizer, 1024)) for each in every]


@pytest.fixture(scope="module")
def output(folder: Path) -> Output:
    return Output.load(folder, shape_of(folder), "cpu")


def test_a_value_is_the_gradient_at_the_last_state_but_for_the_norms_size(
    folder: Path, evidence: list[Evidence], output: Output
) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    states = evidence[2].states.clone().requires_grad_(True)
    size = states.detach().square().mean(-1, keepdim=True).add(1e-6).sqrt()
    logits = (states / size * model.model.norm.weight) @ model.lm_head.weight.T
    torch.nn.functional.cross_entropy(logits, evidence[2].tokens, reduction="sum").backward()
    assert states.grad is not None
    wanted = -states.grad * size
    torch.testing.assert_close(output.values(evidence[2]), wanted, rtol=1e-3, atol=1e-4)


def test_losses_and_values_are_the_same_a_few_rows_and_words_at_a_time(
    evidence: list[Evidence], output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, moves = evidence[0], evidence[0].states.flip(0) / 3
    whole = output.values(rows), output.losses(rows), output.losses(rows, moves)
    monkeypatch.setattr(output_module, "LOGITS", 5000)
    parts = output.values(rows), output.losses(rows), output.losses(rows, moves)
    for found, wanted in zip(parts, whole, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_unit_is_what_a_value_adds_to_the_margin(
    evidence: list[Evidence], output: Output
) -> None:
    """A small step along a value lowers the loss by about that much, to the first order."""
    rows = Evidence.joined(evidence)
    values, step = output.values(rows), 1e-4
    chances = (-output.losses(rows)).exp()
    size = rows.states.square().mean(-1, keepdim=True).add(1e-6).sqrt()
    fallen = (output.losses(rows) - output.losses(rows, values * step)) / step
    wanted = (values.square().sum(-1, keepdim=True) / size).squeeze(1)
    assert float((chances < 0.5).float().mean()) > 0.5
    # The norm takes back what points along the state itself.
    ratio = float(fallen[chances < 0.5].mean()) / output.unit(rows)
    assert 0.3 < ratio < 1.2
    assert output.unit(rows) == pytest.approx(float(wanted[chances < 0.5].mean()), rel=1e-4)


@pytest.mark.parametrize("wide", [False, True], ids=["sums", "products"])
def test_a_part_left_out_is_as_if_it_had_never_been_there(
    evidence: list[Evidence], output: Output, wide: bool
) -> None:
    kept = [Kept.of(each, output.values(each)) for each in evidence]
    lesson = Lesson([kept[:2], kept[2:]], KNOWN, wide=wide)
    found = lesson.solve(30.0, 8, without=0)
    others = Lesson([kept[2:]], KNOWN, wide=wide).solve(30.0, 8)
    sums = [Statistics.of(each.keys.float(), each.values.float()) for each in kept[2:]]
    wanted = solve(sums[0] + sums[1], KNOWN.mean(), 30.0, 1.0, 8)
    right = wanted.b @ wanted.a
    for update in (found, others):
        assert float((update.b @ update.a - right).norm() / right.norm()) < 1e-4


def test_the_choice_is_the_candidate_that_leaves_the_least_loss(
    evidence: list[Evidence], output: Output
) -> None:
    kept = [Kept.of(each, output.values(each)) for each in evidence]
    parts = [[kept[0], kept[2]], [kept[1], kept[3]]]
    judged = [Evidence.joined([each.judged for each in part]) for part in parts]
    settings = ClosedFormSettings(ridges=[3.0, 300.0], strengths=[1.0, 5.0, 2000.0])
    unit = output.unit(Evidence.joined(judged))
    chosen = choose(Lesson(parts, KNOWN), judged, output, settings, 8, unit)

    def loss(ridge: float, strength: float) -> float:
        found = []
        for taught, part in zip((parts[1], parts[0]), judged, strict=True):
            update = Lesson([taught], KNOWN).solve(ridge, 8).scaled(strength / unit)
            found.append(output.losses(part, update.moves(part.keys)).clamp(max=MOST_NATS))
        return float(torch.cat(found).mean())

    losses = {(r, s): loss(r, s) for r in settings.ridges for s in settings.strengths}
    assert chosen.loss == pytest.approx(min(losses.values()), rel=1e-4)
    assert losses[chosen.ridge, chosen.strength] == min(losses.values())
    assert chosen.loss_before is not None and chosen.loss_before <= MOST_NATS


def test_a_task_is_in_one_part_and_every_part_has_one() -> None:
    tasks = ["a", "b", "c", "a", "d", "b", "e"]
    parts = folded(tasks, 4, seed=0)
    assert sorted(number for part in parts for number in part) == list(range(7))
    homes = [next(n for n, part in enumerate(parts) if number in part) for number in range(7)]
    assert homes[0] == homes[3] and homes[1] == homes[5]
    assert len(parts) == 4 and all(parts)
    assert folded(tasks, 4, seed=0) == parts
    assert len(folded(["a", "a"], 4, seed=0)) == 1
