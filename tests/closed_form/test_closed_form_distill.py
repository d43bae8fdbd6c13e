"""A closed-form distillation, from trajectories to an adapter that others load."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import closed_form_support as support
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config

from rune_engine.errors import NothingToDistillError, TrainingError
from rune_engine.inference.adapter_files import AdapterReader
from rune_engine.inference.provider import AdapterRef
from rune_engine.inference.vllm.base_shapes import Shapes
from rune_engine.inference.vllm.refusals import check_servable
from rune_engine.inference.vllm.replies import ServerFacts
from rune_engine.models import TrainerJob, TrainerResult
from trainers import dataset
from trainers.closed_form import base_files, known
from trainers.closed_form.base_files import shape_of
from trainers.closed_form.evidence import Reader
from trainers.closed_form.output import Output

MODULE = "model.layers.1.mlp.down_proj"


@pytest.fixture(scope="module")
def done(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainerJob, TrainerResult]:
    """A distillation of six sessions, and what it reported. Copy its folder to change it."""
    job = support.job_in(tmp_path_factory.mktemp("done"), base)
    return job, support.run(job)


def again(done: TrainerJob, folder: Path, **changes: object) -> TrainerJob:
    """The same job in a folder with a copy of what was kept."""
    assert done.statistics_path is not None
    shutil.copytree(done.statistics_path, folder / "statistics")
    return support.job_in(folder, Path(done.base_model_path), **changes)


def test_what_others_taught_shows_on_what_was_left_out(
    done: tuple[TrainerJob, TrainerResult],
) -> None:
    _, result = done
    assert result.kept_back_loss is not None and result.kept_back_loss_before is not None
    assert result.kept_back_loss < result.kept_back_loss_before <= 3.0
    assert (result.method, result.steps, result.newly_read) == ("closed_form", 0, 6)
    assert set(result.chosen) == {"ridge", "strength"}
    assert result.examples == 8 and result.delta_w_norm > 0
    assert result.peak_memory_bytes > 0 and result.estimated_memory_bytes > 0


def test_the_base_model_answers_with_it_as_the_solve_says(
    done: tuple[TrainerJob, TrainerResult],
) -> None:
    job, _ = done
    folder = Path(job.base_model_path)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    [example] = dataset.examples_of(support.trajectories(3)[2], tokenizer, 1024)
    evidence = Reader(model).read([example])
    output = Output.load(folder, shape_of(folder), "cpu")
    answers = torch.tensor(example.labels[1:]) != -100
    ids = torch.tensor([example.ids])
    before = model(ids).logits[0, :-1][answers].log_softmax(-1).detach()
    served = PeftModel.from_pretrained(model, job.output_path)
    lora = served.base_model.model.get_submodule(MODULE)
    moved = evidence.keys @ lora.lora_A["default"].weight.T @ lora.lora_B["default"].weight.T
    after = served(ids).logits[0, :-1][answers].log_softmax(-1).detach()
    rows = range(len(evidence))
    for logits, moves in ((before, None), (after, moved.detach())):
        wanted = -logits[rows, evidence.tokens]
        torch.testing.assert_close(output.losses(evidence, moves), wanted, rtol=1e-3, atol=1e-3)
    assert float(after[rows, evidence.tokens].mean()) > float(before[rows, evidence.tokens].mean())


def test_every_reader_of_adapters_takes_it(done: tuple[TrainerJob, TrainerResult]) -> None:
    job, result = done
    folder = Path(job.output_path)
    digest = hashlib.sha256(support.weights_of(job)).hexdigest()
    adapter = AdapterRef("a", folder, digest, "tiny")
    found = AdapterReader().read(adapter)
    assert list(found.pairs) == [MODULE]
    pair = found.pairs[MODULE]
    assert pair.a.shape == (result.rank, support.WIDTH) and pair.scaling == 1.0
    shapes: Shapes = {MODULE: (support.HIDDEN, support.WIDTH)}
    check_servable(adapter, ServerFacts(max_rank=32), shapes)


def test_it_can_be_written_as_gguf(done: tuple[TrainerJob, TrainerResult], tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    from rune_engine.gguf.export import Exported, to_gguf

    job, _ = done
    digest = hashlib.sha256(support.weights_of(job)).hexdigest()
    to_gguf(Exported("a", Path(job.output_path), digest, "tiny"), tmp_path / "a.gguf")
    assert (tmp_path / "a.gguf").stat().st_size > 0


def test_a_second_distillation_reads_nothing_and_says_the_same(
    done: tuple[TrainerJob, TrainerResult], tmp_path: Path
) -> None:
    first, result = done
    job = again(first, tmp_path)
    second = support.run(job)
    assert second.newly_read == 0
    assert support.weights_of(job) == support.weights_of(first)
    same = {"kept_back_loss", "kept_back_loss_before", "training_loss", "delta_w_norm", "rank"}
    assert second.model_dump(include=same) == result.model_dump(include=same)


def test_one_session_more_is_one_session_read(
    done: tuple[TrainerJob, TrainerResult], tmp_path: Path
) -> None:
    job = again(done[0], tmp_path, taught=support.trajectories(7))
    assert support.run(job).newly_read == 1 and len(support.files_of(job)) == 7
    fresh = support.job_in(tmp_path / "fresh", Path(job.base_model_path), support.trajectories(7))
    assert support.run(fresh).newly_read == 7
    assert support.weights_of(job) == support.weights_of(fresh)


def test_a_damaged_file_is_made_again(
    done: tuple[TrainerJob, TrainerResult], tmp_path: Path
) -> None:
    job = again(done[0], tmp_path)
    victim = support.files_of(job)[0]
    good = victim.read_bytes()
    victim.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert support.run(job).newly_read == 1
    assert victim.read_bytes()[-1] == good[-1] and support.run(job).newly_read == 0
    assert support.weights_of(job) == support.weights_of(done[0])


def test_another_base_model_of_the_same_name_reads_everything_anew(
    done: tuple[TrainerJob, TrainerResult], tmp_path: Path
) -> None:
    job = again(done[0], tmp_path)
    other = support.make_base(tmp_path / "other", seed=1)
    assert support.run(job.model_copy(update={"base_model_path": str(other)})).newly_read == 6


def test_nothing_is_kept_where_nothing_may_be(base: Path, tmp_path: Path) -> None:
    job = support.job_in(tmp_path, base, support.trajectories(2), statistics_path=None)
    assert support.run(job).newly_read == 2
    assert {path.name for path in tmp_path.iterdir()} == {"out", "trajectories.jsonl"}


def test_a_base_model_may_ship_what_it_knows(
    done: tuple[TrainerJob, TrainerResult], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, _ = done
    base = tmp_path / "base"
    shutil.copytree(first.base_model_path, base)
    known.main(base)
    assert str(known.SHIPPED) in capsys.readouterr().out
    assert known.load([base / known.SHIPPED], base_files.identity(base)) is not None
    job = support.job_in(tmp_path, base)
    support.run(job)
    assert not list((tmp_path / "statistics").glob("*/known.safetensors"))
    assert support.weights_of(job) == support.weights_of(first)
    AutoModelForCausalLM.from_pretrained(base, local_files_only=True)


def test_one_session_has_nobody_to_judge_it_and_no_more_rank_than_rows(
    base: Path, tmp_path: Path
) -> None:
    job = support.job_in(tmp_path, base, support.trajectories(3)[2:], rank=200)
    result = support.run(job)
    assert result.kept_back_loss is None and result.kept_back_loss_before is None
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_bytes())
    assert config["r"] == config["lora_alpha"] == result.rank == support.HIDDEN
    assert config["target_modules"] == ["layers.1.mlp.down_proj"]


def test_a_wide_model_gives_the_same_adapter_from_products(
    done: tuple[TrainerJob, TrainerResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load

    from trainers.closed_form import choosing

    job = again(done[0], tmp_path)
    monkeypatch.setattr(choosing, "is_wide", lambda _width, _rows: True)
    support.run(job)
    found, wanted = load(support.weights_of(job)), load(support.weights_of(done[0]))
    update, right = (t[f"{_A}B.weight"] @ t[f"{_A}A.weight"] for t in (found, wanted))
    assert float((update - right).norm() / right.norm()) < 1e-4


_A = f"base_model.model.{MODULE}.lora_"


def test_a_base_models_recommendation_is_followed_and_the_jobs_rank_comes_first(
    base: Path, tmp_path: Path
) -> None:
    other = tmp_path / "base"
    shutil.copytree(base, other)
    recommended = {"folds": 1, "rank": 5, "ridges": [7.0], "strengths": [9.0]}
    (other / "rune.json").write_text(json.dumps({"id": "tiny", "closed_form": recommended}))
    result = support.run(support.job_in(tmp_path, other))
    assert (result.rank, result.kept_back_loss) == (5, None)
    weaker = support.job_in(tmp_path, other, rank=3)
    assert support.run(weaker).rank == 3


def test_what_is_not_of_qwen2s_shape_is_refused_with_the_reason(base: Path, tmp_path: Path) -> None:
    other = tmp_path / "gpt2"
    shutil.copytree(base, other)
    GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=1024).save_pretrained(other)
    with pytest.raises(TrainingError, match="gpt2") as caught:
        support.run(support.job_in(tmp_path, other))
    assert "lora" in str(caught.value.next_step)


def test_too_little_memory_is_told_before_anything_is_read(base: Path, tmp_path: Path) -> None:
    job = support.job_in(tmp_path, base, memory_limit_bytes=1)
    with pytest.raises(TrainingError, match="its limit leaves"):
        support.run(job)
    assert support.files_of(job) == []


def test_nothing_that_passed_is_nothing_to_distill(base: Path, tmp_path: Path) -> None:
    job = support.job_in(tmp_path, base, support.trajectories(2, outcome="exhausted"))
    with pytest.raises(NothingToDistillError):
        support.run(job)


def test_a_recommendation_that_cannot_be_understood_is_told(base: Path, tmp_path: Path) -> None:
    other = tmp_path / "base"
    shutil.copytree(base, other)
    (other / "rune.json").write_text('{"id": "tiny", "closed_form": {"folds": 0}}')
    with pytest.raises(TrainingError, match=r"rune\.json"):
        support.run(support.job_in(tmp_path, other))
