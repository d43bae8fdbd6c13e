"""Run by a test on a small disk: restore again and again, with more and more space.

python restore_when_full.py HOME BACKUP
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from backup_support import fill, holdings

from rune_engine.backup import restore_backup
from rune_engine.config import load_config
from rune_engine.errors import DiskFullError


def main() -> None:
    config, backup = load_config(home=sys.argv[1]), Path(sys.argv[2])
    mine = fill(config, "mine")
    spare = config.home / "spare"
    for left in range(20_000, 2_000_000, 60_000):
        spare.write_bytes(b"x" * (shutil.disk_usage(config.home).free - left))
        try:
            restore_backup(config, backup, replace=True)
        except DiskFullError as error:
            print(error.code)
            spare.unlink()
            assert holdings(config) == mine
        else:
            break
    assert holdings(config).adapters.keys() == {"a", "b"}


main()
