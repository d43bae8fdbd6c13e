"""The one SQLite file of a Rune home: how it is opened, migrated, read and written.

Durable and shared by several processes: WAL with `synchronous=FULL`, and every write transaction
takes the write lock at its start (a deferred one that reads first fails at once when another
process commits in between, whatever the timeout). Knows no table.
"""

from __future__ import annotations

import fcntl
import os
import random
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlmodel import Session

from rune_engine import migrations
from rune_engine.config import RuneConfig
from rune_engine.errors import (
    DatabaseTooNewError,
    StorageError,
)
from rune_engine.file_systems import require_local
from rune_engine.readers import Connections, OneProcess, Row
from rune_engine.storage_errors import (
    BUSY_MILLISECONDS,
    database_busy,
    home_not_writable,
    storage_errors,
)

__all__ = ["Database", "connect_reader", "driver", "open_database", "utc_now"]

_RETRY_SECONDS = 0.05
_WRITES = {"rune_writes": True}
_STATEMENTS = 256
_LOOK_AGAIN_SECONDS = (0.0005, 0.0015)
_NEVER_WAIT = "PRAGMA busy_timeout = 0"
_WAIT_WHEN_BUSY = f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}"
_PRAGMAS = (
    _WAIT_WHEN_BUSY,
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",  # macOS: a plain fsync does not flush the drive's cache
    "PRAGMA foreign_keys = ON",
    "PRAGMA trusted_schema = OFF",
    f"PRAGMA journal_size_limit = {16 * 1024**2}",
)


class Database:
    """An open database. Safe to share between threads, not across `fork`."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        self._writer = engine.execution_options(**_WRITES)
        self._readers = Connections(lambda: connect_reader(path))
        self._changers = Connections(lambda: _connect(path, _NEVER_WAIT))
        self._process = OneProcess()
        self.home = path.parent

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """All rows of one statement that reads, without the cost of a session."""
        try:
            self._process.check()
            return self._readers.query(sql, parameters)
        except Exception:
            with storage_errors(self.home):  # entered only now: it costs a tenth of a query
                raise

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """One consistent snapshot for several such statements; it cannot write."""
        with storage_errors(self.home):
            self._process.check()
            with self._readers.snapshot() as connection:
                yield connection

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """One consistent snapshot; writing in it is refused by SQLite itself."""
        with storage_errors(self.home):
            self._process.check()
            with Session(self._engine) as session:
                yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """One write transaction, committed durably when the block ends without an error."""
        with storage_errors(self.home):
            self._process.check()
            with Session(self._writer) as session, session.begin():
                yield session

    @contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        """A write transaction as `writing` gives it, on a bare connection: for what is written
        most often, and waited for."""
        try:
            self._process.check()
            with self._changers.lent() as connection:
                _take_write_lock(connection)
                try:
                    yield connection
                    connection.execute("COMMIT")
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
        except Exception:
            with storage_errors(self.home):
                raise

    def compact(self, *, seconds: float = 30.0) -> None:
        """Rewrite the file and empty its log: nothing that was deleted is left in either.

        Raises:
            StorageError: readers kept the log in use for all of `seconds`.
        """
        with storage_errors(self.home), closing(self._engine.raw_connection()) as connection:
            cursor = connection.cursor()
            cursor.execute("PRAGMA query_only = OFF")
            cursor.execute("VACUUM")
        self.fold_log(seconds=seconds)

    def fold_log(self, *, seconds: float = 30.0) -> None:
        """Write what is in the log to the file, and empty the log.

        Raises:
            StorageError: readers kept the log in use for all of `seconds`.
        """
        deadline = time.monotonic() + seconds
        with storage_errors(self.home), closing(self._engine.raw_connection()) as connection:
            cursor = connection.cursor()
            cursor.execute("PRAGMA query_only = OFF")
            while cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                if time.monotonic() >= deadline:
                    raise database_busy(self.home)
                time.sleep(_RETRY_SECONDS)

    def close(self) -> None:
        """Close every connection; the database may not be used after."""
        self._readers.close()
        self._changers.close()
        self._engine.dispose()


def open_database(config: RuneConfig) -> Database:
    """Open the home's database, making the home and migrating the database where needed.

    Raises:
        NetworkFileSystemError: the home is on a network file system.
        HomeNotWritableError: the home cannot be made or written to.
        DatabaseTooNewError: a newer Rune made the database; it is left untouched.
        DiskFullError: there is no space left.
        StorageError: the file is damaged, or is not a database of Rune's.
    """
    with storage_errors(config.home):
        require_local(config.home)
        _make_home(config.home)
        engine = _engine(config.database_path)
        try:
            if _revision(engine, config) != migrations.HEAD:
                _migrate(engine, config)
        except BaseException:
            engine.dispose()
            raise
    return Database(engine, config.database_path)


def driver(session: Session) -> sqlite3.Connection:
    """The connection of a session's transaction, for statements that need no object of the ORM."""
    connection = session.connection().connection.driver_connection
    assert isinstance(connection, sqlite3.Connection)
    return connection


def utc_now() -> str:
    """Now, as ISO 8601 UTC with microseconds; sorts as text."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _make_home(home: Path) -> None:
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise home_not_writable(home, "it is not a folder") from error
    if not os.access(home, os.W_OK | os.X_OK):
        raise home_not_writable(home, "it is read-only")


def _engine(path: Path) -> Engine:
    engine = create_engine(URL.create("sqlite", database=str(path)))
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def connect_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, to an existing database as it is; for one thread at a time.

    Raises sqlite3.Error.
    """
    return _connect(path, "PRAGMA query_only = ON")


def _connect(path: Path, last: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=rw",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=_STATEMENTS,
    )
    for pragma in (*_PRAGMAS, last):
        connection.execute(pragma)
    return connection


def _configure(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # transactions are begun by `_begin` alone
    for pragma in _PRAGMAS:
        connection.execute(pragma)


def _begin(connection: Connection) -> None:
    # On the driver's connection: SQLAlchemy makes much of every statement, and here are four.
    driven = connection.connection.driver_connection
    assert isinstance(driven, sqlite3.Connection)
    writes = bool(connection.get_execution_options().get("rune_writes"))
    driven.execute(f"PRAGMA query_only = {'OFF' if writes else 'ON'}")
    if writes:
        _begin_writing(driven)
    else:
        driven.execute("BEGIN")


def _begin_writing(connection: sqlite3.Connection) -> None:
    """Take the write lock, looking often: every waiter has the same chance at every release.

    SQLite's own waiting sleeps longer the longer it has waited, so newcomers always win: of eight
    processes that write without a pause the slowest got a tenth of its share.
    """
    connection.execute(_NEVER_WAIT)
    try:
        _take_write_lock(connection)
    finally:
        connection.execute(_WAIT_WHEN_BUSY)


def _take_write_lock(connection: sqlite3.Connection) -> None:
    """`_begin_writing` on a connection that never waits by itself."""
    deadline = time.monotonic() + BUSY_MILLISECONDS / 1000
    while not _try_immediate(connection, last=time.monotonic() >= deadline):
        time.sleep(random.uniform(*_LOOK_AGAIN_SECONDS))


def _try_immediate(connection: sqlite3.Connection, *, last: bool) -> bool:
    """Whether the write lock is ours now; raises what SQLite says on the last try."""
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if last or not error.sqlite_errorname.startswith("SQLITE_BUSY"):
            raise
        return False
    return True


def _revision(engine: Engine, config: RuneConfig) -> str | None:
    """The database's revision; None when it is new. Changes nothing."""
    if not config.database_path.exists():
        return None
    with engine.connect() as connection:
        return _read_revision(connection, config.home)


def _read_revision(connection: Connection, home: Path) -> str | None:
    tables = set(connection.exec_driver_sql("SELECT name FROM sqlite_master").scalars())
    if not tables:
        return None
    if "alembic_version" not in tables:
        raise StorageError(
            f"rune.db in {home} is a database of another program.",
            next_step="Move it out of the way, or point RUNE_HOME elsewhere.",
        )
    row: Any = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return None if row is None else str(row)


def _migrate(engine: Engine, config: RuneConfig) -> None:
    """Bring the database to head; one process at a time, in one transaction."""
    with _alone(config.home / "migrate.lock"):
        revision = _revision(engine, config)
        if revision is not None and not migrations.is_known(revision):
            raise DatabaseTooNewError(
                f"The database in {config.home} was made by a newer Rune (revision {revision}).",
                next_step="Update Rune, or point RUNE_HOME at another folder.",
            )
        _create_private(config.database_path)
        _use_wal(engine)
        with engine.execution_options(**_WRITES).begin() as connection:
            migrations.upgrade(connection)


def _use_wal(engine: Engine) -> None:
    """Recorded in the file once; on the driver's connection, as it must be in no transaction."""
    with closing(engine.raw_connection()) as connection:
        cursor = connection.cursor()
        cursor.execute("PRAGMA query_only = OFF")
        cursor.execute("PRAGMA journal_mode = WAL")


def _create_private(path: Path) -> None:
    """Make the file ourselves, so that it, its WAL and its index are ours alone (0600)."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
