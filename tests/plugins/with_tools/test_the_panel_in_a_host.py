"""The MCP App panel in a page that plays the host: what it asks, what it shows, and as what."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rune_engine.models import AdapterStanding, Difference, JobLine, MemoryStatus, Overview
from rune_mcp.panel import PANEL_FILE

HOST = Path(__file__).with_name("panel_host.cjs")
MARKUP = "<img src=x onerror=alert(1)>"


def overview() -> Overview:
    """Three adapters (one helped, one is not certain, one was not measured) and a running job."""

    def measured(low: float, high: float) -> dict[str, Any]:
        middle = (low + high) / 2
        found = Difference(
            difference=middle, low=low, high=high, tasks=20, better=9, worse=1, p_value=0.01
        )
        return {"pass_rate": 0.9, "base_pass_rate": 0.5, "difference": found, "tasks": 20}

    def adapter(name: str, **more: Any) -> AdapterStanding:
        return AdapterStanding(
            adapter_id=name,
            project_id="shop",
            level="project",
            domain="general",
            task_type="feature-impl",
            created_at="2026-01-01T00:00:00Z",
            fitness=None,
            **more,
        )

    job = JobLine(
        id="job",
        kind="distill",
        status="running",
        progress=0.25,
        message=MARKUP,
        project_id="shop",
        created_at="2026-01-01T00:00:00Z",
        finished_at=None,
    )
    status = MemoryStatus(
        home="/home",
        version="1",
        base_model_id="base",
        provider="scripted",
        sandbox="none",
        engine_pid=1,
        worker_pids=[],
        adapters=3,
        archived_adapters=2,
        trajectories=7,
        projects=[],
        total_projects=1,
        jobs={"running": 1},
    )
    adapters = [
        adapter("good", **measured(0.2, 0.6), undecided=2),
        adapter("even", **measured(-0.1, 0.1)),
        adapter("new"),
    ]
    return Overview(status=status, adapters=adapters, total_adapters=3, jobs=[job])


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What happened when a host showed the panel."""
    modules = Path(os.environ.get("RUNE_PLUGIN_TOOLS", "/nonexistent"), "node_modules").absolute()
    node = shutil.which("node")
    if node is None or not (modules / "jsdom").exists():
        pytest.skip("needs node and jsdom: run `make test-plugins`")
    data = tmp_path_factory.mktemp("panel") / "overview.json"
    data.write_text(overview().model_dump_json())
    done = subprocess.run(
        [node, str(HOST), str(PANEL_FILE), str(data)],
        env={**os.environ, "NODE_MODULES": str(modules)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["complaints"] == []
    return found


def test_the_panel_shakes_hands_as_the_extension_asks(played: dict[str, Any]) -> None:
    first, second, *_ = played["sent"]
    assert (first["method"], first["params"]["protocolVersion"]) == ("ui/initialize", "2026-01-26")
    assert first["params"]["appInfo"]["name"] and "appCapabilities" in first["params"]
    assert second == {"jsonrpc": "2.0", "method": "ui/notifications/initialized"}
    assert "ui/notifications/size-changed" in [each.get("method") for each in played["sent"]]


def test_the_panel_says_whether_each_adapter_helped(played: dict[str, Any]) -> None:
    good, even, new, _ = played["shown"]
    assert good[:4] == ["good", "shop (project)", "90.0 %", "50.0 %"]
    assert good[4] == "helped: +40.0 points, +20.0 to +60.0"
    assert good[5] == "20 (2 undecided)"
    assert even[4].startswith("not certain: ")
    assert new[2:5] == ["not measured"] * 3
    assert played["held"].startswith("7 trajectories in 1 projects, 3 adapters in use, 2 archived")


def test_recorded_text_is_shown_as_text(played: dict[str, Any]) -> None:
    job = played["shown"][3]
    assert job[0] == "job" and "25 %" in job[3]
    assert job[4] == MARKUP
    assert "img" not in played["elements"]


def test_the_panel_asks_again_through_the_host_and_leaves_when_told(played: dict[str, Any]) -> None:
    calls = [each for each in played["sent"] if each.get("method") == "tools/call"]
    assert [call["params"] for call in calls] == [{"name": "show_memory", "arguments": {}}]
    answers = {each["id"]: each for each in played["sent"] if "method" not in each}
    assert answers["bye"]["result"] == {}
    assert answers["odd"]["error"]["code"] == -32601
    assert played["theme"] == "dark" and played["refresh_is_hidden"] is False
    assert played["says"].startswith("Up to date")
