"""The database's history as Alembic revisions, shipped inside the package.

`HEAD` lets an up-to-date database be opened without importing Alembic; a test holds it equal to
the newest revision in `versions/`. Knows nothing of what the tables mean.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection

__all__ = ["HEAD", "is_known", "upgrade"]

HEAD = "0008"
_HERE = Path(__file__).resolve().parent


def is_known(revision: str) -> bool:
    """Whether `revision` is one of this Rune's own; a newer Rune's is not."""
    from alembic.script import ScriptDirectory

    return revision in {script.revision for script in ScriptDirectory(str(_HERE)).walk_revisions()}


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Bring the database to a revision inside the transaction that `connection` is in."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
