"""Values that stand where a secret would and are none: names, templates, examples."""

from __future__ import annotations

import re

_WORDS = re.compile(
    r"(?:user_?|my_?|change_?)?(?:password|passwd|passphrase|secret|token|api_?key|key|me|username)"
    r"|user|admin|string|str|bytes|none|null|true|false|testing|test|example|sample|default"
    r"|placeholder|dummy|redacted|hidden|masked|value|required|optional|unknown|undefined|text"
    r"|credentials"
)
_TEMPLATE = re.compile(
    r"<.*>|\{.*\}|\[.*\]|\(.*\)|%.*%|\$(?:[A-Z_][A-Z0-9_]*|\{.*|\(.*)|%[sdr(].*"
    r"|.*(?:\$\{|\{\{|\}\}|%\(|<%).*"
    r"|[*.xX_#-]+"  # ***, xxxx, ...
    r"|.{0,3}\.{3}.{0,3}"
    r"|[A-Z]+(?:_[A-Z]+)+"  # the name of a variable
    r"|(?i:your|the|some|insert|enter)[-_ ].*",
    re.S,
)
_CALLS = re.compile(r"(?:os\.environ|os\.getenv|process\.env|env\.|getenv|config\.|settings\.).*")


def is_placeholder(value: str) -> bool:
    """Whether a value is a template, an example or a look-up rather than a secret."""
    if value.startswith("[secret:"):
        return True
    if _WORDS.fullmatch(value.lower()) or len(set(value)) <= 2:
        return True
    return bool(_TEMPLATE.fullmatch(value) or _CALLS.fullmatch(value))
