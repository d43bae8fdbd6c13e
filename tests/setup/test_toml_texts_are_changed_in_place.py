"""A TOML text gets or loses one table, and its comments and order stay."""

from __future__ import annotations

import pytest

from rune_engine.setup import toml_text

PATH = ("mcp_servers", "rune")
ENTRY = {"command": "/opt/rune-mcp", "args": [], "env": {"RUNE_HOME": "/r"}}
MINE = """\
# my Codex
model = "o9"   # the good one

[mcp_servers.docs]
command = "npx"
args = [
  "-y", # yes
]
"""


def test_a_table_is_added_at_the_end() -> None:
    assert toml_text.put(MINE, PATH, ENTRY) == MINE + (
        '\n[mcp_servers.rune]\ncommand = "/opt/rune-mcp"\nargs = []\n\n'
        '[mcp_servers.rune.env]\nRUNE_HOME = "/r"\n'
    )
    assert toml_text.put("", PATH, {"command": "x"}) == '[mcp_servers.rune]\ncommand = "x"\n'


@pytest.mark.parametrize("text", [MINE, "", "a = 1", 'a = 1\r\n\r\n[b]\r\nc = "d"\r\n'])
def test_removing_undoes_adding_but_for_a_last_line_end(text: str) -> None:
    added = toml_text.put(text, PATH, ENTRY)
    assert toml_text.read(added)["mcp_servers"]["rune"] == ENTRY
    assert toml_text.drop(added, PATH).rstrip("\r\n") == text.rstrip("\r\n")


def test_what_was_written_behind_it_stays_with_its_comment() -> None:
    added = toml_text.put(MINE, PATH, ENTRY) + "\n# for work\n[profiles.work]\nmodel = 'x'\n"
    left = toml_text.drop(added, PATH)
    assert left == MINE + "\n# for work\n[profiles.work]\nmodel = 'x'\n"


def test_a_table_that_is_there_keeps_its_other_keys_and_comments() -> None:
    text = '[mcp_servers."rune"]\ncommand = "/old/rune-mcp" # here\nenabled = false\n'
    assert toml_text.put(text, PATH, {"command": "/new/rune-mcp"}) == text.replace("old", "new")
    assert toml_text.drop(text, PATH) == ""


def test_inline_tables_are_added_to_and_taken_from() -> None:
    text = 'mcp_servers = { docs = { command = "npx" } } # all\n'
    added = toml_text.put(text, PATH, {"command": "x"})
    assert toml_text.read(added)["mcp_servers"] == {
        "docs": {"command": "npx"},
        "rune": {"command": "x"},
    }
    assert "# all" in added
    assert toml_text.read(toml_text.drop(added, PATH)) == toml_text.read(text)


@pytest.mark.parametrize("text", ["a = ", "[a", "a = 1\na = 2", "mcp_servers = 3"])
def test_what_cannot_be_changed_is_refused(text: str) -> None:
    with pytest.raises(toml_text.TomlError):
        toml_text.put(text, PATH, ENTRY)
