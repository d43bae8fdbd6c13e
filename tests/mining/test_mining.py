"""`mine` in the real engine: a shop's history in, trajectories out, judged in the real sandbox."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_support import finished, kill_engine, until_job
from repositories import History, snapshot
from shop import CART, CART_FIXED, shop
from typer.testing import CliRunner

from rune_engine.cli.main import app
from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig
from rune_engine.database import Database, open_database
from rune_engine.errors import InvalidInputError, ProjectOptedOutError, RepositoryUnreadableError
from rune_engine.mining import messages
from rune_engine.mining.history import ROOT
from rune_engine.models import ForgetParams, MineParams, MineResult, Trajectory
from rune_engine.suspicion import teaches
from rune_engine.trajectories import TrajectoryStore


@pytest.fixture
def store(config: RuneConfig) -> Iterator[TrajectoryStore]:
    """The engine's own store, read beside it."""
    database: Database = open_database(config)
    yield TrajectoryStore(database)
    database.close()


@pytest.fixture
def made(tmp_path: Path) -> tuple[History, dict[str, str]]:
    return shop(tmp_path / "shop")


async def mine(client: EngineClient, folder: Path, **given: Any) -> MineResult:
    params = MineParams.model_validate({"repository": str(folder), "project_id": "shop", **given})
    job = await finished(client, await client.mine(params))
    assert job.result is not None, job.error
    return MineResult.model_validate(job.result)


def of_commit(store: TrajectoryStore, commit: str, **wanted: Any) -> Trajectory:
    [found] = [
        each
        for each in store.page(project_id="shop", limit=100).trajectories
        if each.provenance is not None and each.provenance.commit_id == commit
        and wanted.items() <= each.provenance.model_dump().items()
    ]  # fmt: skip
    return found


async def test_only_what_tests_tell_apart_is_a_success(
    client: EngineClient, store: TrajectoryStore, made: tuple[History, dict[str, str]]
) -> None:
    history, commits = made
    before = snapshot(history.folder)
    result = await mine(client, history.folder)
    assert snapshot(history.folder) == before, "nothing is written to the repository"
    assert (result.commits, result.stored, result.successes, result.unknown) == (6, 3, 2, 1)
    assert result.complete and result.test_runs >= 4
    assert result.skipped_commits[ROOT] == result.skipped_commits[messages.RELEASE] == 1
    assert result.skipped_files["tests"] == 4

    alone = of_commit(store, commits["fixed"])
    assert alone.task_description == (
        "the total counted one too many\n\nNobody should pay for nothing.\n\n"
        "In shop/cart.py: the whole file."
    )
    assert [attempt.generated_code for attempt in alone.attempts] == [CART, CART_FIXED]
    assert [attempt.tests_passed for attempt in alone.attempts] == [False, True]
    assert alone.test_suite.startswith("from solution import total")
    assert (alone.outcome, alone.source, alone.task_type) == ("success", "mined", "bug-fix")
    assert alone.provenance is not None and alone.provenance.tests == ["tests/test_cart.py"]

    inside = of_commit(store, commits["rounded"])
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

    untested = of_commit(store, commits["named"])
    assert (untested.outcome, [a.tests_passed for a in untested.attempts]) == ("unknown", [None])
    assert not teaches(untested)
    assert {each.id for each in store.distillable("shop")} == {alone.id, inside.id}
    state = await client.project("shop")
    assert (state.trajectories, state.distillable_trajectories, state.unknown_trajectories) == (
        3,
        2,
        1,
    )
    everything = json.dumps([t.model_dump() for t in store.page().trajectories])
    assert "Ada" not in everything and "secret.example" not in everything

    again = await mine(client, history.folder)
    assert (again.stored, again.duplicates) == (0, 3)
    trusted = await mine(client, history.folder, trust=True)
    assert (trusted.stored, trusted.trusted, trusted.duplicates) == (1, 1, 2)
    believed = of_commit(store, commits["named"], evidence="trusted")
    assert believed.outcome == "success" and believed.attempts[-1].tests_passed is None
    assert believed.id in {each.id for each in store.distillable("shop")}


async def test_a_dry_run_shows_what_would_come_and_stores_nothing(
    client: EngineClient, store: TrajectoryStore, made: tuple[History, dict[str, str]]
) -> None:
    history, commits = made
    result = await mine(client, history.folder, dry_run=True, held_out_share=0.34)
    assert (result.units, result.stored, result.test_runs) == (3, 0, 0)
    shown = [(unit.commit_id, unit.unit, unit.has_tests, unit.held_out) for unit in result.mined]
    assert shown == [
        (commits["named"], "Tax.__str__", False, True),
        (commits["rounded"], "Tax.on", True, False),
        (commits["fixed"], "", True, False),
    ]
    assert store.page().total == 0


async def test_issues_scope_and_held_out_commits(
    client: EngineClient,
    store: TrajectoryStore,
    made: tuple[History, dict[str, str]],
    tmp_path: Path,
) -> None:
    history, commits = made
    issues = tmp_path / "issues.json"
    told = {"number": 7, "title": "The sum is wrong", "body": "It is **6**.\r\n\r\nx@mail.example"}
    issues.write_text(json.dumps([told, {"number": "8"}, None]))
    result = await mine(
        client,
        history.folder,
        issues=str(issues),
        paths=["shop/c*.py"],
        held_out_share=0.9,
        run_tests=False,
        domain="retail",
    )
    assert (result.units, result.held_out, result.unknown) == (1, 1, 1)
    found = of_commit(store, commits["fixed"])
    assert found.task_description == (
        "The sum is wrong\n\nIt is **6**.\n\nIn shop/cart.py: the whole file."
    )
    assert (found.held_out, found.domain, found.outcome) == (True, "retail", "unknown")
    assert found.provenance is not None and found.provenance.task_from == "issue"
    later = await mine(client, history.folder, since="2023-11-14T22:17:00+00:00", dry_run=True)
    assert (later.commits, later.units) == (3, 2)
    older = await mine(client, history.folder, branch="HEAD~2", limit=1, dry_run=True)
    assert [unit.commit_id for unit in older.mined] == [commits["rounded"]]


async def test_secrets_in_a_history_are_not_stored(
    client: EngineClient, store: TrajectoryStore, tmp_path: Path
) -> None:
    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    history = History(tmp_path / "leaky")
    history.commit("Begin with a client of it", {"client.py": "def ask():\n    return None\n"})
    code = f'def ask():\n    return get("https://x.example", token="{secret}")\n'
    made = history.commit(f"Ask with the token {secret} of ours", {"client.py": code})
    await mine(client, history.folder)
    found = of_commit(store, made)
    assert secret not in found.model_dump_json() and "[secret:" in found.task_description


async def test_what_was_forgotten_is_not_mined_again(
    client: EngineClient, store: TrajectoryStore, made: tuple[History, dict[str, str]]
) -> None:
    history, _ = made
    await mine(client, history.folder, run_tests=False)
    await client.forget(ForgetParams(project_id="shop"))
    assert store.page().total == 0
    result = await mine(client, history.folder, run_tests=False)
    assert (result.stored, result.skipped_units["forgotten, and stays so"]) == (0, 3)
    assert store.page().total == 0


async def test_a_killed_mining_goes_on_and_stores_each_once(
    client: EngineClient, config: RuneConfig, store: TrajectoryStore, tmp_path: Path
) -> None:
    history = History(tmp_path / "many")
    history.commit("Begin with a list of steps", {"steps/__init__.py": ""})
    for number in range(12):
        code = f"def step_{number}(n):\n    return n + {number}\n"
        tests = f"from steps.s{number} import step_{number}\n\n\ndef test_it():\n"
        tests += f"    assert step_{number}(1) == {number + 1}\n"
        files = {f"steps/s{number}.py": code, f"tests/test_s{number}.py": tests}
        history.commit(f"Add the step of number {number}", files)
    params = MineParams(repository=str(history.folder), project_id="shop")
    job = await client.mine(params)
    await until_job(client, job, lambda seen: seen.progress > 0.4)
    kill_engine(config)
    job = await finished(client, await client.get_job(job.id))
    assert job.result is not None, job.error
    result = MineResult.model_validate(job.result)
    assert (job.attempt, result.units, result.complete) == (2, 12, True)
    assert result.stored + result.duplicates == 12
    assert store.page().total == 12 and store.count_distillable("shop") == 12
    assert not (config.jobs_path / job.id).exists()


async def test_what_cannot_be_mined_is_refused_before_there_is_a_job(
    client: EngineClient, made: tuple[History, dict[str, str]], tmp_path: Path
) -> None:
    history, _ = made
    bad = tmp_path / "bad.json"
    bad.write_text('{"title": "no number"}')
    for given, error in (
        ({"repository": str(tmp_path)}, RepositoryUnreadableError),
        ({"repository": "shop"}, InvalidInputError),
        ({"branch": "nope"}, InvalidInputError),
        ({"issues": str(bad)}, InvalidInputError),
        ({"issues": str(tmp_path / "none.json")}, InvalidInputError),
    ):
        params = {"repository": str(history.folder), "project_id": "shop", **given}
        with pytest.raises(error):
            await client.mine(MineParams.model_validate(params))
    await client.set_recording("shop", recorded=False)
    with pytest.raises(ProjectOptedOutError):
        await client.mine(MineParams(repository=str(history.folder), project_id="shop"))
    assert await client.list_jobs() == []


def test_the_command_shows_a_dry_run(
    config: RuneConfig, made: tuple[History, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    history, commits = made
    monkeypatch.setenv("RUNE_HOME", str(config.home))
    monkeypatch.setenv("COLUMNS", "200")
    shown = CliRunner().invoke(app, ["mine", str(history.folder), "--dry-run"])
    assert shown.exit_code == 0, shown.output
    assert commits["rounded"][:10] in shown.output and "Round the tax" in shown.output
    assert "changes nothing that could be learned" not in shown.output
    assert messages.RELEASE in shown.output
    told = CliRunner().invoke(app, ["mine", str(history.folder), "--dry-run", "--json"])
    assert MineResult.model_validate_json(told.output).units == 3
    with pytest.raises(InvalidInputError, match="since"):
        CliRunner().invoke(
            app, ["mine", str(history.folder), "--since", "last week"], catch_exceptions=False
        )
