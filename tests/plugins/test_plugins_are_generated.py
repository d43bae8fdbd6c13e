"""What editors install is as generated from one source, and says what is so."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

import rune_engine
from plugins.facts import ROOT, Facts
from plugins.generate import generate, write, wrong
from rune_engine.setup.entries import HOOK_EVENTS
from rune_mcp.tools import TOOLS

PLUGIN = ROOT / "plugins/claude-code"
UVX = {"command": "uvx", "args": [f"rune-mcp@{rune_engine.__version__}"]}


def test_every_file_is_as_its_template_makes_it() -> None:
    assert wrong(generate(Facts())) == []


def test_a_file_edited_by_hand_missing_or_left_over_is_found_and_put_right(tmp_path: Path) -> None:
    files = generate(Facts())
    write(files, tmp_path)
    assert wrong(files, tmp_path) == []
    (tmp_path / "server.json").write_text("{}")
    (tmp_path / "plugins/mcpb/manifest.json").unlink()
    (tmp_path / "plugins/claude-code/commands/old.md").write_text("old")
    assert sorted(wrong(files, tmp_path)) == [
        "plugins/claude-code/commands/old.md",
        "plugins/mcpb/manifest.json",
        "server.json",
    ]
    write(files, tmp_path)
    assert wrong(files, tmp_path) == []


def test_the_check_is_what_lint_runs() -> None:
    command = [sys.executable, "-m", "plugins.generate", "--check"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def test_a_tool_that_the_server_does_not_have_is_an_error() -> None:
    with pytest.raises(LookupError, match="no tool 'teleport'"):
        Facts().tool("teleport")


def test_one_version_stands_everywhere() -> None:
    assert Facts().version == rune_engine.__version__
    for name in ("plugins/claude-code/.claude-plugin/plugin.json", "plugins/mcpb/manifest.json"):
        assert json.loads((ROOT / name).read_text())["version"] == rune_engine.__version__
    (plugin,) = json.loads((ROOT / ".claude-plugin/marketplace.json").read_text())["plugins"]
    assert plugin["version"] == rune_engine.__version__
    assert (ROOT / plugin["source"] / ".claude-plugin/plugin.json").exists()


def test_the_bundle_names_the_server_s_tools() -> None:
    tools = json.loads((ROOT / "plugins/mcpb/manifest.json").read_text())["tools"]
    assert [tool["name"] for tool in tools] == list(TOOLS)
    assert all(tool["description"].endswith(".") for tool in tools)


def test_the_registry_s_entry_is_owned_by_the_package_s_readme() -> None:
    server = json.loads((ROOT / "server.json").read_text())
    assert len(server["description"]) <= 100
    assert f"mcp-name: {server['name']} " in (ROOT / "README.md").read_text()
    (package,) = server["packages"]
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert package["identifier"] == metadata["name"]
    assert package["identifier"] in metadata["scripts"]  # what uvx runs has the package's name


def test_the_links_hold_what_the_files_hold() -> None:
    web = urlsplit(Facts().vscode_link)
    (inner,) = parse_qs(web.query)["url"]
    assert inner.startswith("vscode:mcp/install?")
    offered = json.loads(unquote(inner.partition("?")[2]))
    files = ROOT / "plugins/editors"
    named = json.loads((files / "vscode.mcp.json").read_text())["servers"]
    assert offered == {"name": "rune", **named["rune"]} == {"name": "rune", "type": "stdio", **UVX}
    query = parse_qs(urlsplit(Facts().cursor_link).query)
    assert query["name"] == ["rune"]
    assert json.loads(base64.b64decode(query["config"][0])) == UVX
    assert json.loads((files / "cursor.mcp.json").read_text()) == {"mcpServers": {"rune": UVX}}
    codex = tomllib.loads((files / "codex.config.toml").read_text())["mcp_servers"]["rune"]
    assert {key: codex[key] for key in UVX} == UVX


def test_the_plugin_s_hooks_write_a_line_and_print_nothing(tmp_path: Path) -> None:
    hooks = json.loads((PLUGIN / "hooks/hooks.json").read_text())["hooks"]
    assert list(hooks) == list(HOOK_EVENTS)
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "RUNE_HOME": str(home),
        "CLAUDE_PLUGIN_ROOT": str(PLUGIN),
    }
    for event, ((group,),) in ((name, (hooks[name],)) for name in hooks):
        (hook,) = group["hooks"]
        assert 1 <= hook["timeout"] <= 10  # seconds
        said = {"hook_event_name": event, "session_id": "s", "cwd": str(tmp_path)}
        done = subprocess.run(
            ["sh", "-c", hook["command"]],
            input=json.dumps(said).encode(),
            env=environment,
            capture_output=True,
            check=True,
            timeout=60,
        )
        assert done.stdout + done.stderr == b""
    written = [path for path in home.rglob("*") if path.is_file()]
    lines = [line for path in written for line in path.read_bytes().split(b"\n") if line]
    assert [json.loads(line)["hook_event_name"] for line in lines] == list(HOOK_EVENTS)


@pytest.mark.parametrize(
    ("there", "started"),
    [
        (("rune-mcp", "uvx"), "rune-mcp\n"),
        (("uvx",), f"uvx rune-mcp@{rune_engine.__version__}\n"),
        ((), None),
    ],
)
def test_the_plugin_starts_what_is_installed(
    tmp_path: Path, there: tuple[str, ...], started: str | None
) -> None:
    script = (PLUGIN / "server/start.sh").read_text()
    anywhere = ":/opt/homebrew/bin:/usr/local/bin"
    assert anywhere in script
    for name in there:
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@"\n'.replace(' "$@"', "${1:+ $1}"))
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-c", script.replace(anywhere, "")],
        env={"PATH": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if started is None:
        assert (done.returncode, done.stdout) == (1, "")
        assert "Rune is not installed" in done.stderr
    else:
        assert (done.returncode, done.stdout) == (0, started)
