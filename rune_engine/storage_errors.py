"""What SQLite and the file system raise, as Rune's storage errors: which home, and what to do.

Knows no table and opens nothing.
"""

from __future__ import annotations

import errno
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from rune_engine.errors import (
    DatabaseBusyError,
    DiskFullError,
    HomeNotWritableError,
    InvalidInputError,
    StorageError,
)

BUSY_MILLISECONDS = 30_000
"""How long a connection waits for another's lock."""
_NEARLY_FULL_BYTES = 1024**2


@contextmanager
def storage_errors(home: Path) -> Iterator[None]:
    """Turn what SQLite and the file system raise into Rune's storage errors."""
    try:
        yield
    except DBAPIError as error:
        cause = error.orig if isinstance(error.orig, sqlite3.Error) else sqlite3.Error(str(error))
        raise _from_sqlite(cause, home) from error
    except sqlite3.Error as error:
        raise _from_sqlite(error, home) from error
    except PoolTimeoutError as error:
        raise database_busy(home) from error
    except UnicodeError as error:
        raise InvalidInputError(
            "A text cannot be written as UTF-8.", next_step="Remove unpaired surrogates from it."
        ) from error
    except OSError as error:
        raise _from_os(error, home) from error


def _from_sqlite(error: sqlite3.Error, home: Path) -> StorageError:
    name = str(getattr(error, "sqlite_errorname", ""))
    if name == "SQLITE_FULL" or (name.startswith("SQLITE_IOERR") and _nearly_full(home)):
        return _disk_full(home)
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return home_not_writable(home, str(error))
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return database_busy(home)
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return StorageError(
            f"The database in {home} is damaged or is not a database: {error}.",
            next_step="Move rune.db, with rune.db-wal and rune.db-shm, out of the way, or put a "
            "backup in its place.",
        )
    return StorageError(f"The database in {home} refused: {error}.")


def _from_os(error: OSError, home: Path) -> StorageError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _disk_full(home)
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return home_not_writable(home, str(error))
    return StorageError(f"The files in {home} could not be used: {error}.")


def _nearly_full(home: Path) -> bool:
    with suppress(OSError):
        return shutil.disk_usage(home).free < _NEARLY_FULL_BYTES
    return False


def _disk_full(home: Path) -> DiskFullError:
    return DiskFullError(
        f"No space is left on the disk that holds {home}; nothing was stored.",
        next_step="Free some space, then do it again.",
    )


def home_not_writable(home: Path, detail: str) -> HomeNotWritableError:
    return HomeNotWritableError(
        f"Rune's home {home} cannot be written to: {detail}.",
        next_step="Correct its permissions, or point RUNE_HOME at a folder you own.",
    )


def database_busy(home: Path) -> DatabaseBusyError:
    return DatabaseBusyError(
        f"The database in {home} stayed busy for {BUSY_MILLISECONDS // 1000} s.",
        next_step="End the program that keeps it locked, then do it again.",
    )
