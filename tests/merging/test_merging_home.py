"""Merges as the engine makes them: of registered adapters, by its own trainer, registering none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import adapter_files
import closed_form_support as support
import pytest

from rune_engine.config import RuneConfig, load_config
from rune_engine.database import Database, open_database
from rune_engine.errors import (
    AdapterBaseModelMismatchError,
    AdapterForgottenError,
    BaseModelNotFoundError,
    InvalidInputError,
    MergeRefusedError,
    RuneError,
    TrainingError,
)
from rune_engine.jobs.candidates import Candidate
from rune_engine.jobs.merging import OF_WEIGHTS, Merging
from rune_engine.jobs.trainer import Trainers
from rune_engine.models import AdapterInfo, TrajectoryDraft
from rune_engine.models.merging import MergeJob, MergeSettings
from rune_engine.registry import AdapterDraft, AdapterRegistry, AdapterWeights
from rune_engine.trajectories import TrajectoryStore

NOBODY = Trainers(("false",))
"""For what has to be refused, or known, before a trainer starts."""


class Home:
    """A home with trajectories of one project."""

    def __init__(self, config: RuneConfig, database: Database) -> None:
        self.config = config
        self.registry = AdapterRegistry(database, config)
        self.trajectories = TrajectoryStore(database)
        self.ids: list[str] = []
        for each in support.trajectories(5):
            given = each.model_dump(exclude={"id", "content_hash", "created_at"})
            stored, _ = self.trajectories.record(TrajectoryDraft.model_validate(given))
            self.ids.append(stored.id)

    def merging(self, trainers: Trainers | None = None) -> Merging:
        return Merging(self.config, self.registry, self.trajectories, trainers or Trainers())

    def store(
        self,
        name: str,
        weights: AdapterWeights,
        trained: Sequence[str] = (),
        kept_back: Sequence[str] = (),
        base: str = "tiny",
    ) -> AdapterInfo:
        draft = AdapterDraft(
            id=name,
            project_id="p",
            base_model_id=base,
            session_id="s",
            source="distillation",
        )
        roles = dict.fromkeys(kept_back, "kept_back") | dict.fromkeys(trained, "trained")
        return self.registry.store(draft, weights, learnt_from=roles)  # type: ignore[arg-type]

    def distilled(self, folder: Path, base: Path, name: str, trained: Sequence[str]) -> AdapterInfo:
        """A parent that the closed form made and whose statistics this home keeps."""
        taught = [self.trajectories.get(each) for each in trained]
        job = support.job_in(
            folder / name, base, taught, statistics_path=str(self.config.statistics_path)
        )
        assert support.run(job).newly_read == len(trained)
        output = Path(job.output_path)
        config = json.loads((output / "adapter_config.json").read_bytes())
        weights = AdapterWeights(output / "adapter_model.safetensors", config)
        return self.store(name, weights, trained)


@pytest.fixture
def home(base: Path, tmp_path: Path) -> Any:
    config = load_config(home=tmp_path / "home", base_model=str(base))
    database = open_database(config)
    yield Home(config, database)
    database.close()


def merge(home: Home, folder: Path, *parents: AdapterInfo, **settings: Any) -> Any:
    trainers = settings.pop("trainers", None)
    leave_out = settings.pop("leave_out", ())
    asked = MergeSettings.model_validate(settings)
    report = lambda _done, _what: None  # noqa: E731
    return home.merging(trainers).merge("j1", parents, asked, folder, report, leave_out=leave_out)


async def test_a_candidate_is_of_the_parents_and_registered_by_nobody(
    home: Home, tmp_path: Path
) -> None:
    one = home.store("one", adapter_files.weights(1), home.ids[:2], home.ids[2:4])
    other = home.store("other", adapter_files.weights(2), home.ids[2:3], home.ids[:1])
    made = await merge(home, tmp_path / "merge", one, other, method="ties", density=1.0)
    assert {each.id for each in home.registry.list_all()} == {"one", "other"}
    assert (made.result.method, made.result.rank, made.result.modules) == ("ties", 4, 1)
    trained, kept_back = home.ids[:3], home.ids[3:4]
    roles = dict.fromkeys(kept_back, "kept_back") | dict.fromkeys(trained, "trained")
    assert made.learnt_from == roles

    again = await merge(home, tmp_path / "merge", one, other, method="ties", trainers=NOBODY)
    assert again == made, "what was done is not done again"
    stored = home.store(made.ref.id, made.weights(), trained)
    assert (stored.file_hash, stored.rank) == (made.ref.sha256, 4)
    alike = await home.merging().compare("j2", [one, other, stored], tmp_path / "compare")
    assert alike.norms[:2] == pytest.approx(made.result.parents.norms)
    assert alike.norms[2] == pytest.approx(made.result.delta_w_norm)
    assert alike.cosines[2][0] > 0.3 and alike.cosines[0][1] == pytest.approx(
        made.result.parents.cosines[0][1]
    )


async def test_together_is_the_closed_form_of_all_that_was_kept(
    home: Home, base: Path, tmp_path: Path
) -> None:
    """The parents were trained on two trajectories each; a fifth is to be left out."""
    one = home.distilled(tmp_path, base, "one", home.ids[:2])
    other = home.distilled(tmp_path, base, "other", home.ids[2:5])
    made: Candidate = await merge(
        home, tmp_path / "merge", one, other, leave_out=[home.ids[4]], rank=16
    )
    assert made.result.method == "statistics", "the base model has no hypernetwork"
    assert made.result.distilled is not None
    assert made.result.distilled.newly_read == 0, "no model reads what was kept"
    assert made.learnt_from == dict.fromkeys(home.ids[:4], "trained") | {home.ids[4]: "kept_back"}

    taught = sorted((home.trajectories.get(each) for each in home.ids[:4]), key=lambda t: t.id)
    anew = support.job_in(tmp_path / "anew", base, taught, rank=16)
    assert support.run(anew).newly_read == 4
    merged = (made.ref.path / "adapter_model.safetensors").read_bytes()
    assert merged == support.weights_of(anew)


async def test_where_what_they_learnt_from_is_gone_their_weights_are_merged(
    home: Home, tmp_path: Path
) -> None:
    one = home.store("one", adapter_files.weights(1))
    other = home.store("other", adapter_files.weights(2))
    assert (await job_of(home, tmp_path / "gone", one, other)).trajectories_path is None
    taught = [
        home.store(name, adapter_files.weights(seed), home.ids[seed : seed + 1])
        for seed, name in enumerate(("three", "four"))
    ]
    assert (await job_of(home, tmp_path / "weighed", *taught, weights=[0.9, 0.1])).weights
    assert (await job_of(home, tmp_path / "mixed", *taught, one)).parents[2].id == "one"


async def job_of(home: Home, folder: Path, *parents: AdapterInfo, **settings: Any) -> MergeJob:
    """The job that a trainer is given, of the method for weights."""
    with pytest.raises(TrainingError):
        await merge(home, folder, *parents, trainers=NOBODY, **settings)
    asked = MergeJob.model_validate_json((folder / "job.json").read_bytes())
    assert asked.method == OF_WEIGHTS
    return asked


async def test_what_cannot_be_merged_is_refused_before_a_trainer_starts(
    home: Home, tmp_path: Path
) -> None:
    one = home.store("one", adapter_files.weights(1), home.ids[:1])
    other = home.store("other", adapter_files.weights(2), home.ids[1:2])
    large = [
        home.store(name, adapter_files.weights(seed), home.ids[2:3], base="large")
        for seed, name in enumerate(("large-1", "large-2"))
    ]
    unknown = home.store("unknown", adapter_files.weights(5))

    async def refused(kind: type[RuneError], *parents: AdapterInfo, **given: Any) -> str:
        with pytest.raises(kind) as caught:
            await merge(home, tmp_path / "merge", *parents, trainers=NOBODY, **given)
        assert caught.value.next_step and not (tmp_path / "merge").exists()
        return caught.value.message

    assert "two different adapters" in await refused(MergeRefusedError, one)
    assert "two different adapters" in await refused(MergeRefusedError, one, one)
    assert "large, tiny" in await refused(AdapterBaseModelMismatchError, one, large[0])
    await refused(BaseModelNotFoundError, *large, method="train")
    await refused(BaseModelNotFoundError, one, other, method="train", base_model="nowhere")
    gone = await refused(MergeRefusedError, one, unknown, method="train", leave_out=home.ids[:1])
    assert "not known any more" in gone
    await refused(InvalidInputError, one, other, method="hypernetwork")
    home.registry.forget(["other"])
    await refused(AdapterForgottenError, one, other)
