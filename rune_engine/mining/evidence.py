"""Whether tests tell a change apart: they fail without it and pass with it, in the sandbox.

First the piece alone, by tests rewritten for it; then the whole project, where the rest of the
commit stays and only the one piece is put back as it was. What was the matter with no test, with
tests that fail either way or pass either way, is not known, and no failure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rune_engine.errors import InvalidInputError, SandboxUnavailableError
from rune_engine.mining import paths
from rune_engine.mining.history import MinedCommit, Target
from rune_engine.mining.standalone import suite_for
from rune_engine.mining.trees import Tree
from rune_engine.sandbox.sandbox import Sandbox
from rune_engine.sandbox.verdict import CandidateError, Fail, Infra, Pass, Verdict
from rune_engine.suspicion import suspicion

_FAILED = (Fail, CandidateError)


@dataclass(frozen=True, slots=True)
class Evidence:
    """The verdicts without and with a change, and the tests that gave them; `suite` is their text
    where they judge the piece by itself."""

    before: Verdict
    after: Verdict
    tests: tuple[str, ...]
    suite: str = ""


class Examiner:
    """Runs the tests of commits. `runs` counts how often the sandbox was asked; `problem` says
    why it can run no project."""

    def __init__(self, sandbox: Sandbox, scratch: Path) -> None:
        self._sandbox = sandbox
        self._scratch = scratch
        self.runs = 0
        self.problem: str | None = None

    async def examine(
        self, commit: MinedCommit, targets: Sequence[Target], tree: Tree
    ) -> dict[str, Evidence]:
        """The evidence for those of the targets that there is some for, by their keys."""
        found: dict[str, Evidence] = {}
        for tests in (tree.changed_tests(), tree.importing_tests()):
            left = [target for target in targets if target.key not in found]
            if not tests or not left or self.problem is not None:
                continue
            for target in left:
                if (shown := await self._alone(target, tests, tree)) is not None:
                    found[target.key] = shown
            left = [target for target in left if target.key not in found]
            if left and tree.fits:
                found |= await self._in_project(commit, left, tests, tree)
        return found

    async def _alone(self, target: Target, tests: Sequence[str], tree: Tree) -> Evidence | None:
        own = tree.packages
        for test in tests:
            suite = suite_for(target, tree.text(test), own)
            if suite is None:
                continue
            after = await self._run(target.unit.after, suite, confirm=True)
            if not isinstance(after, Pass):
                continue
            before = await self._run(target.unit.before or "", suite)
            if isinstance(before, _FAILED):
                return Evidence(before, after, (test,), suite)
        return None

    async def _in_project(
        self, commit: MinedCommit, targets: Sequence[Target], tests: Sequence[str], tree: Tree
    ) -> dict[str, Evidence]:
        given = tree.with_helpers(tests)
        # Not a bare file of the repository's, which the sandbox would take for a change of tests.
        files = {f.path: f.after for f in commit.files if not paths.is_test(f.path)}
        tree.write(self._scratch, tests)
        after = await self._run_project(files, given, confirm=True)
        if not isinstance(after, Pass):
            return {}
        found = {}
        for target in targets:
            changed = {**files, target.path: target.unit.reverted}
            before = await self._run_project(changed, given)
            if isinstance(before, _FAILED):
                shown = _only_new_suspicion(after, files, changed)
                found[target.key] = Evidence(before, shown, tuple(tests))
        return found

    async def _run(self, candidate: str, tests: str, *, confirm: bool = False) -> Verdict:
        self.runs += 1
        try:
            return await self._sandbox.run(candidate, tests, confirm=confirm)
        except SandboxUnavailableError as error:
            return self._unavailable(error)

    async def _run_project(
        self, files: Mapping[str, str], tests: Mapping[str, str], *, confirm: bool = False
    ) -> Verdict:
        self.runs += 1
        try:
            return await self._sandbox.run_project(
                files, tests, workspace=self._scratch, confirm=confirm
            )
        except SandboxUnavailableError as error:
            return self._unavailable(error)
        except InvalidInputError as error:
            return Infra(message=error.message)

    def _unavailable(self, error: SandboxUnavailableError) -> Infra:
        self.problem = error.message
        return Infra(message=error.message)


_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,16}\b")
_SECONDS = re.compile(r"\bin \d+(?:\.\d+)?s\b")


def without_times(text: str) -> str:
    """What pytest says, the same at every run: without seconds and addresses."""
    return _ADDRESS.sub("0x0", _SECONDS.sub("in some time", text))


def _only_new_suspicion(
    verdict: Pass, files: Mapping[str, str], reverted: Mapping[str, str]
) -> Pass:
    """The pass without those flags that the files bore before, too, when the tests failed."""
    if verdict.evidence is None:
        return verdict
    with_it = {flag for text in files.values() for flag in suspicion(text)}
    without = {flag for text in reverted.values() for flag in suspicion(text)}
    left = tuple(sorted(set(verdict.evidence.suspicion) - (with_it & without)))
    return Pass(evidence=verdict.evidence.model_copy(update={"suspicion": left}))
