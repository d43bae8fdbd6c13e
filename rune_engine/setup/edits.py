"""What setup does to each kind of file: text in, text out, and back.

`with_ours` adds or renews Rune's entries, `without_ours` takes out those and no others; an empty
container that was not there before goes with them. Knows nothing of where the files are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from rune_engine.errors import ConflictError
from rune_engine.setup import jsonc, toml_text
from rune_engine.setup.entries import SERVER, is_our_hook, is_our_server
from rune_engine.setup.json_tree import JsoncError

_EMPTY = "{}\n"


class Edit(Protocol):
    """A change to one kind of file."""

    def with_ours(self, text: str) -> str:
        """The text with Rune's entries, which may be there already; an empty text is a new file.

        Raises:
            ValueError: the text cannot be read, or its shape has no place for them.
            ConflictError: an entry of Rune's name is somebody else's.
        """

    def without_ours(self, text: str, before: str) -> str:
        """The text without Rune's entries; `before` is what the file was without them.

        Raises:
            ValueError: the text cannot be read.
        """


@dataclass(frozen=True)
class JsonServer:
    """The server in a JSON file, under `key`; `plain` where the host reads no comments."""

    key: str
    entry: Mapping[str, Any]
    plain: bool

    def with_ours(self, text: str) -> str:
        text = text if text.strip() else _EMPTY
        if self.plain:
            jsonc.require_plain(text)
        servers = _at(jsonc.read(text), self.key)
        old = servers.get(SERVER) if isinstance(servers, dict) else None
        return _renewed(text, (self.key, SERVER), old, self.entry)

    def without_ours(self, text: str, before: str) -> str:
        if not is_our_server(_at(jsonc.read(text), self.key, SERVER)):
            return text
        return _pruned(jsonc.drop(text, (self.key, SERVER)), before, (self.key,))


@dataclass(frozen=True)
class ClaudeHooks:
    """Hooks in Claude Code's settings: a shell command for each event."""

    commands: Mapping[str, str]
    seconds: int

    def with_ours(self, text: str) -> str:
        text = text if text.strip() else _EMPTY
        jsonc.require_plain(text)
        _refuse_plugin(_at(jsonc.read(text), "enabledPlugins"))
        for event, command in self.commands.items():
            text = self._with_hook(text, event, command)
        return text

    def without_ours(self, text: str, before: str) -> str:
        for event in self.commands:
            for group, index in reversed(_our_hooks(text, event)):
                text = jsonc.drop(text, ("hooks", event, group, "hooks", index))
                if not _at(jsonc.read(text), "hooks", event, group, "hooks"):
                    text = jsonc.drop(text, ("hooks", event, group))
            text = _pruned(text, before, ("hooks", event))
        return _pruned(text, before, ("hooks",))

    def _with_hook(self, text: str, event: str, command: str) -> str:
        found = _our_hooks(text, event)
        for group, index in found:
            path = ("hooks", event, group, "hooks", index, "command")
            if _at(jsonc.read(text), *path) != command:
                text = jsonc.put(text, path, command)
        if found:
            return text
        groups = _at(jsonc.read(text), "hooks", event)
        hook = {"type": "command", "command": command, "timeout": self.seconds}
        end = len(groups) if isinstance(groups, list) else 0
        return jsonc.put(text, ("hooks", event, end), {"hooks": [hook]})


@dataclass(frozen=True)
class CodexServer:
    """The server in Codex' `config.toml`."""

    entry: Mapping[str, Any]

    def with_ours(self, text: str) -> str:
        old = _at(toml_text.read(text), *_CODEX)
        _refuse_foreign(old)
        return toml_text.put(text, _CODEX, dict(self.entry))

    def without_ours(self, text: str, before: str) -> str:
        ours = is_our_server(_at(toml_text.read(text), *_CODEX))
        return toml_text.drop(text, _CODEX) if ours else text


_CODEX = ("mcp_servers", SERVER)


def _renewed(text: str, path: tuple[str, str], old: Any, entry: Mapping[str, Any]) -> str:
    """The entry put at `path`; of one that is there only what differs is touched."""
    _refuse_foreign(old)
    if old is None:
        return jsonc.put(text, path, dict(entry))
    for key, value in entry.items():
        if old.get(key) != value:
            text = jsonc.put(text, (*path, key), value)
    return text


def _refuse_foreign(old: Any) -> None:
    if old is not None and not is_our_server(old):
        raise ConflictError(
            f"A server called {SERVER!r} is there that starts something else: {old!r}.",
            next_step="Rename or remove that entry, then run `rune setup` again.",
        )


def _refuse_plugin(plugins: Any) -> None:
    names = [name for name, on in plugins.items() if on] if isinstance(plugins, dict) else []
    if any(str(name).split("@")[0] == SERVER for name in names):
        raise ConflictError(
            "Rune's plugin is enabled in Claude Code, and does the same.",
            next_step=f"Keep it, or uninstall it first: `claude plugin uninstall {SERVER}`.",
        )


def _our_hooks(text: str, event: str) -> list[tuple[int, int]]:
    """Which group and which hook in it are Rune's."""
    groups = _at(jsonc.read(text), "hooks", event)
    return [
        (at, index)
        for at, group in enumerate(groups if isinstance(groups, list) else ())
        for index, hook in enumerate(_listed(group))
        if is_our_hook(hook)
    ]


def _listed(group: Any) -> list[Any]:
    hooks = group.get("hooks") if isinstance(group, dict) else None
    return hooks if isinstance(hooks, list) else []


def _pruned(text: str, before: str, path: tuple[str, ...]) -> str:
    """Without the container at `path` if it is empty and was not there before."""
    try:
        old = _at(jsonc.read(before), *path) if before.strip() else None
    except JsoncError:
        old = None
    return text if _at(jsonc.read(text), *path) or old is not None else jsonc.drop(text, path)


def _at(data: Any, *path: str | int) -> Any:
    """What is at `path`; None if something on the way is not there."""
    for step in path:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return None
    return data
