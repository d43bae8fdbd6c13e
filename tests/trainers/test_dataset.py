"""Trajectories become examples whose target is code that passed, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

import base_models
from rune_engine.errors import TrainingError
from rune_engine.models import Attempt, Trajectory
from trainers.dataset import examples_of, load_rehearsal, load_trajectories, split
from trainers.tokens import IGNORED, collate


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(base_models.describe("rune-nano").path)


def trajectory(task: str, *attempts: tuple[str, bool], outcome: str = "success") -> Trajectory:
    return Trajectory.model_validate(
        {
            "id": "t1",
            "session_id": "s1",
            "content_hash": "0" * 64,
            "created_at": "2026-01-01T00:00:00Z",
            "project_id": "sorima",
            "task_description": task,
            "outcome": outcome,
            "attempts": [
                Attempt(generated_code=code, stderr=f"error of {code}", tests_passed=passed)
                for code, passed in attempts
            ],
        }
    )


def _target(tokenizer: PreTrainedTokenizerBase, labels: list[int]) -> str:
    return str(tokenizer.decode([label for label in labels if label != IGNORED]))


def test_the_loss_is_on_the_answer_and_its_end_alone(tokenizer: PreTrainedTokenizerBase) -> None:
    [example] = examples_of(trajectory("Sum them.", ("a = 1", True)), tokenizer, 512)
    assert _target(tokenizer, example.labels) == "```python\na = 1\n```<|im_end|>"
    assert "Sum them." in tokenizer.decode(example.ids)


def test_a_repair_shows_the_failed_code_and_its_error_but_never_teaches_it(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    first, repair = examples_of(
        trajectory("Sum them.", ("bad = 1", False), ("good = 1", True)), tokenizer, 512
    )
    for example in (first, repair):
        assert "bad" not in _target(tokenizer, example.labels)
        assert "good = 1" in _target(tokenizer, example.labels)
    assert "bad = 1" not in tokenizer.decode(first.ids)
    assert "bad = 1" in tokenizer.decode(repair.ids)
    assert "error of bad = 1" in tokenizer.decode(repair.ids)


@pytest.mark.parametrize("passed", [False, None])
def test_code_that_did_not_pass_is_never_a_target(
    tokenizer: PreTrainedTokenizerBase, passed: bool | None
) -> None:
    exhausted = trajectory("Sum.", ("a = 1", False), ("a = 2", passed), outcome="exhausted")  # type: ignore[arg-type]
    assert examples_of(exhausted, tokenizer, 512) == []


def test_a_long_conversation_loses_its_beginning_never_its_answer(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    [example] = examples_of(trajectory("word " * 400, ("a = 1", True)), tokenizer, 64)
    assert len(example.ids) == 64
    assert _target(tokenizer, example.labels) == "```python\na = 1\n```<|im_end|>"


def test_a_task_is_never_on_both_sides_of_the_split(tokenizer: PreTrainedTokenizerBase) -> None:
    tasks = [trajectory(f"Task {n % 8}.", (f"a = {n}", True)) for n in range(16)]
    data = split(tasks, tokenizer, kept_back=0.25, seed=3, max_length=512)
    assert len(data.kept_back) == 4 and len(data.training) == 12

    def words(examples: list) -> set[str]:  # type: ignore[type-arg]
        return {tokenizer.decode(e.ids).split("Task ")[1][0] for e in examples}

    assert not words(data.training) & words(data.kept_back)


def test_with_few_tasks_nothing_is_kept_back(tokenizer: PreTrainedTokenizerBase) -> None:
    tasks = [trajectory(f"Task {n}.", ("a = 1", True)) for n in range(5)]
    assert split(tasks, tokenizer, kept_back=0.5, seed=0, max_length=512).kept_back == []


def test_padding_carries_no_loss(tokenizer: PreTrainedTokenizerBase) -> None:
    short, long = (
        examples_of(trajectory(task, ("a = 1", True)), tokenizer, 512)[0]
        for task in ("Sum.", "Sum all of the numbers up.")
    )
    batch = collate([short, long], pad_id=0)
    assert batch.ids.shape == batch.labels.shape == (2, 64)
    assert (batch.labels[1, len(long.ids) :] == IGNORED).all()
    assert (batch.labels[0, len(short.ids) :] == IGNORED).all()


def test_an_unreadable_file_is_a_training_error(tmp_path: Path) -> None:
    broken = tmp_path / "trajectories.jsonl"
    broken.write_text("{not json", encoding="utf-8")
    with pytest.raises(TrainingError, match=r"trajectories\.jsonl"):
        load_trajectories(broken)


def test_rehearsal_is_what_lies_beside_the_base_model(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    assert load_rehearsal(tmp_path, tokenizer, 512) == []
    shipped = load_rehearsal(base_models.describe("rune-nano").path, tokenizer, 512)
    assert shipped and all("def solve" in _target(tokenizer, e.labels) for e in shipped)


def test_code_that_looks_as_if_it_faked_its_tests_gives_no_example(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    honest = trajectory("a", ("def f(): return 1", True))
    faked = trajectory("a", ("import sys\ndef f(): sys.exit(0)", True))
    assert len(examples_of(honest, tokenizer, 512)) == 1
    assert examples_of(faked, tokenizer, 512) == []
