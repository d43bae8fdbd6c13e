"""A project is its repository: real repositories, made by git in a folder of the test."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from rune_engine import projects
from rune_engine.errors import InvalidInputError
from rune_engine.models import NAME_PATTERN
from rune_engine.projects import identify, normalise

SHOP = "github.com/acme/shop"


def git(folder: Path, *arguments: str, **more: str) -> str:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b",
        **more,
    }  # fmt: skip
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        env=environment, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return done.stdout.strip()


def repository(folder: Path, remote: str | None = None, *, commit: bool = True) -> Path:
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    if remote is not None:
        git(folder, "remote", "add", "origin", remote)
    if commit:
        git(folder, "commit", "-q", "--allow-empty", "-m", f"first of {folder.name}")
    return folder


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/acme/shop",
        "https://github.com/acme/shop.git",
        "https://bob:secret@GitHub.com/acme/shop.git/",
        "https://github.com:443/acme/shop",
        "http://github.com/acme//shop.git",
        "ssh://git@github.com/acme/shop.git",
        "ssh://git@ssh.github.com:443/acme/shop.git",
        "git@github.com:acme/shop.git",
        "github.com:acme/shop",
        "git://github.com/acme/shop.git",
        "git+ssh://git@github.com/acme/shop",
    ],
)
def test_every_spelling_of_a_remote_is_the_same_project(tmp_path: Path, url: str) -> None:
    found = identify(repository(tmp_path / "anything", url, commit=False))
    assert (found.id, found.remote) == (SHOP, SHOP)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://git.corp:8443/a/b", "git.corp:8443/a/b"),
        ("git@host:~bob/repo.git", "host/bob/repo"),
        ("https://host/../../etc/./passwd", "host/etc/passwd"),
        ("https://host/a/b?token=1#x", "host/a/b"),
        ("https://host/a\nb/$(id)", "host/a-b/id-"),
        ("/srv/git/shop.git", None),
        ("../shop", None),
        ("file:///srv/git/shop.git", None),
        ("https://host", None),
        ("https:///a", None),
        ("", None),
    ],
)
def test_a_remote_is_a_bounded_name_or_none(url: str, expected: str | None) -> None:
    assert normalise(url) == expected
    assert expected is None or re.fullmatch(NAME_PATTERN, expected)


def test_folders_of_the_same_name_are_two_projects(tmp_path: Path) -> None:
    one = repository(tmp_path / "one" / "app")
    other = repository(tmp_path / "other" / "app", commit=False)
    git(other, "commit", "-q", "--allow-empty", "-m", "another first")
    assert identify(one).id != identify(other).id
    assert identify(one).id.startswith("app-") and identify(other).id.startswith("app-")


def test_subfolders_and_worktrees_are_the_same_project(tmp_path: Path) -> None:
    main = repository(tmp_path / "app")
    inner = main / "src" / "deep"
    inner.mkdir(parents=True)
    git(main, "worktree", "add", "-q", str(tmp_path / "elsewhere"), "-b", "feature")
    root_commit = git(main, "rev-list", "--max-parents=0", "HEAD")
    ids = {identify(folder).id for folder in (main, inner, tmp_path / "elsewhere")}
    assert ids == {f"app-{root_commit[:12]}"}
    assert identify(inner).root == main
    assert identify(tmp_path / "elsewhere").root == tmp_path / "elsewhere"


def test_an_orphan_branch_does_not_change_the_project(tmp_path: Path) -> None:
    main = repository(tmp_path / "app")
    before = identify(main).id
    git(main, "checkout", "-q", "--orphan", "pages")
    later = {"GIT_COMMITTER_DATE": "2037-01-01T00:00:00Z"}
    git(main, "commit", "-q", "--allow-empty", "-m", "another root", **later)
    assert identify(main).id == before


def test_a_submodule_is_a_project_of_its_own(tmp_path: Path) -> None:
    library = repository(tmp_path / "library")
    app = repository(tmp_path / "app", "https://github.com/acme/app")
    add = ["-c", "protocol.file.allow=always", "submodule", "add", "-q", str(library), "vendored"]
    git(app, *add)
    found = identify(app / "vendored")
    assert found.root == app / "vendored"
    assert found.id.startswith("vendored-")
    assert identify(app).id == "github.com/acme/app"


def test_origin_comes_first_and_else_the_only_remote(tmp_path: Path) -> None:
    folder = repository(tmp_path / "app")
    git(folder, "remote", "add", "upstream", "https://github.com/up/stream")
    assert identify(folder).id == "github.com/up/stream"
    git(folder, "remote", "add", "origin", "https://github.com/acme/shop")
    assert identify(folder).id == SHOP


def test_a_clone_of_a_folder_is_known_by_its_first_commit(tmp_path: Path) -> None:
    source = repository(tmp_path / "app")
    git(tmp_path, "clone", "-q", str(source), str(tmp_path / "copy" / "app"))
    assert identify(tmp_path / "copy" / "app").id == identify(source).id
    assert identify(source).remote is None


def test_a_folder_without_commits_or_git_is_known_by_its_path(tmp_path: Path) -> None:
    empty = repository(tmp_path / "one" / "app", commit=False)
    (empty / "src").mkdir()
    plain = tmp_path / "two" / "app"
    plain.mkdir(parents=True)
    assert identify(empty).id == identify(empty / "src").id
    assert identify(empty).id != identify(plain).id
    assert re.fullmatch(r"app-[0-9a-f]{12}", identify(plain).id)
    link = tmp_path / "link"
    link.symlink_to(plain)
    assert identify(link) == identify(plain)


@pytest.mark.parametrize("name", ["..strange name$(x)", "émile", "-", "a" * 250])
def test_every_folder_has_a_name_that_the_engine_accepts(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    found = identify(folder).id
    assert re.fullmatch(NAME_PATTERN, found) and len(found) <= 200


def test_a_long_remote_stays_bounded_and_apart(tmp_path: Path) -> None:
    one = repository(tmp_path / "1", f"https://host/{'x' * 300}/one", commit=False)
    other = repository(tmp_path / "2", f"https://host/{'x' * 300}/other", commit=False)
    assert identify(one).id != identify(other).id
    assert len(identify(one).id) == projects.LONGEST_ID


def test_a_hostile_repository_runs_nothing(tmp_path: Path) -> None:
    folder = repository(tmp_path / "app")
    first = git(folder, "rev-parse", "HEAD")
    git(folder, "commit", "-q", "--allow-empty", "-m", "second")
    touched = tmp_path / "touched"
    evil = tmp_path / "evil.sh"
    evil.write_text(f"#!/bin/sh\ntouch {touched}\n")
    evil.chmod(0o755)
    hooks = folder / ".git" / "hooks"
    for hook in ("post-checkout", "reference-transaction", "post-index-change"):
        (hooks / hook).write_text(evil.read_text())
        (hooks / hook).chmod(0o755)
    for key in (
        "core.fsmonitor", "core.pager", "pager.config", "pager.rev-list", "core.sshCommand",
        "core.editor", "core.askPass", "credential.helper", "diff.external", "gpg.program",
        "remote.evil.uploadpack", "alias.rev-parse", "alias.config",
    ):  # fmt: skip
        git(folder, "config", key, f"!{evil}" if key.startswith("alias") else str(evil))
    git(folder, "config", "remote.evil.promisor", "true")
    git(folder, "config", "extensions.partialClone", "evil")
    git(folder, "config", "core.repositoryFormatVersion", "1")
    git(folder, "config", "remote.evil.url", str(tmp_path))
    # Walking to the first commit misses it, and a partial clone would fetch it by `uploadpack`.
    (folder / ".git" / "objects" / first[:2] / first[2:]).unlink()
    assert re.fullmatch(NAME_PATTERN, identify(folder).id)
    assert not touched.exists()
    with (folder / ".git" / "config").open("a") as config:
        config.write("[include]\n\tpath = /dev/zero\n")
    assert re.fullmatch(NAME_PATTERN, identify(folder).id)


def test_a_git_that_hangs_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 600\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(projects, "GIT_SECONDS", 0.2)
    folder = tmp_path / "app"
    folder.mkdir()
    assert identify(folder).id.startswith("app-")


def test_without_git_a_folder_is_still_a_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert identify(tmp_path).remote is None


def test_the_environment_of_another_repository_does_not_mislead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = repository(tmp_path / "app", "https://github.com/acme/shop")
    other = repository(tmp_path / "other", "https://github.com/acme/other")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert identify(folder).id == SHOP


@pytest.mark.parametrize("given", ["/nowhere/at/all", "~nobody-of-that-name/x", "/bin/sh\0x"])
def test_a_folder_that_is_not_there_is_refused(given: str) -> None:
    with pytest.raises(InvalidInputError, match="no folder"):
        identify(given)


def test_an_id_is_taken_as_it_is_and_a_path_is_looked_at(tmp_path: Path) -> None:
    folder = repository(tmp_path / "app", "https://github.com/acme/shop")
    assert projects.resolve(str(folder)) == SHOP
    assert projects.resolve("github.com/acme/shop") == SHOP
    assert projects.resolve("shop") == "shop"
