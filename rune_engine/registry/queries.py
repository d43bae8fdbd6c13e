"""Every SQL statement that reads adapters, and how a row becomes an `AdapterInfo`.

Each is answered in the order of an index: none is sorted, and none but `EVERYTHING` and the counts
of all adapters reads more rows than it answers. A test holds their plans. Knows no file.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import Any, get_args

from rune_engine.models import AdapterInfo, HierarchyLevel
from rune_engine.readers import Row
from rune_engine.registry.records import AdapterFilter

_COLUMNS = tuple(AdapterInfo.model_fields)
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM adapter_records"
_FILTERS = tuple(field.name for field in fields(AdapterFilter) if field.name != "include_archived")
_COMPARED = tuple(name for name in _FILTERS if name != "hierarchy_level")
_VALUES_OF = attrgetter(*_COMPARED)
_NEWEST = "ORDER BY created_at DESC, id"
_PATH, _PARENTS = _COLUMNS.index("file_path"), _COLUMNS.index("parent_ids")

BY_ID = f"{_SELECT} WHERE id = ?"
IN_USE = f"{_SELECT} WHERE id IN (SELECT value FROM json_each(?)) AND +is_archived = 0"
EVERYTHING = f"{_SELECT} {_NEWEST}"
STORED = "SELECT file_hash, config_hash, file_size_bytes, base_model_id, forgotten_at"
STORED = f"{STORED} FROM adapter_records WHERE id = ?"
WEIGHTS = "SELECT id, file_hash FROM adapter_records"
COUNTS = (
    "SELECT project_id, is_archived, count(*) FROM adapter_records GROUP BY project_id, is_archived"
)

Query = tuple[str, list[str]]
"""A statement and its parameters."""


def best(wanted: AdapterFilter, limit: int = 1) -> Query:
    """The fittest in use, unevaluated ones last (NULL is the smallest), then the newest."""
    given = _given(wanted)
    return _best(*_shape(wanted, given), limit), list(given.values())


def newest(wanted: AdapterFilter) -> Query:
    """All, newest first; `LIMIT ? OFFSET ?` may follow."""
    given = _given(wanted)
    return _newest(*_shape(wanted, given)), list(given.values())


def count(wanted: AdapterFilter) -> Query:
    """How many there are."""
    given = _given(wanted)
    return _count(*_shape(wanted, given)), list(given.values())


def exists(wanted: AdapterFilter) -> Query:
    """One row if there is any."""
    given = _given(wanted)
    return _exists(*_shape(wanted, given)), list(given.values())


def infos(home: Path) -> Callable[[Row], AdapterInfo]:
    """What turns a row of `_SELECT` into metadata, with a path below `home`."""
    folder = f"{home}/"

    def to_info(row: Row) -> AdapterInfo:
        data: dict[str, Any] = dict(zip(_COLUMNS, row, strict=True))
        data["file_path"] = folder + row[_PATH]
        data["parent_ids"] = json.loads(row[_PARENTS]) if row[_PARENTS] != "[]" else []
        return AdapterInfo.model_validate(data)

    return to_info


def _given(wanted: AdapterFilter) -> dict[str, str]:
    """The columns that are compared with a parameter; the level is part of the statement."""
    values = zip(_COMPARED, _VALUES_OF(wanted), strict=True)
    return {name: value for name, value in values if value is not None}


def _shape(
    wanted: AdapterFilter, given: dict[str, str]
) -> tuple[tuple[str, ...], HierarchyLevel | None, bool]:
    return tuple(given), wanted.hierarchy_level, wanted.include_archived


@lru_cache
def _best(names: tuple[str, ...], level: HierarchyLevel | None, _archived: bool, limit: int) -> str:
    where = _where(names, level, "is_archived = 0")
    return f"{_SELECT}{where} ORDER BY fitness_score DESC, created_at DESC, id LIMIT {limit:d}"


@lru_cache
def _newest(names: tuple[str, ...], level: HierarchyLevel | None, archived: bool) -> str:
    # The + keeps the planner to the indexes that are in the page's order.
    return f"{_SELECT}{_where(names, level, '' if archived else '+is_archived = 0')} {_NEWEST}"


@lru_cache
def _count(names: tuple[str, ...], level: HierarchyLevel | None, archived: bool) -> str:
    where = _where(names, level, "" if archived else "is_archived = 0")
    return f"SELECT count(*) FROM adapter_records{where}"


@lru_cache
def _exists(names: tuple[str, ...], level: HierarchyLevel | None, archived: bool) -> str:
    where = _where(names, level, "" if archived else "is_archived = 0")
    return f"SELECT 1 FROM adapter_records{where} LIMIT 1"


def _where(names: tuple[str, ...], level: HierarchyLevel | None, in_use: str) -> str:
    conditions = [f"{name} = ?" for name in names]
    if level is not None:
        # Spelt out, as the indexes of one level alone are found by nothing else.
        assert level in get_args(HierarchyLevel)
        conditions.append(f"hierarchy_level = '{level}'")
    if in_use:
        conditions.append(in_use)
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""
