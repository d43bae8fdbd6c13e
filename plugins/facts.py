"""What the plugins, bundles and links say of Rune, each thing known in one place.

The package's own metadata, the server's own tools and the hooks that `rune setup` writes, too.
"""

from __future__ import annotations

import base64
import inspect
import json
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mcp.types import ToolAnnotations

from rune_engine.setup.entries import HOOK_EVENTS, HOOK_SECONDS, SERVER
from rune_mcp import prompts, resources
from rune_mcp.tools import TOOLS, Tools

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Tool:
    """A tool of the server: its name, what its first sentence says, and what it may do."""

    name: str
    description: str
    effect: str = ""


@dataclass(frozen=True)
class Offer:
    """A resource or a prompt of the server: how it is asked for, and what it is."""

    name: str
    description: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """Everything that a template may ask for; what comes from elsewhere is looked up there."""

    owner: str = "rune-developers"
    """Who publishes: the account that the addresses below belong to."""
    authors: str = "The Rune developers"
    name: str = SERVER
    title: str = "Rune"
    summary: str = "Memory in weights: coding sessions become LoRA adapters of a local model."
    """At most 100 characters, as the registry of MCP servers has room for."""
    hook_events: tuple[str, ...] = HOOK_EVENTS
    hook_seconds: int = HOOK_SECONDS

    @cached_property
    def project(self) -> dict[str, Any]:
        """The package's metadata."""
        with (ROOT / "pyproject.toml").open("rb") as file:
            found: dict[str, Any] = tomllib.load(file)["project"]
        return found

    @property
    def package(self) -> str:
        return str(self.project["name"])

    @property
    def version(self) -> str:
        return str(self.project["version"])

    @property
    def repository(self) -> str:
        return f"https://github.com/{self.owner}/{self.name}"

    @property
    def registry_name(self) -> str:
        """The server's name in the registry; the package's README has to repeat it."""
        return f"io.github.{self.owner}/{self.name}"

    @property
    def uvx(self) -> dict[str, Any]:
        """Starts the server wherever uv is, and installs it the first time."""
        return {"command": "uvx", "args": [f"{self.package}@{self.version}"]}

    @cached_property
    def tools(self) -> tuple[Tool, ...]:
        return tuple(
            Tool(name, _first_sentence(name), _effect(hints)) for name, (_, hints) in TOOLS.items()
        )

    @cached_property
    def resources(self) -> tuple[Offer, ...]:
        """The lists, and where there is one the address of one entry, after it."""
        lists = [Offer(each.uri, each.description or "") for each in resources.resources()]
        ones = [Offer(t.uri_template, t.description or "") for t in resources.templates()]
        return tuple(sorted([*lists, *ones], key=lambda offer: offer.name))

    @cached_property
    def prompts(self) -> tuple[Offer, ...]:
        return tuple(
            Offer(each.name, each.description or "", tuple(a.name for a in each.arguments or []))
            for each in prompts.prompts()
        )

    def tool(self, name: str) -> str:
        """The name of a tool, which has to exist.

        Raises:
            LookupError: the server has no such tool.
        """
        if name not in TOOLS:
            raise LookupError(f"The server has no tool {name!r}.")
        return name

    def plugin_tool(self, name: str) -> str:
        """What Claude Code calls a tool of the plugin's server."""
        return f"mcp__plugin_{self.name}_{SERVER}__{self.tool(name)}"

    @property
    def vscode_link(self) -> str:
        """Opens VS Code and offers the server; by way of a web address, which GitHub lets pass."""
        entry = {"name": self.name, "type": "stdio", **self.uvx}
        return "https://vscode.dev/redirect?url=" + quote(
            "vscode:mcp/install?" + quote(_compact(entry), safe=""), safe=""
        )

    @property
    def cursor_link(self) -> str:
        """Opens Cursor and offers the server."""
        config = base64.b64encode(_compact(self.uvx).encode()).decode()
        return (
            "cursor://anysphere.cursor-deeplink/mcp/install"
            f"?name={self.name}&config={quote(config, safe='')}"
        )


def _effect(hints: ToolAnnotations) -> str:
    if hints.read_only_hint:
        return "reads"
    return "ends or erases" if hints.destructive_hint else "adds or changes"


def _first_sentence(tool: str) -> str:
    text = " ".join(inspect.getdoc(getattr(Tools, tool)).split())  # type: ignore[union-attr]
    return text.split(". ")[0].rstrip(".") + "."


def _compact(data: dict[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"))
