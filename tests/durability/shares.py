"""How many of all random kills fall on what: the dearer ones are fewer."""

from __future__ import annotations

SHARES = {
    "record": 0.3,
    "store": 0.26,
    "archive": 0.18,
    "distill": 0.12,
    "run_task": 0.02,
    "import": 0.02,
    "backup": 0.04,
    "restore": 0.06,
}
