"""The `mine` job: a shop's history in, trajectories out, judged in the real sandbox."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from engine_support import WAIT_SECONDS
from repositories import History, snapshot
from shop import CART, CART_FIXED, shop
from typer.testing import CliRunner

from rune_engine.cli.main import app
from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig
from rune_engine.database import Database, open_database
from rune_engine.errors import InvalidInputError, ProjectOptedOutError, RepositoryUnreadableError
from rune_engine.forgetting import Forgetting
from rune_engine.jobs.mine import Mine
from rune_engine.jobs.progress import Report
from rune_engine.jobs.store import JobStore
from rune_engine.mining import messages
from rune_engine.mining.history import ROOT
from rune_engine.models import ForgetParams, Job, Trajectory
from rune_engine.models.mining import MineParams, MineResult
from rune_engine.sandbox.sandbox import Sandbox
from rune_engine.suspicion import teaches
from rune_engine.trajectories import ProjectCounts, TrajectoryStore


class Miner:
    """Runs `mine` jobs as the engine's runner does, in this process."""

    def __init__(self, config: RuneConfig, database: Database) -> None:
        self.config = config
        self.database = database
        self.store = TrajectoryStore(database)
        self.jobs = JobStore(database)
        self._mine = Mine(config, self.store, Sandbox(config.sandbox), self.jobs)

    def claim(self, folder: Path, **given: Any) -> Job:
        self.jobs.enqueue("mine", {"repository": str(folder), "project_id": "shop", **given})
        job = self.jobs.claim("1/2/3/4", ["mine"])
        assert job is not None
        return job

    async def run(self, job: Job, report: Report = lambda _fraction, _message: None) -> MineResult:
        return await self._mine(job, report)

    async def __call__(self, folder: Path, **given: Any) -> MineResult:
        job = self.claim(folder, **given)
        result = await self.run(job)
        self.jobs.succeed(job, result.model_dump(mode="json"))
        return result


@pytest.fixture
def mine(config: RuneConfig) -> Iterator[Miner]:
    database = open_database(config)
    yield Miner(config, database)
    database.close()


@pytest.fixture
def made(tmp_path: Path) -> tuple[History, dict[str, str]]:
    return shop(tmp_path / "shop")


def of_commit(store: TrajectoryStore, commit: str, **wanted: Any) -> Trajectory:
    [found] = [
        each
        for each in store.page(project_id="shop", limit=100).trajectories
        if each.provenance is not None and each.provenance.commit_id == commit
        and wanted.items() <= each.provenance.model_dump().items()
    ]  # fmt: skip
    return found


async def test_only_what_tests_tell_apart_is_a_success(
    mine: Miner, made: tuple[History, dict[str, str]]
) -> None:
    history, commits = made
    before = snapshot(history.folder)
    result = await mine(history.folder)
    assert snapshot(history.folder) == before, "nothing is written to the repository"
    assert (result.commits, result.stored, result.successes, result.unknown) == (6, 3, 2, 1)
    assert result.complete and result.test_runs >= 4
    assert result.skipped_commits[ROOT] == result.skipped_commits[messages.RELEASE] == 1
    assert result.skipped_files["tests"] == 4

    alone = of_commit(mine.store, commits["fixed"])
    assert alone.task_description == (
        "the total counted one too many\n\nNobody should pay for nothing.\n\n"
        "In shop/cart.py: the whole file."
    )
    assert [attempt.generated_code for attempt in alone.attempts] == [CART, CART_FIXED]
    assert [attempt.tests_passed for attempt in alone.attempts] == [False, True]
    assert alone.test_suite.startswith("from solution import total")
    assert (alone.outcome, alone.source, alone.task_type) == ("success", "mined", "bug-fix")
    assert alone.provenance is not None and alone.provenance.tests == ["tests/test_cart.py"]

    inside = of_commit(mine.store, commits["rounded"])
    assert (inside.outcome, inside.test_suite) == ("success", "")
    assert inside.provenance is not None and inside.provenance.evidence == "tests"
    assert inside.attempts[-1].generated_code == (
        "from shop.cart import total\n\n\nclass Tax:\n    def on(self, prices):\n"
        "        return round(total(prices) * self.rate, 2)\n"
    )
    assert "0.6327" in inside.attempts[0].stderr
    verdict = inside.attempts[-1].verdict
    assert verdict is not None and verdict["evidence"]["confirmed"]
    assert teaches(alone) and teaches(inside)

    untested = of_commit(mine.store, commits["named"])
    assert (untested.outcome, [a.tests_passed for a in untested.attempts]) == ("unknown", [None])
    assert not teaches(untested)
    assert {each.id for each in mine.store.distillable("shop")} == {alone.id, inside.id}
    assert mine.store.counts() == [ProjectCounts("shop", 3, 2, 0, 1)]
    everything = json.dumps([t.model_dump() for t in mine.store.page().trajectories])
    assert "Ada" not in everything and "secret.example" not in everything

    again = await mine(history.folder)
    assert (again.stored, again.duplicates) == (0, 3)
    assert again.test_runs < result.test_runs, "what tests spoke for is not tested again"
    trusted = await mine(history.folder, trust=True)
    assert (trusted.stored, trusted.trusted, trusted.duplicates) == (1, 1, 2)
    believed = of_commit(mine.store, commits["named"], evidence="trusted")
    assert believed.outcome == "success" and believed.attempts[-1].tests_passed is None
    assert believed.id in {each.id for each in mine.store.distillable("shop")}


async def test_a_dry_run_shows_what_would_come_and_stores_nothing(
    mine: Miner, made: tuple[History, dict[str, str]]
) -> None:
    history, commits = made
    result = await mine(history.folder, dry_run=True, held_out_share=0.34)
    assert (result.units, result.stored, result.test_runs) == (3, 0, 0)
    shown = [(unit.commit_id, unit.unit, unit.has_tests, unit.held_out) for unit in result.mined]
    assert shown == [
        (commits["named"], "Tax.__str__", False, True),
        (commits["rounded"], "Tax.on", True, False),
        (commits["fixed"], "", True, False),
    ]
    assert mine.store.page().total == 0


async def test_issues_scope_and_held_out_commits(
    mine: Miner,
    made: tuple[History, dict[str, str]],
    tmp_path: Path,
) -> None:
    history, commits = made
    issues = tmp_path / "issues.json"
    told = {"number": 7, "title": "The sum is wrong", "body": "It is **6**.\r\n\r\nx@mail.example"}
    issues.write_text(json.dumps([told, {"number": "8"}, None]))
    result = await mine(
        history.folder,
        issues=str(issues),
        paths=["shop/c*.py"],
        held_out_share=0.9,
        run_tests=False,
        domain="retail",
    )
    assert (result.units, result.held_out, result.unknown) == (1, 1, 1)
    found = of_commit(mine.store, commits["fixed"])
    assert found.task_description == (
        "The sum is wrong\n\nIt is **6**.\n\nIn shop/cart.py: the whole file."
    )
    assert (found.held_out, found.domain, found.outcome) == (True, "retail", "unknown")
    assert found.provenance is not None and found.provenance.task_from == "issue"
    later = await mine(history.folder, since="2023-11-14T22:17:00+00:00", dry_run=True)
    assert (later.commits, later.units) == (3, 2)
    older = await mine(history.folder, branch="HEAD~2", limit=1, dry_run=True)
    assert [unit.commit_id for unit in older.mined] == [commits["rounded"]]


async def test_secrets_in_a_history_are_not_stored(mine: Miner, tmp_path: Path) -> None:
    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    history = History(tmp_path / "leaky")
    history.commit("Begin with a client of it", {"client.py": "def ask():\n    return None\n"})
    code = f'def ask():\n    return get("https://x.example", token="{secret}")\n'
    made = history.commit(f"Ask with the token {secret} of ours", {"client.py": code})
    await mine(history.folder)
    found = of_commit(mine.store, made)
    assert secret not in found.model_dump_json() and "[secret:" in found.task_description


async def test_what_was_forgotten_is_not_mined_again(
    mine: Miner, made: tuple[History, dict[str, str]]
) -> None:
    history, _ = made
    await mine(history.folder, run_tests=False)
    forgetting = Forgetting(mine.database, mine.config)
    forgetting.forget(ForgetParams(project_id="shop"))
    assert mine.store.page().total == 0
    result = await mine(history.folder, run_tests=False)
    assert (result.stored, result.skipped_units["forgotten, and stays so"]) == (0, 3)
    assert mine.store.page().total == 0


def steps_history(folder: Path, count: int) -> History:
    history = History(folder)
    history.commit("Begin with a list of steps", {"steps/__init__.py": ""})
    for number in range(count):
        code = f"def step_{number}(n):\n    return n + {number}\n"
        tests = f"from steps.s{number} import step_{number}\n\n\ndef test_it():\n"
        tests += f"    assert step_{number}(1) == {number + 1}\n"
        files = {f"steps/s{number}.py": code, f"tests/test_s{number}.py": tests}
        history.commit(f"Add the step of number {number}", files)
    return history


class Interrupted(Exception):
    pass


async def test_an_interrupted_mining_does_no_commit_twice(mine: Miner, tmp_path: Path) -> None:
    history = steps_history(tmp_path / "many", 6)
    job = mine.claim(history.folder)

    def interrupt(fraction: float, _: str) -> None:
        if fraction > 0.6:
            raise Interrupted

    with pytest.raises(Interrupted):
        await mine.run(job, interrupt)
    before = mine.store.page().total
    assert 0 < before < 6
    history.commit("Add a step that comes too late", {"steps/late.py": "def late():\n    pass\n"})
    result = await mine.run(job)
    assert (result.units, result.stored, result.duplicates, result.complete) == (6, 6, 0, True)
    assert mine.store.page().total == mine.store.count_distillable("shop") == 6
    assert not (mine.config.jobs_path / job.id / "tree").exists()


async def test_a_cancelled_mining_leaves_no_process(mine: Miner, tmp_path: Path) -> None:
    history = steps_history(tmp_path / "many", 6)
    job, reached = mine.claim(history.folder), asyncio.Event()

    def reach(fraction: float, _: str) -> None:
        if fraction > 0.3:
            reached.set()

    working = asyncio.create_task(mine.run(job, reach))
    await asyncio.wait_for(reached.wait(), WAIT_SECONDS)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert mine.store.page().total < 6
    children = psutil.Process().children(recursive=True)
    assert not [child for child in children if child.name() == "git"]


async def test_when_the_time_is_over_the_rest_is_left_for_another_time(
    mine: Miner, tmp_path: Path
) -> None:
    history = steps_history(tmp_path / "many", 3)
    result = await mine(history.folder, max_seconds=1e-9)
    assert (result.complete, result.stored) == (False, 0)
    assert result.skipped_commits == {"the time was over": 4}


def test_the_command_mines_and_what_cannot_be_mined_is_refused_before_there_is_a_job(
    config: RuneConfig,
    made: tuple[History, dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    history, commits = made
    monkeypatch.setenv("RUNE_HOME", str(config.home))
    monkeypatch.setenv("COLUMNS", "200")
    where = ["mine", str(history.folder)]
    shown = CliRunner().invoke(app, [*where, "--dry-run"])
    assert shown.exit_code == 0, shown.output
    assert commits["rounded"][:10] in shown.output and "Round the tax" in shown.output
    assert messages.RELEASE in shown.output
    told = CliRunner().invoke(app, [*where, "--no-tests", "--project", "shop", "--json"])
    assert MineResult.model_validate_json(told.output).unknown == 3
    with pytest.raises(InvalidInputError, match="since"):
        CliRunner().invoke(app, [*where, "--since", "last week"], catch_exceptions=False)
    asyncio.run(_refusals(config, history.folder, tmp_path))


async def _refusals(config: RuneConfig, folder: Path, elsewhere: Path) -> None:
    bad = elsewhere / "bad.json"
    bad.write_text('{"title": "no number"}')
    async with EngineClient(config) as client:
        state = await client.project("shop")
        assert (state.trajectories, state.unknown_trajectories) == (3, 3)
        jobs = len(await client.list_jobs())
        for given, error in (
            ({"repository": str(elsewhere)}, RepositoryUnreadableError),
            ({"repository": "shop"}, InvalidInputError),
            ({"branch": "nope"}, InvalidInputError),
            ({"issues": str(bad)}, InvalidInputError),
            ({"issues": str(elsewhere / "none.json")}, InvalidInputError),
        ):
            params = {"repository": str(folder), "project_id": "shop", **given}
            with pytest.raises(error):
                await client.mine(MineParams.model_validate(params))
        await client.set_recording("shop", recorded=False)
        with pytest.raises(ProjectOptedOutError):
            await client.mine(MineParams(repository=str(folder), project_id="shop"))
        assert len(await client.list_jobs()) == jobs
