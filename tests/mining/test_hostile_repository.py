"""A repository that wants to run something, write something or never end: it is read, or refused.

Every trap here is first sprung by plain git, so that "it was not run" means something.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import psutil
import pytest
from repositories import History, snapshot

from rune_engine.errors import InvalidInputError, RepositoryUnreadableError
from rune_engine.mining import git as asking
from rune_engine.mining import history as reading
from rune_engine.mining.history import Rules, Skipped
from rune_engine.mining.planning import Planner
from rune_engine.mining.repository import Repository
from rune_engine.mining.trees import Tree
from rune_engine.models.mining import MineParams

BEFORE = "def count(items):\n    return len(items) + 1\n"
AFTER = "def count(items):\n    return len(items)\n"


@pytest.fixture
def made(tmp_path: Path) -> History:
    found = History(tmp_path / "repository")
    found.commit("Begin with a count of items", {"shop/cart.py": BEFORE})
    found.commit("Count every item only once", {"shop/cart.py": AFTER})
    return found


def planned(folder: Path) -> Planner:
    with Repository(folder) as repository:
        planner = Planner(reading.History(repository, Rules()))
        planner.add(repository.newest(repository.resolve(None), limit=50))
    return planner


def mined(folder: Path) -> list[str]:
    """The units of a plan, after every one of them was written as a tree, too."""
    plan = planned(folder).plan(0.0)
    with Repository(folder) as repository:
        for planned_commit in plan.commits:
            history = reading.History(repository, Rules())
            commit = history.read(planned_commit.id, Skipped())
            assert commit is not None
            Tree(repository, commit).write(folder.parent / "tree", [])
    return [f"{unit.path}:{unit.name}" for commit in plan.commits for unit in commit.units]


def trap(folder: Path, then: str = "cat") -> tuple[str, Path]:
    """A program, and the file that is there once it has run."""
    sprung = folder / "sprung"
    program = folder / "trap.sh"
    program.write_text(f"#!/bin/sh\ntouch '{sprung}'\n{then}\n")
    program.chmod(0o755)
    return str(program), sprung


def test_no_program_of_the_repositorys_settings_is_run(made: History, tmp_path: Path) -> None:
    program, sprung = trap(tmp_path)
    hooks = made.folder / ".git" / "hooks"
    for name in ("post-checkout", "reference-transaction", "pre-auto-gc", "post-index-change"):
        hooks.mkdir(exist_ok=True)
        (hooks / name).write_text(f"#!/bin/sh\ntouch '{sprung}'\n")
        (hooks / name).chmod(0o755)
    (made.folder / ".gitattributes").write_text("*.py diff=evil filter=evil merge=evil\n")
    made.commit_all("Let everything be filtered by it")
    for name in (
        "core.fsmonitor", "core.pager", "core.editor", "core.sshCommand", "core.askPass",
        "diff.external", "diff.evil.command", "diff.evil.textconv", "filter.evil.clean",
        "filter.evil.smudge", "filter.evil.process", "gpg.program", "gpg.ssh.program",
        "core.alternateRefsCommand", "credential.helper", "pager.log", "pager.rev-list",
        "interactive.diffFilter", "uploadpack.packObjectsHook",
    ):  # fmt: skip
        made.git("config", name, program)
    for name, value in (
        ("alias.rev-list", f"!{program}"),
        ("alias.cat-file", f"!{program}"),
        ("log.showSignature", "true"),
        ("core.hooksPath", str(hooks)),
        ("diff.evil.cachetextconv", "true"),
    ):
        made.git("config", name, value)
    made.git("log", "-p", "--ext-diff", check=False)
    assert sprung.exists(), "the trap works where git is asked without care"
    sprung.unlink()
    before = snapshot(made.folder)
    assert mined(made.folder) == ["shop/cart.py:"]
    assert not sprung.exists()
    assert snapshot(made.folder) == before


def test_nothing_is_fetched_for_a_clone_that_lacks_objects(made: History, tmp_path: Path) -> None:
    program, sprung = trap(tmp_path, "exit 1")
    blob = made.git("rev-parse", "HEAD:shop/cart.py")
    (made.folder / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    for name, value in (
        ("core.repositoryFormatVersion", "1"),
        ("extensions.partialClone", "origin"),
        ("remote.origin.promisor", "true"),
        ("remote.origin.url", f"ext::{program}"),
        ("protocol.ext.allow", "always"),
    ):
        made.git("config", name, value)
    made.git("cat-file", "-p", blob, check=False)
    assert sprung.exists(), "git itself would fetch"
    sprung.unlink()
    assert mined(made.folder) == []
    assert not sprung.exists()


def test_paths_that_lead_out_of_the_tree_are_left_out(made: History, tmp_path: Path) -> None:
    """Trees are made by hand: git itself refuses to add such names."""
    blob = made.git("rev-parse", "HEAD:shop/cart.py")
    raw = bytes.fromhex(blob)
    names = [b"..", b".git", b"GIT~1", b"a\nb.py", b"ok.py", b"\xff.py"]
    outside = tmp_path / "outside.py"
    link = tmp_path / "link"
    link.write_text(str(outside))
    linked = bytes.fromhex(made.git("hash-object", "-w", str(link)))
    data = b"".join(b"100644 " + name + b"\0" + raw for name in sorted(names))
    data += b"120000 z-link.py\0" + linked + b"160000 z-module\0" + raw
    file = tmp_path / "tree.bin"
    file.write_bytes(data)
    tree = made.git("hash-object", "-t", "tree", "-w", "--literally", str(file))
    made.git(
        "update-ref", "HEAD", made.git("commit-tree", tree, "-p", "HEAD", "-m", "Add a few files")
    )
    with Repository(made.folder) as repository:
        head = repository.resolve(None)
        listed = repository.files(head)
        assert listed is not None
        assert [each.path for each in listed] == ["GIT~1", "ok.py"]
        commit = reading.History(repository, Rules()).read(head, Skipped())
        assert commit is not None
        Tree(repository, commit).write(tmp_path / "tree", [])
    written = sorted(path.name for path in (tmp_path / "tree").rglob("*"))
    assert written == ["GIT~1", "ok.py"]
    assert not outside.exists() and not link.is_symlink()


def test_a_large_blob_is_not_read(made: History) -> None:
    made.commit(
        "Add a table of many numbers", {"shop/table.py": "T = [\n" + "0,\n" * 300_000 + "]\n"}
    )
    with Repository(made.folder) as repository:
        planner = Planner(reading.History(repository, Rules()))
        planner.add(repository.newest(repository.resolve(None), limit=1))
        plan = planner.plan(0.0)
        assert plan.skipped_files == {reading.UNREADABLE_FILE: 1}
        assert repository.bytes_read < 10_000


def test_bytes_that_are_no_text_are_left_out(made: History) -> None:
    made.commit("Add a few odd files here", {"a.py": b"\xff\xfe\0x", "b.py": b"x = 1\0\n"})
    assert planned(made.folder).plan(0.0).skipped_files == {reading.UNREADABLE_FILE: 2}


def test_a_repository_that_never_answers_is_given_up(
    made: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "_CALL_SECONDS", 0.5)
    blob = made.git("rev-parse", "HEAD:shop/cart.py")
    held = made.folder / ".git" / "objects" / blob[:2] / blob[2:]
    held.unlink()
    os.mkfifo(held)
    assert stat.S_ISFIFO(held.lstat().st_mode)
    assert mined(made.folder) == []
    children = psutil.Process().children(recursive=True)
    assert not [child for child in children if "git" in child.name()]


def test_a_broken_history_is_read_as_far_as_it_goes(made: History) -> None:
    first = made.git("rev-parse", "HEAD~1:shop")
    (made.folder / ".git" / "objects" / first[:2] / first[2:]).unlink()
    plan = planned(made.folder).plan(0.0)
    assert plan.commits == []
    assert plan.skipped_commits == {reading.UNREADABLE: 1, reading.ROOT: 1}


def test_a_shallow_clone_ends_where_it_was_cut(made: History, tmp_path: Path) -> None:
    made.git("clone", "-q", "--depth", "1", f"file://{made.folder}", str(tmp_path / "shallow"))
    plan = planned(tmp_path / "shallow").plan(0.0)
    assert plan.commits == [] and plan.looked_at == 1
    assert set(plan.skipped_commits) <= {reading.UNREADABLE, reading.ROOT}


def test_replaced_objects_are_read_as_they_were_committed(made: History, tmp_path: Path) -> None:
    other = tmp_path / "other.py"
    other.write_text("def evil(): ...\n")
    blob = made.git("hash-object", "-w", str(other))
    made.git("replace", made.git("rev-parse", "HEAD:shop/cart.py"), blob)
    with Repository(made.folder) as repository:
        commit = reading.History(repository, Rules()).read(repository.resolve(None), Skipped())
    assert commit is not None
    assert commit.targets[0].unit.after == AFTER


@pytest.mark.parametrize(
    "branch", ["--output=/tmp/x", "-n1", "a:b", "a b", "", "x\n", "--exec=touch"]
)
def test_a_branch_that_is_an_option_or_a_path_is_refused(branch: str) -> None:
    with pytest.raises(ValueError, match="branch"):
        MineParams(repository="/r", project_id="p", branch=branch)


def test_what_is_no_repository_or_no_branch_is_refused(made: History, tmp_path: Path) -> None:
    with Repository(tmp_path / "nowhere") as nowhere, pytest.raises(RepositoryUnreadableError):
        nowhere.resolve(None)
    with Repository(made.folder) as repository, pytest.raises(InvalidInputError, match="nope"):
        repository.resolve("nope")
    broken = tmp_path / "broken"
    (broken / ".git").mkdir(parents=True)
    (broken / ".git" / "HEAD").write_text("nonsense")
    with Repository(broken) as repository, pytest.raises(RepositoryUnreadableError):
        repository.resolve(None)


def test_who_made_a_commit_is_not_even_read(made: History) -> None:
    with Repository(made.folder) as repository:
        commit = repository.commit(repository.resolve(None))
    assert "Ada" not in repr(commit) and "secret.example" not in repr(commit)
