"""The engine process: a FastAPI application behind a Unix socket, one per Rune home.

`process` is the process itself, `engine` what it is made of, `app` and `routes` its REST face.
"""
