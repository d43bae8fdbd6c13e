"""The extension's entry: Rune's MCP server on stdin and stdout."""

from rune_mcp.server import main

main()
