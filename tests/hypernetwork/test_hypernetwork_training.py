"""A hypernetwork's training: what it learns from is kept, and a killed one loses nothing."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import closed_form_support as support
import pytest
import torch
from safetensors.torch import load
from transformers import AutoModelForCausalLM, AutoTokenizer

from base_models.hypernetworks import FOLDER, WEIGHTS
from trainers.closed_form.evidence import Reader
from trainers.hypernetwork import assess, files
from trainers.hypernetwork.adapters import direct_update, train_direct
from trainers.hypernetwork.lessons import LessonMaker, Scheme, shown_and_asked, world_of
from trainers.hypernetwork.plan import FIRST_SEED, Plan
from trainers.hypernetwork.settings import HypernetworkSettings
from trainers.hypernetwork.shelf import Shelf
from trainers.hypernetwork.teacher import Teacher
from trainers.hypernetwork.train import Training
from trainers.tracking import track_training

SCHEME = Scheme(sessions=4, tasks=1, told=4)
BOUND_SECONDS = 240
PLAN: dict[str, Any] = {
    "projects": 2,
    "judged": 2,
    "steps": 6,
    "check_every": 2,
    "warmup": 2,
    "plain": 4,
    "context": 0.5,
}


@pytest.fixture(scope="module")
def lessons(plain_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that keeps lessons for all the trainings here."""
    return tmp_path_factory.mktemp("lessons")


def shelf_of(base: Path, lessons: Path) -> Shelf:
    return Shelf(lessons, base, SCHEME)


def training(base: Path, lessons: Path, out: Path, **plan: Any) -> Training:
    shelf = shelf_of(base, lessons)
    settings = HypernetworkSettings(
        base_model_id="tiny",
        targets=(shelf.shape.target,),
        width=support.WIDTH,
        outputs=support.HIDDEN,
        epsilon=shelf.shape.epsilon,
        known=len(shelf.known().rows),
        hidden=16,
        latents=4,
    )
    direct = plan.pop("direct", None)
    return Training(base, out, shelf, settings, Plan.model_validate({**PLAN, **plan}), direct)


def run(one: Training, tracking: Path | None = None) -> list[dict[str, float]]:
    told: list[dict[str, float]] = []
    with track_training(tracking, {"seed": 0}, one.run_id) as tracked:
        one.run(tracked, told.append)
    return told


def weights(out: Path) -> bytes:
    return (out / FOLDER / WEIGHTS).read_bytes()


@pytest.fixture(scope="module")
def unbroken(plain_base: Path, lessons: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unbroken")
    told = run(training(plain_base, lessons, out))
    (out / "told.json").write_text(json.dumps(told))
    return out


def test_each_checkpoint_tells_how_it_stands(unbroken: Path) -> None:
    told = json.loads((unbroken / "told.json").read_bytes())
    assert [each["step"] for each in told if "step" in each] == [0, 2, 4, 6]
    last = told[-1]
    assert {"exact_share", "loss", "drift", "delta_w_norm", "cosine_diversity"} <= set(last)
    assert last["training_next"] > 0 and last["training_drift"] >= 0
    assert any("training_context" in each for each in told)
    assert 0 <= last["exact_share"] <= 1 and 0 < last["cosine_diversity"] <= 2


_BREAKS = """
import sys
from pathlib import Path
sys.path[:0] = [{tests!r}, {support!r}]
import torch
torch.set_num_threads(1)
import test_hypernetwork_training as own
one = own.training(Path({base!r}), Path({lessons!r}), Path({out!r}))
with own.track_training(None, {{}}, None) as tracked:
    one.run(tracked, lambda told: print(told.get("step"), flush=True))
"""


def test_one_that_was_killed_ends_in_the_same_weights(
    unbroken: Path, plain_base: Path, lessons: Path, tmp_path: Path
) -> None:
    here = Path(__file__).parent
    told = {"base": str(plain_base), "lessons": str(lessons), "out": str(tmp_path)}
    script = _BREAKS.format(tests=str(here), support=str(here.parent), **told)
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == "4":  # told before it is saved: what is there is of step 2
                process.send_signal(signal.SIGKILL)
                break
        assert process.wait(BOUND_SECONDS) == -signal.SIGKILL
    finally:
        process.kill()
        process.wait(BOUND_SECONDS)
    again = training(plain_base, lessons, tmp_path)
    steps = [each["step"] for each in run(again) if "step" in each]
    assert steps and steps[0] > 2 and steps[-1] == 6
    assert weights(tmp_path) == weights(unbroken)


def test_one_that_has_ended_does_nothing_more(
    unbroken: Path, plain_base: Path, lessons: Path
) -> None:
    before = weights(unbroken)
    told = run(training(plain_base, lessons, unbroken))
    assert [each for each in told if "step" in each] == []
    assert weights(unbroken) == before


def test_what_it_learnt_is_a_hypernetwork_of_its_base_model(
    unbroken: Path, plain_base: Path, lessons: Path
) -> None:
    network = files.read(unbroken / FOLDER)
    lesson = shelf_of(plain_base, lessons).lesson(FIRST_SEED, "evaluation")
    made = network.distill(lesson.rows)
    assert made.b.shape[0] == support.HIDDEN and made.a.shape[1] == support.WIDTH


def test_it_stops_where_diversity_is_lost_and_does_not_go_on(
    plain_base: Path, lessons: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        told = run(training(plain_base, lessons, tmp_path, least_diversity=3.0))
    assert [each for each in told if "step" in each] == []
    assert training(plain_base, lessons, tmp_path, least_diversity=3.0).run_id is None
    assert (tmp_path / FOLDER / WEIGHTS).exists()


def test_its_run_goes_on_in_mlflow(plain_base: Path, lessons: Path, tmp_path: Path) -> None:
    import mlflow

    tracking = tmp_path / "mlflow.db"
    first = training(plain_base, lessons, tmp_path, steps=2)
    run(first, tracking)
    again = training(plain_base, lessons, tmp_path, steps=2)
    assert again.run_id == first.run_id is not None
    run(again, tracking)
    [found] = mlflow.MlflowClient().search_runs(
        [e.experiment_id for e in mlflow.search_experiments(filter_string="name='hypernetworks'")]
    )
    wanted = {"training_loss", "adapter_cosine_diversity", "delta_w_norm", "exact_share"}
    assert wanted <= set(found.data.metrics)
    assert found.data.params["phase"] == "hypernetwork"


# --- lessons -------------------------------------------------------------------------------------


def test_lessons_are_made_once_and_again_where_they_are_damaged(
    plain_base: Path, lessons: Path, unbroken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = lessons / f"meta_training-{FIRST_SEED}.safetensors"
    good = file.read_bytes()
    made: list[int] = []
    make = LessonMaker.make

    def counted(self: LessonMaker, seed: int, *given: Any) -> Any:
        made.append(seed)
        return make(self, seed, *given)

    monkeypatch.setattr(LessonMaker, "make", counted)
    shelf_of(plain_base, lessons).lesson(FIRST_SEED)
    assert made == []
    file.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    shelf_of(plain_base, lessons).lesson(FIRST_SEED)
    again = load(file.read_bytes())
    assert made == [FIRST_SEED] and again.keys() == load(good).keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in load(good).items())


def test_a_lesson_has_repairs_and_everything_that_is_asked(plain_base: Path, lessons: Path) -> None:
    lesson = shelf_of(plain_base, lessons).lesson(FIRST_SEED)
    assert lesson.rows.trajectories == SCHEME.sessions
    assert int(lesson.asked.answers[-1]) + 1 == 2 * SCHEME.tasks
    assert lesson.asked.told is not None
    assert lesson.asked.told.tokens.shape == (len(lesson.asked.evidence), SCHEME.told)


def test_a_teacher_who_goes_on_from_the_sessions_says_what_one_who_reads_all_says(
    plain_base: Path,
) -> None:
    model = AutoModelForCausalLM.from_pretrained(plain_base, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(plain_base)
    _, recorded, asked = world_of(7, "meta_training", SCHEME)
    teacher = Teacher(model, tokenizer, 1024)
    shown = [session.task for session in recorded]
    together = teacher.tell(shown, asked, 4)
    alone = [teacher.tell(shown, [task], 4) for task in asked]
    whole = torch.cat([each.log_chances for each in alone])
    torch.testing.assert_close(together.log_chances, whole, rtol=1e-3, atol=1e-3)
    unshown = teacher.tell([], asked, 4)
    assert not torch.allclose(unshown.log_chances, whole, atol=1e-2)
    # Sessions that do not fit are left out, the oldest first.
    short = Teacher(model, tokenizer, 200).tell(shown, asked, 4)
    assert short.tokens.shape == together.tokens.shape


def test_rows_are_the_same_read_alone_and_in_a_lesson(plain_base: Path, lessons: Path) -> None:
    shelf = shelf_of(plain_base, lessons)
    lesson = shelf.lesson(FIRST_SEED)
    reader = Reader.load(plain_base, "cpu", torch.float32)
    fresh = LessonMaker(reader, shelf.tokenizer, shelf.shape.longest, SCHEME).make(FIRST_SEED)
    torch.testing.assert_close(lesson.rows.keys, fresh.rows.keys.bfloat16().float())
    assert torch.equal(lesson.rows.tokens, fresh.rows.tokens)


# --- directly trained adapters, and the assessment -----------------------------------------------


@pytest.fixture(scope="module")
def direct(plain_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directly trained adapter of one project of each kind."""
    import shutil

    import base_models

    folder = tmp_path_factory.mktemp("direct")
    shutil.copytree(plain_base, folder / "base")
    settings = {"max_steps": 2, "min_steps": 1, "rank": 2, "learning_rate": 1e-2}
    (folder / "base" / "rune.json").write_text(json.dumps({"distillation": settings}))
    base = base_models.describe(str(folder / "base"))
    for split, seed in (("meta_training", FIRST_SEED), ("evaluation", assess.FIRST_SEED)):
        assert train_direct(base, folder / "adapters", split, seed) > 0
        assert train_direct(base, folder / "adapters", split, seed) == 0
    return folder / "adapters"


def test_a_training_may_learn_from_directly_trained_adapters(
    plain_base: Path, lessons: Path, direct: Path, tmp_path: Path
) -> None:
    assert direct_update(direct, "meta_training", FIRST_SEED, "layers.1.mlp.down_proj") is not None
    assert direct_update(direct, "meta_training", 1, "layers.1.mlp.down_proj") is None
    with pytest.raises(ValueError, match="alone"):
        direct_update(direct, "meta_training", FIRST_SEED, "layers.0.mlp.down_proj")
    plan = {"direct": direct, "reconstruct": 1.0, "steps": 6, "check_every": 1}
    told = run(training(plain_base, lessons, tmp_path, **plan))
    assert any(each.get("training_reconstruct", 0) > 0 for each in told)


def test_the_assessment_has_every_condition(
    plain_base: Path,
    lessons: Path,
    unbroken: Path,
    direct: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    report = tmp_path / "report.json"
    given = ["--base", plain_base, "--hypernetwork", unbroken / FOLDER, "--direct", direct]
    given += ["--lessons", tmp_path / "lessons", "--projects", "2", "--json", report]
    monkeypatch.setattr(sys, "argv", ["assess", *map(str, given)])
    assess.main()
    found = json.loads(report.read_bytes())
    projects = {name: each["projects"] for name, each in found["conditions"].items()}
    alone = dict.fromkeys(("base", *assess.CLOSED_FORMS, "hypernetwork", "random"), 2)
    assert projects == alone | {"direct": 1}
    right = {name: each["exact_share"] for name, each in found["conditions"].items()}
    for name, gain in found["gains"].items():
        assert gain["value"] == pytest.approx(right["hypernetwork"] - right[name])
        assert gain["interval"][0] <= gain["value"] <= gain["interval"][1]
    assert found["conditions"]["base"]["drift"] == pytest.approx(0.0, abs=1e-6)
    norms = {name: each["delta_w_norm"] for name, each in found["conditions"].items()}
    assert norms["random"] == pytest.approx(norms["hypernetwork"], rel=1e-3)
    assert set(found["reconstruction"]) == {"closed_form", "hypernetwork", "random"}
    assert found["reconstruction"]["random"] > 1.0


def test_only_what_was_shown_is_asked() -> None:
    for number in range(40):
        shown, known = shown_and_asked(random.Random(number), FIRST_SEED, "meta_training", Scheme())
        _, recorded, asked = world_of(FIRST_SEED, "meta_training", Scheme())
        seen = {key for each in shown for key in recorded[each].task.combination}
        assert known and len(set(shown)) == len(shown)
        for index, task in enumerate(asked):
            assert (index in known) == (set(task.combination) <= seen)
