"""Text in, code out. Knows nothing of models, sandboxes or the loop."""

from __future__ import annotations

import re

_PYTHON = re.compile(r"```[ \t]*(?:python|py)\b[^\n]*\n(.*?)(?:\n[ \t]*```|\Z)", re.S | re.I)
_ANY = re.compile(r"```[^\n]*\n(.*?)(?:\n[ \t]*```|\Z)", re.S)


def extract_code(text: str) -> str:
    """The first fenced Python block, else the first fenced block, else the text itself.

    A fence that is never closed (the answer was cut off) reaches to the end.
    """
    found = _PYTHON.search(text) or _ANY.search(text)
    return (found.group(1) if found else text).strip("\n")


def storable(text: str) -> str:
    """`text` without what UTF-8 or the store cannot hold: NUL and unpaired surrogates."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
