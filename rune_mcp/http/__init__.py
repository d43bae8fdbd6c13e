"""Streamable HTTP: the same server on a loopback port, for clients that cannot start a process.

Loaded only when it is asked for; over stdio nothing of it is.
"""
