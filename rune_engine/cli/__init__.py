"""The `rune` command: each subcommand is one operation of the engine's client."""
