"""Bare connections, kept open between uses, with their statements prepared.

For queries that are asked often: what a session of the ORM adds to one is several times the query
itself. Every query sees one snapshot; `snapshot` gives one to several. Knows no table.
"""

from __future__ import annotations

import os
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

Row = tuple[Any, ...]
_KEPT = 8
"""Connections kept open while nobody uses them."""


class Connections:
    """A pool of connections; the last one used is the next one used.

    Args:
        connect: opens one, for use on any one thread at a time.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._idle: deque[sqlite3.Connection] = deque()
        self._closed = False

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """All rows of one statement. Raises sqlite3.Error."""
        connection = self._take()  # as `lent` does, which costs a tenth of a query
        try:
            return connection.execute(sql, parameters).fetchall()
        finally:
            self._give(connection)

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """A connection on which every statement sees the same state. Raises sqlite3.Error."""
        with self.lent() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")

    @contextmanager
    def lent(self) -> Iterator[sqlite3.Connection]:
        """A connection for the time of the block, in no transaction before and after it."""
        connection = self._take()
        try:
            yield connection
        finally:
            self._give(connection)

    def close(self) -> None:
        """Close every connection; one that is in use is closed by who uses it."""
        self._closed = True
        while self._idle:
            self._idle.popleft().close()

    def _take(self) -> sqlite3.Connection:
        if self._closed:
            raise sqlite3.ProgrammingError("it has been closed")
        try:
            return self._idle.pop()
        except IndexError:
            return self._connect()

    def _give(self, connection: sqlite3.Connection) -> None:
        if self._closed or len(self._idle) >= _KEPT:
            connection.close()
        else:
            self._idle.append(connection)


class OneProcess:
    """Notices a `fork`: SQLite's connections must never be used on both sides of one."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    def check(self) -> None:
        """Raises sqlite3.ProgrammingError in a child."""
        if os.getpid() != self._pid:
            raise sqlite3.ProgrammingError("it was opened by the process that this one forked from")
