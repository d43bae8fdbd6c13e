"""The MCP App panel: one HTML file, read when a host asks for it.

Knows the address and where the file lies; what it shows is `show_memory`'s answer.
"""

from __future__ import annotations

from pathlib import Path

PANEL_URI = "ui://rune/memory.html"
PANEL_FILE = Path(__file__).with_name("memory.html")
