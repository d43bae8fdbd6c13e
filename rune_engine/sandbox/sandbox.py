"""The sandbox: runs a candidate and its tests behind walls, and gives a verdict.

Before its first run it attacks itself; where the walls do not hold it refuses to run anything.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from rune_engine.config import SandboxLimits
from rune_engine.errors import InvalidInputError, SandboxUnavailableError
from rune_engine.sandbox import probe
from rune_engine.sandbox.judge import judge
from rune_engine.sandbox.process import Ended, Profile, run_isolated
from rune_engine.sandbox.pytest_files import check_paths, forbidden
from rune_engine.sandbox.pytest_judge import judge_pytest
from rune_engine.sandbox.suite import Candidate, Suite, as_files, for_pytest, ready
from rune_engine.sandbox.tiers import Tier, available
from rune_engine.sandbox.verdict import Evidence, Infra, Oracle, Pass, Tampered, Verdict
from rune_engine.suspicion import suspicion


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _text_of(candidate: Candidate) -> str:
    return candidate if isinstance(candidate, str) else json.dumps(dict(candidate), sort_keys=True)


@cache
def runner_sha256() -> str:
    """The hash of the code that runs inside, so that a verdict names its judge."""
    digest = hashlib.sha256()
    for path in sorted((Path(__file__).parent / "inside").glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class Sandbox:
    """Runs Python that nobody trusts. One instance serves many concurrent runs."""

    def __init__(
        self,
        limits: SandboxLimits | None = None,
        *,
        tier: str | None = None,
        hidden: Path | None = None,
    ) -> None:
        """Args:
        tier: the only tier to use; None is the strongest that holds here.
        hidden: a folder that no workspace may show, such as Rune's own.
        """
        self._hidden = hidden
        self._limits = limits or SandboxLimits()
        self._wanted = tier
        self._tier: Tier | None = None
        self._probing = asyncio.Lock()
        self._holds = False
        self._refusal: SandboxUnavailableError | None = None

    def describe(self) -> str:
        """The isolation mechanism in one line; says so where there is none."""
        if self._refusal is not None:
            return f"unavailable: {self._refusal.message}"
        try:
            return (self._tier or self._tiers()[0]).name
        except SandboxUnavailableError as error:
            return f"unavailable: {error.message}"

    async def probe(self) -> None:
        """Attack the walls from inside, once per instance.

        Raises:
            SandboxUnavailableError: they do not hold on this machine.
        """
        async with self._probing:
            if self._refusal is not None:
                raise self._refusal
            if self._holds:
                return
            try:
                self._tier = await self._first_that_holds()
            except SandboxUnavailableError as error:
                self._refusal = error
                raise
            self._holds = True

    def _tiers(self) -> tuple[Tier, ...]:
        tiers = tuple(t for t in available() if self._wanted in (None, t.name))
        if not tiers:
            known = ", ".join(tier.name for tier in available())
            raise SandboxUnavailableError(
                f"There is no tier {self._wanted} on this machine.",
                next_step=f"Use one of {known}.",
            )
        return tiers

    async def _first_that_holds(self) -> Tier:
        refusal: SandboxUnavailableError | None = None
        for tier in self._tiers():

            async def run(candidate: str, tests: str, tier: Tier = tier) -> Verdict:
                return await _Trial(ready(tests), tier, None, self._limits).run(candidate)

            try:
                await probe.attack(run)
                return tier
            except SandboxUnavailableError as error:
                refusal = refusal or error
        assert refusal is not None
        raise refusal

    async def run(
        self,
        candidate: str,
        tests: str,
        *,
        workspace: Path | None = None,
        limits: SandboxLimits | None = None,
        confirm: bool = False,
        strongest: Oracle = "outside",
        profile: Profile = "pure",
    ) -> Verdict:
        """Run `candidate` as `solution.py`, and judge it by `tests`.

        Args:
            workspace: a folder of packages the code may import; it sees it read-only.
            limits: instead of the instance's own.
            confirm: for what will be learned from: a pass must come again under another hash
                seed and in the reverse order, and the tests must fail without a candidate.
            strongest: use no stronger oracle than this one.
            profile: whether the candidate may make processes ("project").

        Raises:
            SandboxUnavailableError: this machine cannot isolate the run.
            InvalidInputError: `workspace` is no folder.
        """
        _check_workspace(workspace, self._hidden)
        suite = ready(tests, strongest)
        return await self._judged(candidate, suite, workspace, limits, confirm, profile)

    async def run_project(
        self,
        files: Mapping[str, str],
        tests: Mapping[str, str],
        *,
        workspace: Path | None = None,
        limits: SandboxLimits | None = None,
        confirm: bool = False,
    ) -> Verdict:
        """Put the candidate's `files` into a copy of `workspace`, and let pytest run `tests` on it.

        Args:
            files, tests: text by relative path. The tests, and a conftest.py among them, are
                mounted read-only; no other settings of pytest count.

        Raises:
            SandboxUnavailableError: this machine cannot isolate the run.
            InvalidInputError: `workspace` is no folder, or a path leads out of the project.
        """
        _check_workspace(workspace, self._hidden)
        check_paths(files)
        check_paths(tests)
        suite = for_pytest(tests)
        return await self._judged(files, suite, workspace, limits, confirm, "project")

    async def _judged(
        self,
        candidate: Candidate,
        suite: Suite,
        workspace: Path | None,
        limits: SandboxLimits | None,
        confirm: bool,
        profile: Profile,
    ) -> Verdict:
        await self.probe()
        assert self._tier is not None
        profile = "project" if suite.pytest is not None else profile
        trial = _Trial(suite, self._tier, workspace, limits or self._limits, profile)
        verdict = await trial.run(candidate)
        return await trial.confirm(candidate, verdict) if confirm else verdict


def _check_workspace(workspace: Path | None, hidden: Path | None) -> None:
    if workspace is None:
        return
    if not workspace.is_dir():
        raise InvalidInputError(
            f"The workspace {workspace} is not a folder.",
            next_step="Pass the absolute path of an existing project folder.",
        )
    if hidden is not None and hidden.resolve().is_relative_to(workspace.resolve()):
        raise InvalidInputError(
            f"The workspace {workspace} shows Rune's own data to model-written code.",
            next_step="Pass the project's own folder.",
        )


class _Trial:
    """The runs that one verdict takes."""

    def __init__(
        self,
        suite: Suite,
        tier: Tier,
        workspace: Path | None,
        limits: SandboxLimits,
        profile: Profile = "pure",
    ) -> None:
        self._suite = suite
        self._tier = tier
        self._profile: Profile = profile
        self._workspace = workspace.resolve() if workspace is not None else None
        self._limits = limits

    async def run(self, candidate: Candidate, *, second: bool = False) -> Verdict:
        """The verdict on one run of `candidate`."""
        if self._suite.problem is not None:
            return Infra(message=self._suite.problem)
        if self._suite.pytest is not None and (settings := forbidden(as_files(candidate))):
            return Tampered(message=f"{settings} would change how the tests are run.")
        verdict = await self._run(candidate, second=second)
        if isinstance(verdict, Infra) and verdict.message == "crosses":
            self._suite = self._suite.within()
            verdict = await self._run(candidate, second=second)
        return verdict

    async def confirm(self, candidate: Candidate, verdict: Verdict) -> Verdict:
        """`verdict`, where it is a pass only if a second run and the negative control agree."""
        if not isinstance(verdict, Pass):
            return verdict
        again = await self.run(candidate, second=True)
        if not isinstance(again, Pass):
            message = f"The pass is not repeatable: the second run ended in {again.kind}."
            return Infra(message=message, evidence=verdict.evidence)
        assert verdict.evidence is not None
        if verdict.evidence.controls is None:
            without = await self.run(self._without(candidate))
            if isinstance(without, Pass):
                message = "The tests decide nothing: they pass without a candidate."
                return Infra(message=message, evidence=verdict.evidence)
        sure = {"confirmed": True, "controls": True}
        return Pass(evidence=verdict.evidence.model_copy(update=sure))

    def _without(self, candidate: Candidate) -> Candidate:
        """What stands in for `candidate` and can do nothing."""
        if isinstance(candidate, str):
            return self._suite.stub()
        return dict.fromkeys(candidate, "")

    async def _run(self, candidate: Candidate, *, second: bool) -> Verdict:
        secret = secrets.token_hex(16).encode()
        request = self._suite.request(candidate, secret, second=second)
        try:
            ended = await run_isolated(
                self._tier, request, self._workspace, self._limits, self._profile
            )
        except OSError as error:
            return Infra(message=f"The sandbox could not start: {error}")
        evidence = self._evidence(ended, candidate)
        if self._suite.pytest is not None:
            return judge_pytest(self._suite.pytest, ended, secret, self._limits, evidence)
        return judge(self._suite, ended, secret, self._limits, evidence, second=second)

    def _evidence(self, ended: Ended, candidate: Candidate) -> Evidence:
        return Evidence(
            tier=self._tier.name,
            profile=self._profile,
            oracle=self._suite.oracle,
            in_process=self._suite.oracle == "inside",
            not_outside=self._suite.reason,
            limits=self._limits.model_dump(),
            runner_sha256=runner_sha256(),
            tests_sha256=_sha256(self._suite.tests),
            candidate_sha256=_sha256(_text_of(candidate)),
            wall_seconds=ended.wall_seconds,
            stdout=ended.stdout,
            stderr=ended.stderr,
            exit_code=ended.children[-1].exit_code if ended.children else None,
            suspicion=self._suspicion(candidate),
        )

    def _suspicion(self, candidate: Candidate) -> tuple[str, ...]:
        """Of every file, the flags together."""
        files = as_files(candidate).values()
        return tuple(
            sorted({flag for text in files for flag in suspicion(text, self._suite.tests)})
        )
