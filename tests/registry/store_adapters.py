"""Run by tests as a process: store COUNT adapters in HOME, and print each id once it is stored.

python store_adapters.py HOME COUNT SEED HIDDEN
"""

from __future__ import annotations

import sys

from adapter_files import draft, weights

from rune_engine.config import load_config
from rune_engine.database import open_database
from rune_engine.errors import DiskFullError
from rune_engine.registry import AdapterRegistry


def main() -> None:
    home, (count, seed, hidden) = sys.argv[1], map(int, sys.argv[2:])
    config = load_config(home=home)
    registry = AdapterRegistry(open_database(config), config)
    for number in range(count):
        try:
            stored = registry.store(draft(), weights(seed + number, hidden=hidden))
        except DiskFullError:
            print("disk_full", flush=True)
            return
        print(stored.id, flush=True)


main()
