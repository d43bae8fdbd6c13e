"""Puts Rune into an editor's own configuration, and takes it out again.

`hosts` knows where each editor keeps what and which entries Rune needs there; `entries` makes the
entries, `edits` puts them into a text and takes them out; `jsonc` and `toml_text` change a text and
leave the rest of it as it was; `change` shows, writes and undoes. Knows nothing of the engine.
"""
