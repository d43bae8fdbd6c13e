"""`rune setup` on real files in a home of its own: what it writes, refuses, and undoes."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from rune_engine.cli.main import app
from rune_engine.errors import ConflictError, InvalidInputError, NotFoundError
from rune_engine.setup import entries, hosts
from rune_engine.setup.change import adding
from rune_engine.setup.edits import JsonServer

FILES = {
    "claude-code": [".claude.json", ".claude/settings.json"],
    "claude-desktop": [".config/Claude/claude_desktop_config.json"],
    "vscode": [".config/Code/User/mcp.json"],
    "cursor": [".cursor/mcp.json"],
    "codex": [".codex/config.toml"],
}
MINE = {
    ".claude.json": '{"numStartups": 7, "mcpServers": {"other": {"command": "x"}}, "é": "\\u00e9"}',
    ".claude/settings.json": (
        '{\n  "model": "opus",\n  "hooks": {\n    "Stop": [\n'
        '      { "hooks": [ { "type": "command", "command": "mine" } ] }\n    ]\n  }\n}\n'
    ),
    ".config/Claude/claude_desktop_config.json": '{\r\n\t"globalShortcut": ""\r\n}\r\n',
    ".config/Code/User/mcp.json": (
        '{\n\t// mine\n\t"servers": {\n\t\t"a": { "command": "a" }, // a\n\t},\n\t"inputs": []\n}\n'
    ),
    ".cursor/mcp.json": '\ufeff{\n  "mcpServers": {}\n}',
    ".codex/config.toml": '# mine\nmodel = "m"\n\n[mcp_servers.docs]\ncommand = "npx"\n',
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home on Linux, with `rune-mcp` beside this Python and no editor on the PATH."""
    home = tmp_path / "home of mine"
    home.mkdir()
    scripts = tmp_path / "bin"
    scripts.mkdir()
    (scripts / "rune-mcp").touch(mode=0o755)
    for name in ("CLAUDE_CONFIG_DIR", "CODEX_HOME", "XDG_CONFIG_HOME", "RUNE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", str(scripts))
    monkeypatch.setattr(hosts, "sys", SimpleNamespace(platform="linux"))
    monkeypatch.setattr(sys, "executable", str(scripts / "python3"))
    return home


def setup(*arguments: str, answer: str = "", code: int = 0) -> str:
    """What `rune setup` prints."""
    result = CliRunner().invoke(app, ["setup", *arguments], input=answer)
    if isinstance(result.exception, Exception) and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def write_mine(home: Path, *names: str) -> dict[str, bytes]:
    """Files as their owner left them."""
    for name in names:
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(MINE[name].encode())
        path.chmod(0o640)
    return contents(home)


def contents(home: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("host", FILES)
def test_what_it_wrote_is_undone_to_the_byte(home: Path, host: str) -> None:
    before = write_mine(home, *FILES[host])
    setup(host, "--yes")
    changed = contents(home)
    for name in FILES[host]:
        assert changed[name] != before[name]
        assert changed[f"{name}.before-rune"] == before[name]
        assert (home / name).stat().st_mode & 0o777 == 0o640
    setup(host, "--remove", "--yes")
    assert contents(home) == before


@pytest.mark.parametrize("host", FILES)
def test_files_that_were_not_there_are_made_and_removed(home: Path, host: str) -> None:
    setup(host, "--yes")
    assert sorted(contents(home)) == sorted(FILES[host])
    setup(host, "--remove", "--yes")
    assert contents(home) == {}


@pytest.mark.parametrize("host", FILES)
def test_doing_it_twice_changes_nothing(home: Path, host: str) -> None:
    write_mine(home, *FILES[host])
    setup(host, "--yes")
    once = contents(home)
    assert "in it already" in setup(host, "--yes")
    assert contents(home) == once


@pytest.mark.parametrize("host", FILES)
def test_a_dry_run_shows_the_change_and_makes_none(home: Path, host: str) -> None:
    before = write_mine(home, *FILES[host])
    shown = setup(host, "--dry-run").replace("\n", "")
    assert all(str(home / name) in shown for name in FILES[host])
    assert "rune-mcp" in shown
    assert contents(home) == before


def test_it_asks_first_and_takes_no_for_an_answer(home: Path) -> None:
    before = write_mine(home, *FILES["cursor"])
    assert "Nothing was changed" in setup("cursor", answer="n\n")
    assert contents(home) == before
    setup("cursor", answer="y\n")
    assert contents(home) != before


def test_the_server_is_named_by_its_absolute_path(home: Path, tmp_path: Path) -> None:
    write_mine(home, *MINE)
    setup("--yes")
    command = str(tmp_path / "bin" / "rune-mcp")
    found = {
        name: (home / name).read_text("utf-8-sig") for names in FILES.values() for name in names
    }
    claude = json.loads(found[".claude.json"])
    assert claude["mcpServers"]["rune"] == {"type": "stdio", "command": command, "args": []}
    assert claude["mcpServers"]["other"] == {"command": "x"}
    desktop = json.loads(found[".config/Claude/claude_desktop_config.json"])
    assert desktop["mcpServers"]["rune"] == {"command": command, "args": []}
    assert json.loads(found[".cursor/mcp.json"])["mcpServers"]["rune"]["command"] == command
    codex = tomllib.loads(found[".codex/config.toml"])["mcp_servers"]
    assert codex == {"docs": {"command": "npx"}, "rune": {"command": command, "args": []}}
    assert '"a": { "command": "a" }, // a\n\t\t"rune": {\n' in found[".config/Code/User/mcp.json"]


def test_claude_code_gets_a_hook_for_every_event_beside_others(home: Path) -> None:
    write_mine(home, *FILES["claude-code"])
    setup("claude-code", "--yes")
    hooks = json.loads((home / ".claude/settings.json").read_text())["hooks"]
    assert list(hooks) == ["Stop", *[name for name in entries.HOOK_EVENTS if name != "Stop"]]
    assert hooks["Stop"][0] == {"hooks": [{"type": "command", "command": "mine"}]}
    for event in entries.HOOK_EVENTS:
        (hook,) = hooks[event][-1]["hooks"]
        assert entries.is_our_hook(hook)
        assert hook["command"].endswith(f" {event}")
        assert hook["timeout"] == entries.HOOK_SECONDS  # Claude Code counts in seconds


def test_a_home_that_was_chosen_goes_along(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNE_HOME", str(home / "my memory"))
    setup("claude-code", "--yes")
    server = json.loads((home / ".claude.json").read_text())["mcpServers"]["rune"]
    assert server["env"] == {"RUNE_HOME": str(home / "my memory")}
    hooks = json.loads((home / ".claude/settings.json").read_text())["hooks"]
    assert hooks["Stop"][0]["hooks"][0]["command"].startswith(f"RUNE_HOME='{home / 'my memory'}' ")


def test_what_others_added_since_stays_when_it_is_removed(home: Path) -> None:
    before = write_mine(home, ".claude/settings.json")
    setup("claude-code", "--yes")
    path = home / ".claude/settings.json"
    settings = json.loads(path.read_text())
    settings["hooks"]["SessionEnd"].append({"hooks": [{"type": "command", "command": "new"}]})
    settings["hooks"]["Stop"][1]["hooks"].append({"type": "command", "command": "same group"})
    path.write_text(json.dumps(settings, indent=2))
    setup("claude-code", "--remove", "--yes")
    left = json.loads(path.read_text())
    assert left["model"] == "opus"
    assert left["hooks"] == {
        "Stop": [
            {"hooks": [{"type": "command", "command": "mine"}]},
            {"hooks": [{"type": "command", "command": "same group"}]},
        ],
        "SessionEnd": [{"hooks": [{"type": "command", "command": "new"}]}],
    }
    assert contents(home)[".claude/settings.json.before-rune"] == before[".claude/settings.json"]


def test_an_older_installation_s_path_is_renewed_and_its_other_keys_kept(
    home: Path, tmp_path: Path
) -> None:
    path = home / ".cursor/mcp.json"
    path.parent.mkdir()
    old = '{"mcpServers": {"rune": {"command": "/old/bin/rune-mcp", "disabled": true}}}'
    path.write_text(old)
    setup("cursor", "--yes")
    assert json.loads(path.read_text())["mcpServers"]["rune"] == {
        "command": str(tmp_path / "bin/rune-mcp"),
        "disabled": True,
        "args": [],
    }
    setup("cursor", "--remove", "--yes")
    assert json.loads(path.read_text()) == {"mcpServers": {}}


@pytest.mark.parametrize(
    ("host", "name", "text"),
    [
        ("claude-code", ".claude.json", "{ // Claude Code itself reads no comments\n}"),
        ("claude-code", ".claude/settings.json", '{"hooks": {"Stop": "mine"}}'),
        ("claude-desktop", FILES["claude-desktop"][0], '{"mcpServers": {},}'),
        ("vscode", FILES["vscode"][0], '{"servers": [1]}'),
        ("cursor", ".cursor/mcp.json", '{"mcpServers": {"a": }'),
        ("codex", ".codex/config.toml", "model = "),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_and_left(
    home: Path, host: str, name: str, text: str
) -> None:
    path = home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    with pytest.raises(InvalidInputError, match="was left so"):
        setup(host, "--yes")
    assert contents(home) == {name: text.encode()}


def test_bytes_that_are_no_text_are_refused(home: Path) -> None:
    (home / ".cursor").mkdir()
    (home / ".cursor/mcp.json").write_bytes(b"\xff\xfe{\0}\0")
    with pytest.raises(InvalidInputError, match="was left so"):
        setup("cursor", "--yes")


def test_somebody_else_s_entry_of_the_same_name_is_left(home: Path) -> None:
    path = home / ".cursor/mcp.json"
    path.parent.mkdir()
    text = '{"mcpServers": {"rune": {"command": "/games/rune"}}}'
    path.write_text(text)
    with pytest.raises(ConflictError, match="starts something else"):
        setup("cursor", "--yes")
    assert "Rune is not in it" in setup("cursor", "--remove", "--yes")
    assert path.read_text() == text


def test_an_enabled_plugin_is_not_doubled(home: Path) -> None:
    (home / ".claude").mkdir()
    (home / ".claude/settings.json").write_text('{"enabledPlugins": {"rune@rune": true}}')
    with pytest.raises(ConflictError, match="plugin is enabled"):
        setup("claude-code", "--yes")
    assert not (home / ".claude.json").exists()


def test_a_file_that_changed_after_it_was_shown_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text("{}")
    change = adding(path, JsonServer("servers", {"command": "/rune-mcp"}, plain=False))
    path.write_text('{"servers": {"new": {}}}')
    with pytest.raises(ConflictError, match="changed by somebody else"):
        change.apply()
    assert path.read_text() == '{"servers": {"new": {}}}'


def test_a_link_stays_a_link(home: Path) -> None:
    kept = home / "dotfiles.json"
    kept.write_text("{}\n")
    (home / ".cursor").mkdir()
    (home / ".cursor/mcp.json").symlink_to(kept)
    setup("cursor", "--yes")
    assert (home / ".cursor/mcp.json").is_symlink()
    assert "rune-mcp" in kept.read_text()
    setup("cursor", "--remove", "--yes")
    assert kept.read_text() == "{}\n"


def test_alone_it_offers_what_is_installed_and_nothing_else(home: Path) -> None:
    (home / ".cursor").mkdir()
    (home / ".codex").mkdir()
    shown = setup(answer="y\nn\n")
    assert "Cursor" in shown
    assert sorted(contents(home)) == [".cursor/mcp.json"]
    setup("--yes")
    assert sorted(contents(home)) == [".codex/config.toml", ".cursor/mcp.json"]
    setup("--remove", "--yes")
    assert contents(home) == {}


def test_one_editor_s_broken_file_stops_no_other(home: Path) -> None:
    (home / ".cursor").mkdir()
    (home / ".codex").mkdir()
    (home / ".cursor/mcp.json").write_text("{")
    setup("--yes", code=1)
    assert "[mcp_servers.rune]" in (home / ".codex/config.toml").read_text()
    assert (home / ".cursor/mcp.json").read_text() == "{"


def test_nothing_installed_is_said(home: Path) -> None:
    assert "No editor" in setup()


def test_an_unknown_editor_is_refused_with_those_known(home: Path) -> None:
    with pytest.raises(InvalidInputError, match="claude-code, claude-desktop, vscode"):
        setup("emacs")


def test_a_place_that_may_be_emptied_is_not_written_down(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "uv/archive-v0/x/bin"
    cache.mkdir(parents=True)
    (cache / "rune-mcp").touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(cache / "python3"))
    with pytest.raises(NotFoundError, match="uv tool install"):
        setup("cursor", "--yes")


def test_on_macos_the_files_are_in_the_library(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "sys", SimpleNamespace(platform="darwin"))
    support = home / "Library/Application Support"
    setup("claude-desktop", "--yes")
    setup("vscode", "--yes")
    assert (support / "Claude/claude_desktop_config.json").exists()
    assert (support / "Code/User/mcp.json").exists()


def test_configured_folders_are_followed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(home / "claude"))
    monkeypatch.setenv("CODEX_HOME", str(home / "codex"))
    setup("claude-code", "--yes")
    setup("codex", "--yes")
    assert sorted(contents(home)) == [
        "claude/.claude.json",
        "claude/settings.json",
        "codex/config.toml",
    ]


def test_within_wsl_a_windows_program_is_named_with_what_to_put_there(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(hosts.platform, "release", lambda: "6.6.87.2-microsoft-standard-WSL2")
    monkeypatch.setenv("WSL_DISTRO_NAME", "Debian")
    with pytest.raises(NotFoundError) as refused:
        setup("claude-desktop", "--yes")
    said = refused.value.next_step
    entry = json.loads(said[said.index("{") :])["mcpServers"]["rune"]
    server = str(tmp_path / "bin/rune-mcp")
    assert entry == {"command": "wsl.exe", "args": ["-d", "Debian", "--", server]}
    setup("claude-code", "--yes")
    assert (home / ".claude.json").exists()
