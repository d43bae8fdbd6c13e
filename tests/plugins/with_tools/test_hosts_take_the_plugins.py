"""The hosts' own programs read what is generated, and start the server from it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from plugins.facts import ROOT
from rune_engine import __version__

Run = Callable[..., subprocess.CompletedProcess[str]]
Tool = Callable[[str], str]
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
VALIDATE = ("plugin", "validate", "--strict", "--profile", "directory")


def greeted(command: list[str], environment: dict[str, str]) -> dict[str, str]:
    """What a server says of itself to an `initialize`, its stdin being closed after it."""
    done = subprocess.run(
        command,
        input=json.dumps(HELLO) + "\n",
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["id"] == 1
    info: dict[str, str] = answer["result"]["serverInfo"]
    return info


def test_claude_code_finds_nothing_wrong_with_the_plugin(claude: Run) -> None:
    checked = claude(*VALIDATE, str(ROOT / "plugins/claude-code"))
    assert checked.returncode == 0, checked.stdout
    assert "7" in checked.stdout.split("hooks (")[1][:2]


def test_claude_code_finds_nothing_wrong_with_the_marketplace(claude: Run) -> None:
    checked = claude("plugin", "validate", "--strict", str(ROOT))
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    ("file", "change"),
    [
        (".claude-plugin/plugin.json", {"name": 3}),
        ("hooks/hooks.json", {"hooks": {"Stop": [{"hooks": [{"type": "command"}]}]}}),
    ],
)
def test_the_validator_would_say_so(
    claude: Run, tmp_path: Path, file: str, change: dict[str, object]
) -> None:
    plugin = shutil.copytree(ROOT / "plugins/claude-code", tmp_path / "broken")
    data = json.loads((plugin / file).read_text())
    (plugin / file).write_text(json.dumps({**data, **change}))
    assert claude(*VALIDATE, str(plugin)).returncode == 1


def test_claude_code_installs_the_plugin_and_connects_to_its_server(claude: Run) -> None:
    assert claude("plugin", "marketplace", "add", str(ROOT)).returncode == 0
    installed = claude("plugin", "install", "rune@rune")
    assert installed.returncode == 0, installed.stdout + installed.stderr
    listed = claude("mcp", "list").stdout
    assert "plugin:rune:rune" in listed
    assert "Connected" in listed


def test_claude_code_takes_what_setup_writes_and_what_it_leaves(claude: Run) -> None:
    def rune(*arguments: str) -> None:
        done = claude("-m", "rune_engine.cli.main", "setup", *arguments, command=sys.executable)
        assert done.returncode == 0, done.stderr

    rune("claude-code", "--yes")
    listed = claude("mcp", "list").stdout
    assert "rune: " in listed
    assert "Connected" in listed
    assert "Invalid settings" not in claude("doctor").stdout
    rune("claude-code", "--remove", "--yes")
    assert "rune" not in claude("mcp", "list").stdout
    assert "Invalid settings" not in claude("doctor").stdout


def test_a_packed_bundle_starts_the_server(tool: Tool, wheel: Path, tmp_path: Path) -> None:
    source, bundle = ROOT / "plugins/mcpb", tmp_path / "rune.mcpb"
    subprocess.run([tool("mcpb"), "validate", str(source / "manifest.json")], check=True)
    subprocess.run([tool("mcpb"), "pack", str(source), str(bundle)], check=True)
    unpacked = tmp_path / "unpacked"
    shutil.unpack_archive(bundle, unpacked, "zip")
    config = json.loads((unpacked / "manifest.json").read_text())["server"]["mcp_config"]
    arguments = [word.replace("${__dirname}", str(unpacked)) for word in config["args"]]
    # The wheel that was just built stands in for the one on the package index.
    environment = {"UV_FIND_LINKS": str(wheel.parent), "RUNE_HOME": str(tmp_path / "memory")}
    info = greeted([tool("uv"), *arguments], environment)
    assert (info["name"], info["version"]) == ("rune", __version__)


def test_uvx_starts_the_built_wheel(tool: Tool, wheel: Path, tmp_path: Path) -> None:
    command = [tool("uvx"), "--from", str(wheel), "rune-mcp"]
    info = greeted(command, {"RUNE_HOME": str(tmp_path / "memory")})
    assert (info["name"], info["version"]) == ("rune", __version__)
    assert not (tmp_path / "memory").exists()


@pytest.mark.parametrize(("change", "code"), [({}, 0), ({"version": "latest"}, 1)])
def test_the_registry_s_published_schema_takes_server_json(
    tool: Tool, tmp_path: Path, change: dict[str, str], code: int
) -> None:
    data = json.loads((ROOT / "server.json").read_text())
    (tmp_path / "server.json").write_text(json.dumps({**data, **change}))
    command = [tool("skillsaw"), "lint", str(tmp_path)]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == code, checked.stdout
    assert "mcp-registry" in checked.stdout
