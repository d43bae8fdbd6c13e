"""K-fold: every task is put to an adapter that was made without it and all that is near to it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from engine_support import (
    ADD_TESTS,
    base_model_folder,
    draft,
    make_fast,
    stand_in_trainer_path,
)

from rune_engine.config import RuneConfig, load_config
from rune_engine.database import Database
from rune_engine.errors import InvalidInputError
from rune_engine.jobs.folding import Folding, made_at_once
from rune_engine.jobs.store import JobStore
from rune_engine.jobs.trainer import Trainers
from rune_engine.models import DistillParams, EvaluateParams, Trajectory

ALIKE = DistillParams(project_id="shop", method="closed_form")
WHAT = ("invoice", "ledger", "customer", "delivery", "warehouse", "payment")


def taught() -> list[Trajectory]:
    """Six tasks; of the first two there is a second session in other words."""
    asked = [f"Add the open amounts of every {what} to the {what} total." for what in WHAT]
    asked += [f"Please: {text}" for text in asked[:2]]
    own = {"content_hash": "", "created_at": "now"}
    return [
        Trajectory.model_validate(
            draft(number, task_description=text, test_suite=ADD_TESTS).model_dump()
            | own
            | {"id": str(number), "session_id": "s"}
        )
        for number, text in enumerate(asked)
    ]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RuneConfig:
    """A home whose base model makes adapters at once, by the stand-in trainer."""
    monkeypatch.setenv("PYTHONPATH", stand_in_trainer_path())
    model = base_model_folder(tmp_path)
    make_fast(model)
    return load_config(home=tmp_path / "home", base_model=str(model))


def folding(config: RuneConfig) -> Folding:
    return Folding(config, Trainers((sys.executable, "-m", "trainers")))


async def test_no_fold_learns_from_what_it_is_judged_by(home: RuneConfig) -> None:
    params, learnt = EvaluateParams(adapter_id="a", folds=3), taught()
    made = folding(home)
    await made.make("job", params, learnt, ALIKE, lambda _done, _what: None)
    found = made.made("job", params, learnt, lambda _project: None, "tiny")
    judged = [task.trajectory_id for fold in found for task in fold.tasks]
    assert sorted(map(str, judged)) == [each.id for each in learnt], "each once"
    twins = {"0": "6", "1": "7", "6": "0", "7": "1"}
    for fold in found:
        ids = {str(task.trajectory_id) for task in fold.tasks}
        lines = (fold.ref.path.parent / "trajectories.jsonl").read_text().splitlines()
        read = {json.loads(line)["id"] for line in lines}
        assert read == {each.id for each in learnt} - ids
        assert all(twins.get(each, each) in ids for each in ids), "a task and its like together"
        assert (fold.ref.path / "adapter_config.json").exists()
        assert fold.ref.base_model_id == "tiny" and fold.ref.sha256


async def test_what_was_made_before_an_interruption_is_not_made_again(home: RuneConfig) -> None:
    params, learnt, told = EvaluateParams(adapter_id="a", folds=3), taught(), list[str]()
    await folding(home).make("job", params, learnt, ALIKE, lambda _done, what: told.append(what))
    (home.jobs_path / "job" / "fold-1" / "done").unlink()
    await folding(home).make("job", params, learnt, ALIKE, lambda _done, what: told.append(what))
    assert [what.split()[2] for what in told] == ["1", "2", "3", "2"]


async def test_one_task_in_many_words_cannot_be_parted(home: RuneConfig) -> None:
    params = EvaluateParams(adapter_id="a", folds=2)
    one = [each for each in taught() if each.id in ("0", "6")]
    with pytest.raises(InvalidInputError, match="cannot be parted"):
        await folding(home).make("job", params, one, ALIKE, lambda _done, _what: None)


def test_only_what_was_made_at_once_has_others_made_like_it(
    config: RuneConfig, database: Database
) -> None:
    jobs = JobStore(database)
    figures = dict.fromkeys(("trajectories", "examples", "steps", "peak_memory_bytes"), 1)
    losses = {"training_loss": 0.1, "kept_back_loss": None, "kept_back_loss_before": None}
    for method in ("closed_form", "lora"):
        jobs.enqueue("distill", DistillParams(project_id="shop", rank=3))
        job = jobs.claim("1/2/3/4", ["distill"])
        assert job is not None
        made = {**figures, **losses, "adapter_id": method, "delta_w_norm": 1.0, "seconds": 1.0}
        jobs.succeed(job, {**made, "method": method})
    alike = made_at_once("closed_form", jobs.that_made("closed_form"))
    assert (alike.method, alike.rank) == ("closed_form", 3)
    for other in ("lora", "nobody"):
        with pytest.raises(InvalidInputError, match="trains nothing"):
            made_at_once(other, jobs.that_made(other))
