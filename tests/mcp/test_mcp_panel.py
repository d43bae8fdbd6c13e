"""The MCP App panel, as a host reads it: one page that needs nothing from anywhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from mcp import Client

from rune_engine.models import AdapterStanding, JobLine, MemoryStatus, Overview
from rune_mcp.panel import PANEL_FILE, PANEL_URI
from rune_mcp.server import build_server


def no_engine() -> Any:
    raise AssertionError("the panel's page needs no engine")


class Page(HTMLParser):
    """Every element with its attributes, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_tool_names_a_page_that_the_host_can_read(mode: str) -> None:
    async with Client(build_server(no_engine), mode=mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert tools["show_memory"].meta == {"ui": {"resourceUri": PANEL_URI}}
        assert [t.name for t in tools.values() if t.meta and "ui" in t.meta] == ["show_memory"]
        [page] = (await client.read_resource(PANEL_URI)).contents
        assert page.mime_type == "text/html;profile=mcp-app"
        assert page.text == PANEL_FILE.read_text("utf-8")  # type: ignore[union-attr]


async def test_the_server_says_that_it_has_an_app() -> None:
    async with Client(build_server(no_engine)) as client:
        assert "io.modelcontextprotocol/ui" in (client.server_capabilities.extensions or {})


def test_the_page_fetches_nothing_and_makes_no_html_of_what_it_shows() -> None:
    text = PANEL_FILE.read_text("utf-8")
    page = Page(text)
    assert not [e for e in page.elements if {"src", "href", "style", "onclick"} & e[1].keys()]
    assert {tag for tag, _ in page.elements}.isdisjoint({"link", "img", "iframe", "base", "object"})
    for word in ("://", "innerHTML", "outerHTML", "insertAdjacent", "eval(", "fetch(", "@import"):
        assert word not in text, word
    assert len(text) < 20_000


def test_the_page_can_be_read_aloud_and_used_by_keyboard() -> None:
    page = Page(PANEL_FILE.read_text("utf-8"))
    by_tag: dict[str, list[dict[str, str | None]]] = {}
    for tag, attributes in page.elements:
        by_tag.setdefault(tag, []).append(attributes)
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    labels = {a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a}
    assert by_tag["html"] == [{"lang": "en"}]
    assert len(by_tag["main"]) == len(by_tag["h1"]) == len(by_tag["title"]) == 1
    assert len(by_tag["table"]) == len(by_tag["caption"])
    assert all(heading.get("scope") == "col" for heading in by_tag["th"])
    assert labels <= ids
    assert all(a.get("tabindex") == "0" for _, a in page.elements if a.get("role") == "region")
    assert [a.get("aria-live") for _, a in page.elements if a.get("role") == "status"] == ["polite"]
    assert "color-scheme: light dark" in _text() and ":focus-visible" in _text()


def test_the_page_asks_for_fields_that_the_answer_has() -> None:
    fields = {
        "memory": Overview,
        "status": MemoryStatus,
        "adapter": AdapterStanding,
        "job": JobLine,
    }
    used = re.findall(r"\b(memory|status|adapter|job)\.([a-z_]+)", _text())
    assert len(used) > 15
    for owner, field in used:
        assert field in fields[owner].model_fields, (owner, field)


def _text() -> str:
    return PANEL_FILE.read_text("utf-8")
