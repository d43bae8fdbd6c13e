"""What each adapter was taught, as counts of words; filled for the adapters there are.

A row goes when something that its adapter learnt from is forgotten, and is write-once until then.
"""

from __future__ import annotations

import json

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TAUGHT = """
CREATE TABLE adapter_taught (
    adapter_id TEXT NOT NULL PRIMARY KEY,
    tasks      INTEGER NOT NULL CHECK (tasks >= 0),
    words      TEXT NOT NULL
) STRICT
"""

_DESCRIPTIONS = """
SELECT learnt.adapter_id, t.task_description
FROM adapter_trajectories AS learnt JOIN trajectories AS t ON t.id = learnt.trajectory_id
JOIN adapter_records AS a ON a.id = learnt.adapter_id
WHERE learnt.role = 'trained' AND a.forgotten_at IS NULL ORDER BY learnt.adapter_id
"""

_REFUSE = "BEGIN SELECT RAISE(ABORT, 'adapter_taught is write-once'); END"
_TRIGGERS = {
    "no_update": "BEFORE UPDATE ON adapter_taught",
    "no_replace": "BEFORE INSERT ON adapter_taught WHEN EXISTS"
    " (SELECT 1 FROM adapter_taught WHERE adapter_id = NEW.adapter_id)",
    "no_delete": "BEFORE DELETE ON adapter_taught WHEN NOT EXISTS (SELECT 1 FROM adapter_records"
    " WHERE id = OLD.adapter_id AND forgotten_at IS NOT NULL)",
}


def upgrade() -> None:
    from itertools import groupby

    from rune_engine.word_counts import count_words

    op.execute(_TAUGHT)
    connection = op.get_bind()
    rows = connection.exec_driver_sql(_DESCRIPTIONS).all()
    for adapter_id, told in groupby(rows, key=lambda row: row[0]):
        texts = [row[1] for row in told]
        words = json.dumps(count_words(texts), sort_keys=True, ensure_ascii=False)
        connection.exec_driver_sql(
            "INSERT INTO adapter_taught (adapter_id, tasks, words) VALUES (?, ?, ?)",
            (adapter_id, len(texts), words),
        )
    for name, when in _TRIGGERS.items():
        op.execute(f"CREATE TRIGGER adapter_taught_{name} {when} {_REFUSE}")
