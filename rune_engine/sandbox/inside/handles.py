"""Which handles a confined process keeps, and folders that it can reach by no other way.

A Python that lies in a folder of root's own can be used by an unprivileged process only through a
handle that was opened before the privileges were given up: by /proc/self/fd, where the kernel asks
for no permission on the folders above. What may be read through it is for Landlock to say.
"""

from __future__ import annotations

import os
import sys

_LAST = 65536
_shown: list[int] = []


def close_all_but(*wanted: int) -> None:
    """Close every handle but the standard ones, `wanted`, and those of `show`."""
    begin = 3
    for handle in sorted({*wanted, *_shown}):
        os.closerange(begin, handle)
        begin = handle + 1
    os.closerange(begin, _LAST)


def show(folder: str) -> str:
    """A path for `folder` that works in every fork of this process, whatever its user."""
    _shown.append(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))
    return f"/proc/self/fd/{_shown[-1]}"


def is_private(path: str) -> bool:
    """Whether some folder above `path` lets only its owner or group in."""
    above = os.path.dirname(path)
    while above != os.path.dirname(above):
        if not os.stat(above).st_mode & 0o001:
            return True
        above = os.path.dirname(above)
    return False


def import_through(folders: dict[str, str]) -> None:
    """Look for modules below the second paths instead of the first."""
    packages = [getattr(module, "__path__", None) for module in list(sys.modules.values())]
    for places in (sys.path, *packages):
        if not isinstance(places, list):
            continue
        for at, place in enumerate(places):
            for folder, other in folders.items():
                if f"{place}/".startswith(f"{folder}/"):
                    places[at] = other + place[len(folder) :]
    sys.path_importer_cache.clear()
