"""What is taught and what is asked: worlds of their own seeds, and suites parted in two."""

from __future__ import annotations

from pathlib import Path

import pytest
from experiments_support import SMALL, suite_file

from rune_engine.cli.demo import make_worlds
from rune_engine.errors import InvalidInputError
from rune_engine.experiments.settings import GateSettings
from rune_engine.experiments.subjects import make_subjects, world_subject


def test_every_project_of_every_seed_is_a_subject_with_tasks_of_both_kinds() -> None:
    subjects = make_subjects(GateSettings(seeds=(1, 4), projects=2, tasks=3, plain=1))
    assert [subject.group for subject in subjects] == [1, 1, 4, 4]
    assert len({subject.name for subject in subjects}) == 4
    for subject in subjects:
        kinds = [task.kind for task in subject.tasks]
        assert kinds == ["new_combinations"] * 3 + ["new_wordings"] * 3
        assert len(subject.lessons) == 12 and len(subject.plain) == 1
    keys = [task.key for s in subjects for task in (*s.tasks, *s.plain)]
    assert len(set(keys)) == len(keys)


def test_the_same_settings_give_the_same_subjects() -> None:
    assert make_subjects(SMALL) == make_subjects(SMALL)


def test_the_demos_projects_are_others() -> None:
    demo = {world.project.name for seed in (0, 1, 5) for world in make_worlds(seed, 3, 6, 1)}
    gate = {s.names[0] for s in make_subjects(GateSettings(seeds=(0, 1, 5), tasks=1))}
    assert not demo & gate


def test_a_suite_is_parted_and_every_task_is_on_one_side(tmp_path: Path) -> None:
    settings = GateSettings(suite=suite_file(tmp_path), suite_share=0.5)
    [subject] = make_subjects(settings)
    taught = {lesson.description for lesson in subject.lessons}
    asked = {task.description for task in subject.tasks}
    assert (len(taught), len(asked), len(taught & asked)) == (3, 3, 0)
    assert subject.name == "adding"
    assert {task.kind for task in subject.tasks} == {"suite"}
    assert subject.lessons[0].attempts[0].startswith("def add_")


def test_another_seed_parts_the_suite_in_another_way(tmp_path: Path) -> None:
    suite = suite_file(tmp_path, 12)
    parted = {
        tuple(task.key for task in make_subjects(GateSettings(suite=suite, seed=seed))[0].tasks)
        for seed in range(4)
    }
    assert len(parted) > 1


def test_a_suite_of_one_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="cannot be parted"):
        make_subjects(GateSettings(suite=suite_file(tmp_path, 1)))


@pytest.mark.parametrize(("seed", "number"), [(300, 0), (1, 1000), (-1, 0)])
def test_seeds_that_would_reach_into_other_worlds_are_refused(seed: int, number: int) -> None:
    with pytest.raises(InvalidInputError, match="no world"):
        world_subject(seed, number, SMALL)


@pytest.mark.parametrize("wrong", [{"seeds": ()}, {"seeds": (1, 1)}, {"suite_share": 1.0}])
def test_settings_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError):
        GateSettings(**wrong)  # type: ignore[arg-type]


def test_the_command_of_a_run_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    settings = GateSettings(base=str(tmp_path / "my-model"), suite=tmp_path / "he.jsonl.gz")
    assert "--base my-model --suite he.jsonl.gz" in settings.command()
    assert str(tmp_path) not in settings.command()
