"""The sandbox: runs a candidate and its tests behind walls, and gives a verdict.

Before its first run it attacks itself; where the walls do not hold it refuses to run anything.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from functools import cache
from pathlib import Path

from rune_engine.config import SandboxLimits
from rune_engine.errors import InvalidInputError, SandboxUnavailableError
from rune_engine.sandbox import probe
from rune_engine.sandbox.judge import judge
from rune_engine.sandbox.plan import plan_tests
from rune_engine.sandbox.process import Ended, run_isolated
from rune_engine.sandbox.tiers import Tier, choose
from rune_engine.sandbox.verdict import Evidence, Infra, Verdict


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@cache
def runner_sha256() -> str:
    """The hash of the code that runs inside, so that a verdict names its judge."""
    digest = hashlib.sha256()
    for path in sorted((Path(__file__).parent / "inside").glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class Sandbox:
    """Runs Python that nobody trusts. One instance serves many concurrent runs."""

    def __init__(self, limits: SandboxLimits | None = None) -> None:
        self._limits = limits or SandboxLimits()
        self._probing = asyncio.Lock()
        self._holds = False
        self._refusal: SandboxUnavailableError | None = None

    def describe(self) -> str:
        """The isolation mechanism in one line; says so where there is none."""
        if self._refusal is not None:
            return f"unavailable: {self._refusal.message}"
        try:
            return choose().name
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
                await probe.attack(self._run_unprobed)
            except SandboxUnavailableError as error:
                self._refusal = error
                raise
            self._holds = True

    async def run(
        self,
        candidate: str,
        tests: str,
        *,
        workspace: Path | None = None,
        limits: SandboxLimits | None = None,
    ) -> Verdict:
        """Run `candidate` as `solution.py`, then `tests` with its names in scope.

        Args:
            workspace: a folder of packages the code may import; it sees it read-only.
            limits: instead of the instance's own.

        Raises:
            SandboxUnavailableError: this machine cannot isolate the run.
            InvalidInputError: `workspace` is no folder.
        """
        if workspace is not None and not workspace.is_dir():
            raise InvalidInputError(
                f"The workspace {workspace} is not a folder.",
                next_step="Pass the absolute path of an existing project folder.",
            )
        await self.probe()
        return await self._run_unprobed(candidate, tests, workspace, limits or self._limits)

    async def _run_unprobed(
        self,
        candidate: str,
        tests: str,
        workspace: Path | None = None,
        limits: SandboxLimits | None = None,
    ) -> Verdict:
        limits = limits or self._limits
        plan = plan_tests(tests)
        if plan.problem is not None:
            return Infra(message=plan.problem)
        tier, secret = choose(), secrets.token_hex(16).encode()
        request = {
            "candidate": candidate,
            "tests": tests,
            "to_call": list(plan.to_call),
            "secret": secret,
        }
        folder = workspace.resolve() if workspace is not None else None
        try:
            ended = await run_isolated(tier, request, folder, limits)
        except OSError as error:
            return Infra(message=f"The sandbox could not start: {error}")
        evidence = _evidence(tier, ended, candidate, tests, limits)
        return judge(ended, secret, limits, evidence)


def _evidence(
    tier: Tier, ended: Ended, candidate: str, tests: str, limits: SandboxLimits
) -> Evidence:
    return Evidence(
        tier=tier.name,
        in_process=True,
        limits=limits.model_dump(),
        runner_sha256=runner_sha256(),
        tests_sha256=_sha256(tests),
        candidate_sha256=_sha256(candidate),
        wall_seconds=ended.wall_seconds,
        stdout=ended.stdout,
        stderr=ended.stderr,
        exit_code=ended.children[-1].exit_code if ended.children else None,
    )
