"""What SQLite does for the statements of a piece of code: their query plans."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import event

from rune_engine.database import Database


@contextmanager
def statements_of(database: Database) -> Iterator[list[str]]:
    """Collects every statement that is run meanwhile, with its parameters filled in."""
    seen: list[str] = []
    connections: list[sqlite3.Connection] = []

    def listen(connection: sqlite3.Connection) -> None:
        connection.set_trace_callback(seen.append)
        connections.append(connection)

    with database.snapshot() as reader:  # the last one used is the next one used
        listen(reader)

    def checked_out(connection: sqlite3.Connection, *_: object) -> None:
        listen(connection)

    event.listen(database._engine, "checkout", checked_out)
    try:
        yield seen
    finally:
        event.remove(database._engine, "checkout", checked_out)
        for connection in connections:
            connection.set_trace_callback(None)


def plans(database: Database, statements: list[str]) -> dict[str, list[str]]:
    """The plan of every statement that reads or changes a table; triggers' are not among them."""
    verbs = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")
    with database.snapshot() as connection:
        return {
            statement: [
                row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
            ]
            for statement in statements
            if statement.lstrip().upper().startswith(verbs)
        }


def slow_steps(found: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Steps whose cost grows with a table: reading all of it, or sorting what was found."""
    return [
        (step, statement)
        for statement, steps in found.items()
        for step in steps
        if "TEMP B-TREE" in step
        or (step.startswith("SCAN") and not step.startswith(("SCAN json_each", "SCAN CONSTANT")))
    ]
