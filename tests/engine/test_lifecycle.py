"""The engine as a process: started on demand, one per home, gone when idle."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from engine_support import (
    ADD_TESTS,
    engines,
    finished,
    is_alive,
    kill_engine,
    scripted_config,
    until,
    wait_until,
)

import rune_engine
from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig
from rune_engine.errors import (
    DatabaseTooNewError,
    EngineUnavailableError,
    HomeNotWritableError,
    InvalidInputError,
)
from rune_engine.models import RunTaskParams
from rune_engine.starter import EXIT_ALREADY_RUNNING


async def test_the_first_call_starts_the_engine(config: RuneConfig, client: EngineClient) -> None:
    assert await client.running() is None
    health = await client.health()
    (engine,) = engines(config)
    assert (health.pid, health.version) == (engine.pid, rune_engine.__version__)
    assert (await client.status()).engine_pid == engine.pid


async def test_its_files_are_private_and_describe_it(
    config: RuneConfig, client: EngineClient
) -> None:
    health = await client.health()
    mode = stat.S_IMODE(config.socket_path.stat().st_mode)
    assert (mode, stat.S_IMODE(config.home.stat().st_mode)) == (0o600, 0o700)
    assert json.loads((config.home / "engine.json").read_text())["pid"] == health.pid


async def test_clients_that_start_at_once_share_one_engine(config: RuneConfig) -> None:
    clients = [EngineClient(config) for _ in range(8)]
    answers = await asyncio.gather(*(client.health() for client in clients))
    await asyncio.gather(*(client.aclose() for client in clients))
    assert len({answer.pid for answer in answers}) == 1
    assert len(engines(config)) == 1


def test_starting_processes_share_one_engine(config: RuneConfig) -> None:
    """Two processes, not two clients of one process: only files stand between them."""
    code = (
        "import sys, json; from rune_engine.config import load_config;"
        "from rune_engine.starter import start_engine;"
        "start_engine(load_config(**json.loads(sys.argv[1])))"
    )
    command = [sys.executable, "-c", code, config.model_dump_json()]
    starters = [subprocess.Popen(command) for _ in range(2)]
    assert [starter.wait(timeout=60) for starter in starters] == [0, 0]
    assert len(engines(config)) == 1


async def test_a_second_engine_of_a_home_ends_at_once(
    config: RuneConfig, client: EngineClient
) -> None:
    health = await client.health()
    second = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "rune_engine.service", config.model_dump_json()],
        capture_output=True,
        timeout=60,
    )
    assert (second.returncode, second.stdout) == (EXIT_ALREADY_RUNNING, b"")
    assert (await client.health()).pid == health.pid


async def test_it_outlives_whoever_started_it(config: RuneConfig, client: EngineClient) -> None:
    await client.health()
    (engine,) = engines(config)
    assert os.getsid(engine.pid) == engine.pid
    assert os.getsid(engine.pid) != os.getsid(0)


async def test_nothing_is_left_when_it_has_been_idle(tmp_path: Path, config: RuneConfig) -> None:
    short = scripted_config(tmp_path, idle_seconds=0.5)
    async with EngineClient(short) as client:
        pid = (await client.health()).pid
    await until(lambda: not is_alive(pid), "the idle engine is gone")
    assert not short.socket_path.exists()
    assert not (short.home / "engine.json").exists()
    log = (short.logs_path / "engine.log").read_text()
    assert "Engine stopped" in log and "Traceback" not in log


async def test_a_job_keeps_it_from_being_idle(tmp_path: Path, config: RuneConfig) -> None:
    short = scripted_config(tmp_path, idle_seconds=0.5)
    async with EngineClient(short) as client:
        job = await client.run_task(RunTaskParams(task_description="Think a while"))
        pid = (await client.health()).pid
        await until(lambda: not is_alive(pid), "the idle engine is gone")
        assert (await client.get_job(job.id)).status == "succeeded"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_it_cleanly(
    config: RuneConfig, client: EngineClient, number: signal.Signals
) -> None:
    pid = (await client.health()).pid
    os.kill(pid, number)
    await until(lambda: not is_alive(pid), "the engine is gone")
    assert not config.socket_path.exists()
    assert "Engine stopped" in (config.logs_path / "engine.log").read_text()


async def test_stop_waits_until_it_is_gone(config: RuneConfig, client: EngineClient) -> None:
    pid = (await client.health()).pid
    assert await client.stop() is True
    await until(lambda: not is_alive(pid), "the engine is gone")
    assert await client.stop() is False


async def test_a_client_goes_on_with_a_fresh_engine_after_a_stop(
    config: RuneConfig, client: EngineClient
) -> None:
    first = await client.health()
    await client.stop()
    job = await client.run_task(RunTaskParams(task_description="Add two numbers"))
    second = await client.health()
    assert job.id and second.pid != first.pid


async def test_the_socket_of_a_killed_engine_is_no_obstacle(
    config: RuneConfig, client: EngineClient
) -> None:
    first = (await client.health()).pid
    kill_engine(config)
    assert config.socket_path.exists()
    assert (await client.health()).pid != first


async def test_a_database_of_a_newer_version_is_named_to_the_caller(
    config: RuneConfig, client: EngineClient
) -> None:
    await client.health()
    await client.stop()
    with sqlite3.connect(config.database_path) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseTooNewError, match="newer"):
        await client.health()
    assert not engines(config)


async def test_a_home_that_cannot_be_made_is_named_to_the_caller(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    async with EngineClient(scripted_config(tmp_path)) as client:
        with pytest.raises(HomeNotWritableError, match="home"):
            await client.health()


def test_a_read_only_home_is_named_to_the_caller(tmp_path: Path) -> None:
    config = scripted_config(tmp_path)
    config.home.mkdir()
    code = (
        "import sys, json, asyncio; from rune_engine.config import load_config;"
        "from rune_engine.client import EngineClient\n"
        "asyncio.run(EngineClient(load_config(**json.loads(sys.argv[1]))).health())"
    )
    script = (
        'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" || exit 77; exec "$2" -c "$3" "$4"'
    )
    arguments = ["sh", str(config.home), sys.executable, code, config.model_dump_json()]
    command = ["unshare", "-rm", "sh", "-c", script, *arguments]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if ended.returncode == 77 or "unshare" in ended.stderr:
        pytest.skip("this machine does not allow a private mount")
    assert (
        ended.stderr.strip().splitlines()[-1].startswith("rune_engine.errors.HomeNotWritableError")
    ), ended.stderr
    assert not engines(config)


async def test_a_wrong_script_leaves_a_clear_error(tmp_path: Path, config: RuneConfig) -> None:
    (tmp_path / "script.json").write_text("not a script")
    async with EngineClient(config) as client:
        with pytest.raises(InvalidInputError, match=r"script\.json"):
            await client.run_task(RunTaskParams(task_description="Add two numbers"))


async def test_an_engine_that_cannot_start_leaves_its_log_in_the_error(
    config: RuneConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken" / "uvicorn"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise RuntimeError('this uvicorn is broken')")
    inherited = os.environ["PYTHONPATH"]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(broken.parent), inherited]))
    async with EngineClient(config) as client:
        with pytest.raises(EngineUnavailableError, match="this uvicorn is broken"):
            await client.health()
    assert not engines(config)


async def test_an_engine_of_another_version_is_replaced(
    config: RuneConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with EngineClient(config) as old:
        first = (await old.health()).pid
    monkeypatch.setattr(rune_engine, "__version__", "0.0.9")
    async with EngineClient(config) as new:
        assert (await new.health()).pid != first
    assert len(engines(config)) == 1


async def test_a_busy_engine_of_another_version_is_left_alone(
    config: RuneConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with EngineClient(config) as old:
        await old.run_task(RunTaskParams(task_description="Think for ever"))
        pid = (await old.health()).pid
    monkeypatch.setattr(rune_engine, "__version__", "0.0.9")
    async with EngineClient(config) as new:
        with pytest.raises(EngineUnavailableError, match="is working"):
            await new.health()
    assert [engine.pid for engine in engines(config)] == [pid]


async def test_a_long_home_gets_a_socket_elsewhere(tmp_path: Path, config: RuneConfig) -> None:
    folder = tmp_path / ("long-" * 20)
    folder.mkdir()
    far = scripted_config(folder)
    async with EngineClient(far) as client:
        await client.health()
        assert far.socket_path.exists() and far.socket_path.parent != far.home
        assert stat.S_IMODE(far.socket_path.stat().st_mode) == 0o600
        await client.stop()
    assert not far.socket_path.exists()


async def test_a_raw_connection_that_says_nothing_does_not_keep_it(
    tmp_path: Path, config: RuneConfig
) -> None:
    short = scripted_config(tmp_path, idle_seconds=0.5)
    async with EngineClient(short) as client:
        pid = (await client.health()).pid
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(short.socket_path))
        wait_until(lambda: not is_alive(pid), "the idle engine is gone")


async def test_it_never_loads_torch(config: RuneConfig, client: EngineClient) -> None:
    """After a whole task, what is mapped into the process holds no torch."""
    job = await client.run_task(
        RunTaskParams(task_description="Add two numbers", test_suite=ADD_TESTS)
    )
    assert (await finished(client, job)).status == "succeeded"
    maps = Path(f"/proc/{(await client.health()).pid}/maps")
    if not maps.exists():
        pytest.skip("no /proc here")
    assert "sqlite" in maps.read_text() and "libtorch" not in maps.read_text()


def test_importing_the_client_loads_nothing_heavy() -> None:
    code = "import sys, rune_engine.client; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    heavy = {"httpx", "sqlalchemy", "fastapi", "uvicorn", "langgraph", "alembic", "torch"}
    assert "rune_engine.client" in loaded.split() and not heavy & set(loaded.split())
