"""Loaded by every Python process that has this folder on its PYTHONPATH: reports its writes.

A line goes to the file that `RUNE_TEST_WRITES` names for each that is not below one of the folders
in `RUNE_TEST_WRITABLE`.
"""

from __future__ import annotations

import os

from writes import watch

if "RUNE_TEST_WRITES" in os.environ:
    watch()
