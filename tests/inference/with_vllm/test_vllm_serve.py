"""`rune vllm serve` with the real server: it comes up, serves, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
from running_vllm import SMALL, START_SECONDS, settings_for


def test_the_command_starts_a_server_and_leaves_nothing_behind(
    base_folder: Path, tmp_path: Path
) -> None:
    settings = settings_for(base_folder)
    served = subprocess.Popen(
        [
            *(sys.executable, "-m", "rune_engine.cli.main", "vllm", "serve"),
            *("--python", settings.python, "--port", str(settings.port)),
            *("--base-model", str(base_folder), "--wait", str(START_SECONDS)),
            *("--", "--enforce-eager"),
        ],
        env={**os.environ, **SMALL, "RUNE_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert served.stdout is not None
        assert settings.url in served.stdout.readline()
        processes = psutil.Process(served.pid).children(recursive=True)
        assert len(processes) >= 2
        assert httpx.get(f"{settings.url}/v1/models", trust_env=False).is_success
        served.send_signal(signal.SIGTERM)
        assert served.wait(60) == 128 + signal.SIGTERM
        _, alive = psutil.wait_procs(processes, timeout=30)
        assert alive == []
    finally:
        served.kill()
        served.communicate()
