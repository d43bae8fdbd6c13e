"""Killed, crowded, out of space, read-only: the registry stays readable and whole."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from threading import Timer

import pytest

from rune_engine.config import RuneConfig
from rune_engine.database import open_database
from rune_engine.registry import AdapterRegistry

HERE = Path(__file__).resolve().parent
STORE = [sys.executable, str(HERE / "store_adapters.py")]
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join((str(HERE.parents[1]), str(HERE.parent)))}


def start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)


def in_private_mounts(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script that may mount; nobody else sees its mounts."""
    inside = ["unshare", "--user", "--map-root-user", "--mount"]
    if sys.platform != "linux" or subprocess.run([*inside, "true"], check=False).returncode:
        pytest.skip("private mount namespaces are not permitted here")
    command = [*inside, "sh", "-ec", script, "sh", *arguments]
    return subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False
    )


def assert_whole(config: RuneConfig, acknowledged: set[str]) -> None:
    """Every acknowledged adapter is there, every row verifies, every folder is complete."""
    database = open_database(config)
    registry = AdapterRegistry(database, config)
    rows = {adapter.id for adapter in registry.list_all()}
    assert acknowledged <= rows
    for adapter_id in rows:
        registry.verified_ref(adapter_id)
    for folder in config.adapters_path.iterdir():
        assert {path.name for path in folder.iterdir()} == {
            "adapter_config.json",
            "adapter_model.safetensors",
        }
    database.close()


def test_kill_9_in_the_middle_of_storing_loses_nothing_acknowledged(config: RuneConfig) -> None:
    rng = random.Random(0)
    acknowledged: set[str] = set()
    for round_number in range(6):
        process = start([*STORE, str(config.home), "100000", str(round_number * 100_000), "64"])
        assert process.stdout is not None
        first = process.stdout.readline()
        killer = Timer(rng.uniform(0.0, 0.2), process.send_signal, [signal.SIGKILL])
        killer.start()
        rest, _ = process.communicate(timeout=60)
        killer.join()
        assert process.returncode == -signal.SIGKILL
        complete, _, _ = (first + rest).rpartition("\n")
        acknowledged.update(complete.split())
    assert len(acknowledged) >= 6
    assert_whole(config, acknowledged)


def test_processes_that_store_at_once_all_succeed(config: RuneConfig) -> None:
    # The same seeds: they also race for the same objects.
    processes = [start([*STORE, str(config.home), "15", "0", "16"]) for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    ids = {line for output in outputs for line in output}
    assert len(ids) == 30
    assert_whole(config, ids)


def test_a_full_disk_is_said_and_leaves_everything_whole(tmp_path: Path) -> None:
    script = """
        mount -t tmpfs -o size=2m none "$1"
        mkdir "$1/home"
        head -c 300000 /dev/zero > "$1/home/spare"
        "$2" "$3" "$1/home" 100 0 4096
        "$2" "$4" "$1/home"
        rm "$1/home/spare"
        echo after
        "$2" "$3" "$1/home" 1 1000 16
        "$2" "$4" "$1/home"
    """
    check = tmp_path / "check.py"
    check.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from rune_engine.config import load_config\n"
        "from registry.test_hard_times import assert_whole\n"
        "assert_whole(load_config(home=sys.argv[1]), set())\n"
    )
    disk = tmp_path / "disk"
    disk.mkdir()
    done = in_private_mounts(script, str(disk), sys.executable, STORE[1], str(check))
    assert done.returncode == 0, done.stderr
    before, after = done.stdout.split("after")
    assert before.split()[-1] == "disk_full"
    assert len(before.split()) > 2, "some fitted"
    assert len(after.split()) == 1 and "disk_full" not in after


def test_a_read_only_home_is_refused_with_its_reason(config: RuneConfig) -> None:
    open_database(config).close()
    script = """
        mount --bind "$1" "$1"
        mount -o remount,ro,bind "$1"
        "$2" -c "
import sys
from rune_engine.config import load_config
from rune_engine.database import open_database
from rune_engine.errors import HomeNotWritableError
for home in (sys.argv[1], sys.argv[1] + '/below'):
    try:
        open_database(load_config(home=home))
    except HomeNotWritableError as error:
        print(error.code, bool(error.next_step))
" "$1"
    """
    done = in_private_mounts(script, str(config.home), sys.executable)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["home_not_writable True"] * 2
