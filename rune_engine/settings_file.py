"""Changes `config.toml` and leaves everything else in it as it was, comments and order included."""

from __future__ import annotations

import stat
from pathlib import Path

import tomlkit
from tomlkit.exceptions import TOMLKitError

from rune_engine.durable import write_file
from rune_engine.errors import InvalidInputError
from rune_engine.home import not_writable

_NAME = "config.toml"


def change_settings(home: Path, changes: dict[str, str]) -> Path:
    """Set each dotted key of `changes`, such as `serving.backend`; returns the file.

    Raises:
        InvalidInputError: the file is no TOML, or a key's table is something else there.
        HomeNotWritableError: it cannot be written.
        DiskFullError: no space is left.
    """
    # A link, as managers of such files make them, stays one.
    file = (home / _NAME).resolve()
    try:
        text = file.read_bytes().decode("utf-8") if file.exists() else ""
        mode = stat.S_IMODE(file.stat().st_mode) if file.exists() else 0o600
        document = tomlkit.parse(text)
        for key, value in changes.items():
            _set(document, key, value)
        write_file(file, tomlkit.dumps(document), mode)
    except OSError as error:
        raise not_writable(file, error) from error
    except (TOMLKitError, UnicodeDecodeError, TypeError) as error:
        raise InvalidInputError(
            f"{file} cannot be changed: {error}", next_step="Correct it by hand, then try again."
        ) from error
    return file


def _set(document: tomlkit.TOMLDocument, key: str, value: str) -> None:
    *tables, name = key.split(".")
    place: tomlkit.TOMLDocument | tomlkit.items.Table = document
    for table in tables:
        if table not in place:
            place[table] = tomlkit.table()
        found = place[table]
        if not hasattr(found, "keys"):
            raise TypeError(f"{table} is no table")
        place = found
    place[name] = value
