#!/bin/sh
# Starts the installed server; without one, uv's, which is installed the first time.
PATH="$PATH:$HOME/.local/bin:/opt/homebrew/bin:/usr/local/bin"
command -v rune-mcp >/dev/null 2>&1 && exec rune-mcp
command -v uvx >/dev/null 2>&1 && exec uvx rune-mcp@0.1.0
echo "Rune is not installed: run 'pip install rune-mcp', or install uv." >&2
exit 1
