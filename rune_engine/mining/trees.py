"""A commit's tree as a folder that the sandbox can copy, and the tests in it that touch a change.

Written file by file from git's objects: no checkout, so no filter, link or submodule of the
repository's own comes into being. Bounded in files and bytes.
"""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from rune_engine.mining import paths
from rune_engine.mining.history import MinedCommit
from rune_engine.mining.repository import Repository, TreeFile

MOST_FILES, MOST_BYTES, MOST_FILE_BYTES = 3_000, 12 * 1024**2, 256 * 1024
MOST_TESTS, MOST_HELPERS = 5, 60
_FOR_TESTS = ("conftest.py", "__init__.py")
_MOST_SEARCHED = 400
_KEPT = {".py", ".json", ".toml", ".cfg", ".ini", ".txt", ".csv", ".yaml", ".yml", ".md", ".jinja",
         ".j2", ".html", ".sql", ".xml", ".pyi", ".typed", ""}  # fmt: skip


class Tree:
    """The files of one commit that tests may need."""

    def __init__(self, repository: Repository, commit: MinedCommit) -> None:
        self._repository = repository
        self._commit = commit
        listed = repository.files(commit.id) or []
        self._files = {file.path: file for file in listed if _may_matter(file)}

    @property
    def fits(self) -> bool:
        """Whether it is small enough to be copied into the sandbox."""
        total = sum(file.size for file in self._files.values())
        return bool(self._files) and len(self._files) <= MOST_FILES and total <= MOST_BYTES

    @property
    def packages(self) -> set[str]:
        """The names of its own top-level modules."""
        sources = [path for path in self._files if path.endswith(".py")]
        names = [name for path in sources for name in paths.module_names(path)]
        return {name.split(".")[0] for name in names if name}

    def changed_tests(self) -> list[str]:
        """Test files that the commit itself changed."""
        return [path for path in self._commit.tests if path in self._files][:MOST_TESTS]

    def importing_tests(self) -> list[str]:
        """Test files of the repository that import a module which changed, the nearest first."""
        modules = {name for file in self._commit.files for name in paths.module_names(file.path)}
        stems = {name.rpartition(".")[2] for name in modules}
        tests = sorted(set(filter(paths.is_test_file, self._files)) - set(self._commit.tests))
        tests.sort(key=lambda path: not any(stem in path for stem in stems))
        found = [
            path
            for path in tests[:_MOST_SEARCHED]
            if any(stem in (text := self.text(path)) for stem in stems)
            and modules & set(imported(text))
        ]
        return found[:MOST_TESTS]

    def text(self, path: str) -> str:
        """A file's text; empty where it is none."""
        file = self._files.get(path)
        return (self._repository.text(file.blob) if file else None) or ""

    def with_helpers(self, tests: Sequence[str]) -> dict[str, str]:
        """The tests, with every conftest.py that counts for them and the helpers beside them."""
        folders = {folder for test in tests for folder in PurePosixPath(test).parents}
        every = {str(folder / name) for folder in folders for name in _FOR_TESTS}
        beside = [path for path in self._files if self._is_beside(path, tests)]
        wanted = dict.fromkeys(
            [*tests, *sorted(every & self._files.keys()), *beside[:MOST_HELPERS]]
        )
        return {path: self.text(path) for path in wanted}

    def write(self, folder: Path, tests: Iterable[str]) -> None:
        """Write it to a new folder; what lies beside a test can be imported by its bare name."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        tests = list(tests)
        for path, file in self._files.items():
            text = self._repository.text(file.blob)
            if text is None:
                continue
            _put(folder / path, text)
            name = PurePosixPath(path).name
            if name not in self._files and self._is_beside(path, tests):
                _put(folder / name, text)

    def _is_beside(self, path: str, tests: Iterable[str]) -> bool:
        """Whether it is a module of helpers in the folder of one of the tests."""
        folder, name = str(PurePosixPath(path).parent), PurePosixPath(path).name
        if not name.endswith(".py") or name in _FOR_TESTS or paths.is_test_file(path):
            return False
        return paths.is_test(path) and any(str(PurePosixPath(t).parent) == folder for t in tests)


def imported(text: str) -> Iterator[str]:
    """Every dotted name that an import in a text may stand for."""
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _may_matter(file: TreeFile) -> bool:
    path = PurePosixPath(file.path)
    return path.suffix.lower() in _KEPT and file.size <= MOST_FILE_BYTES


def _put(path: Path, text: str) -> None:
    """A path of the tree may be a file in one place and a folder in another case of letters."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
    except (FileExistsError, IsADirectoryError, NotADirectoryError):
        return
