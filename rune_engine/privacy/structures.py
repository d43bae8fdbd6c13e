"""Redaction of JSON-ready data and of identifiers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from rune_engine.privacy.assignments import is_named_secret
from rune_engine.privacy.redaction import (
    is_clean,
    is_worth_knowing,
    replace_forms,
    replace_found,
    replace_known,
)
from rune_engine.privacy.spans import marker

_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_BETWEEN = "\n\0\n"
_IDENTIFYING = re.compile(r"(?:.*_)?(?:id|ids|hash|digest)")


def redact_json(data: Any) -> Any:
    """The data with every secret in its texts replaced; the very same object when there is none.

    A secret that is found in one text is replaced in all of them. A text whose key is `id`, or ends
    in `_id`, `_hash` or the like, loses only what its form tells to be a secret: it has to look
    random.

    Args:
        data: dictionaries with text as keys, lists, texts, numbers, booleans and None.
    """
    if _is_clean(data):
        return data
    known: dict[str, str] = {}
    seen: dict[str, str] = {}

    def clean(key: str, text: str) -> str:
        if _IDENTIFYING.fullmatch(key):
            return redact_name(text)
        if is_named_secret(key, text):
            if is_worth_knowing(text):
                known.setdefault(text, "secret")
            return marker("secret")
        if text not in seen:
            seen[text] = replace_found(text, known)
        return seen[text]

    found = _mapped(data, clean)
    return _mapped(found, lambda _, text: replace_known(text, known)) if known else found


def redact_name(name: str) -> str:
    """An identifier or name without secrets of a known form; stays a valid one.

    A random-looking id stays: ids look random.
    """
    bracket = "secret-{}" if _IDENTIFIER.fullmatch(name) else "secret:{}"
    return replace_forms(name, bracket)


def _is_clean(data: Any) -> bool:
    """Whether there is nothing to replace, told from one look at all texts together."""
    texts: dict[str, None] = {}
    if not _gather(data, "", texts):
        return False
    return is_clean(_BETWEEN.join(texts))


def _gather(data: Any, key: str, texts: dict[str, None]) -> bool:
    """Add every key and text to `texts`; False as soon as a key names a secret."""
    if isinstance(data, str):
        texts[data] = None
        return not is_named_secret(key, data)
    if isinstance(data, Mapping):
        texts.update(dict.fromkeys(data))
        return all(_gather(value, name, texts) for name, value in data.items())
    if isinstance(data, list | tuple):
        return all(_gather(item, key, texts) for item in data)
    return True


def _mapped(data: Any, change: Callable[[str, str], str], key: str = "") -> Any:
    """`data` with `change(key, text)` for each text; unchanged parts are the same objects."""
    if isinstance(data, str):
        return change(key, data)
    if isinstance(data, Mapping):
        new = {redact_name(name): _mapped(value, change, name) for name, value in data.items()}
        same = all(new.get(name, _mapped) is value for name, value in data.items())
        return data if same else new
    if isinstance(data, list | tuple):
        items = [_mapped(item, change, key) for item in data]
        return data if all(a is b for a, b in zip(items, data, strict=True)) else items
    return data
