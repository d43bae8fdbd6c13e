"""Backups: a home's database and adapters in one verified tar file, and back again.

`archive` is the file's format, `making` writes one while the engine works, `restoring` puts one in
place of what is there. The configuration and the logs are not part of it.
"""

from __future__ import annotations

from rune_engine.backup.archive import BackupReport, RestoreReport
from rune_engine.backup.making import make_backup
from rune_engine.backup.restoring import restore_backup

__all__ = ["BackupReport", "RestoreReport", "make_backup", "restore_backup"]
