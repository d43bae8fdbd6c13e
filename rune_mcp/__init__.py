"""The MCP server: thin, without a model and without a database.

It attaches to the engine, or starts it, at the first tool call that needs it.
"""
