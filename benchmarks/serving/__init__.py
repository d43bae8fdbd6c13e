"""Serving: how fast answers come, and that none is lost. Each module measures one promise."""
