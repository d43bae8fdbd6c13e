"""Values that are secrets because of the name they are given: `DB_PASSWORD=...`, `"token": "..."`.

The names begin with those of `detect-secrets`' keyword detector. A value in quotes behind a strong
name (a password) is a secret unless it is a placeholder; one behind a weak name (a token, which
parsers have too) has to look random; one without quotes must not be an expression.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module

from rune_engine.privacy import randomness
from rune_engine.privacy.placeholders import is_placeholder
from rune_engine.privacy.spans import Span

_MORE_STRONG = (
    "passwort",
    "passphrase",
    "pass_?code",
    "pass_?phrase",
    "mot_?de_?passe",
    "(?:^|[_-])pw$",
    "pgpass",
    "api_?secret",
    "client_?secret",
    "access_?key",
    "signing_?key",
    "encryption_?key",
    "encrypt_?key",
    "master_?key",
    "webhook_?key",
    "deploy_?key",
    "ssh_?key",
    "jwt_?key",
    "storage_?key",
    "subscription_?key",
    "app_?key",
    "secret_?key",
    "access_?token",
    "auth_?token",
    "refresh_?token",
    "bot_?token",
    "api_?token",
    "bearer_?token",
    "id_?token",
)
_WEAK = re.compile(r"token|credential|auth|pass|session_?id|salt|nonce")
STEMS = "pass|pwd|pw|secret|token|key|credential|auth|session|salt|nonce|contrase"
"""Every name holds one of these; few begin words of code, so that the search skips most of it."""
_NO_VALUE_SUFFIX = re.compile(
    r".*(?:_|-)(?:field|type|url|uri|name|prompt|label|env|var|path|file|filename|dir|len|length"
    r"|count|size|regex|pattern|re|chars|format|message|msg|error|errors|help|title|text|id|ids|kind"
    r"|header|column|param|parameter|policy|expires|expiry|ttl|placeholder|description|validators?"
    r"|hashers?|min|max|rules?|reset|changed|required|valid|invalid|strength|form|input|widget"
    r"|class|cls|method|func|callback|encoding|algorithm)s?",
)
_QUOTED = (
    r"[brf]{0,2}(?P<quote>\\*(?:\"\"\"|'''|[\"'`]))"
    r"(?P<quoted>(?:(?!(?P=quote))[^\n]){4,400})(?P=quote)"
)
_BARE = r"(?P<bare>[^\s\"'`<>,;()\[\]{}]{4,400})"
_SEPARATOR = (
    r"(?P<separator>[\\\"'\]`]{0,6})"
    r"(?:[ \t]{0,3}(?::=|=>|={1,3}|!={1,2}|:|is:?[ \t])[ \t]{0,3}@?"
    r"|(?P<flag>[ \t]{1,3})|(?P<xml>>))"
)

_NAME_OF_ALL = re.compile(r"(?:password|passwd|passphrase|pwd|secret|token|_key)$")
_STEM = re.compile(STEMS)
_NAME_BEFORE = re.compile(r"[\w-]*\Z")
_NAME_AFTER = re.compile(r"[\w-]*")
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z_.-]*")
_EXPRESSION = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*|[-+]?[\d._]+(?:e[-+]?\d+)?", re.ASCII)
_ENV_LINE = re.compile(r"[ \t]*(?:export |set |ENV |- |\+|-)?[ \t]*[A-Z][A-Z0-9_]*", re.ASCII)


_ASSIGNMENT = re.compile(rf"(?:{STEMS})[\w-]{{0,40}}+{_SEPARATOR}(?:{_QUOTED}|{_BARE})")


@cache
def _strong() -> re.Pattern[str]:
    library: tuple[str, ...] = import_module("detect_secrets.plugins.keyword").DENYLIST
    return re.compile("|".join((*library, *_MORE_STRONG)).replace("_?", "[_-]?"))


def spans(text: str, lowered: str) -> Iterator[Span]:
    """Every assigned secret; `lowered` is the text in lower case, character for character."""
    position = 0
    while match := _ASSIGNMENT.search(lowered, position):
        # A value that is none may hold the next name.
        span = _secret_of(text, lowered, match)
        position = match.end() if span else max(match.start("separator"), match.start() + 1)
        if span:
            yield span


def _secret_of(text: str, lowered: str, match: re.Match[str]) -> Span | None:
    name = _whole_name(lowered, match.start())
    strong = _strong().search(name) is not None
    if not strong and not _WEAK.search(name):
        return None
    quoted = match.group("quoted") is not None
    start, end = match.span("quoted" if quoted else "bare")
    if quoted:
        secret = is_quoted_secret(name, text[start:end], strong=strong) or (
            _NAME_OF_ALL.search(name) is not None
            and _is_env_line(text, match, start - 1)
            and not is_placeholder(text[start:end])
        )
    else:
        end = start + len(text[start:end].rstrip(".:\\"))
        secret = _is_bare_secret(text, match, text[start:end], name, strong=strong)
    return Span(start, end, _kind(name)) if secret else None


def is_named_secret(name: str, value: str) -> bool:
    """Whether a value of data, such as of JSON, is a secret because of its name."""
    if not name or not _STEM.search(lowered := name.lower()):
        return False
    strong = _strong().search(lowered) is not None
    weak = _WEAK.search(lowered) is not None
    return (strong or weak) and is_quoted_secret(lowered, value, strong=strong)


def is_quoted_secret(name: str, value: str, *, strong: bool) -> bool:
    """Whether what stands in quotes behind `name` (in lower case) is a secret."""
    if is_placeholder(value) or any(character.isspace() for character in value):
        return "phrase" in name and len(value.split()) >= 4
    if _NO_VALUE_SUFFIX.fullmatch(name) or not strong:
        return _looks_random(value)
    return len(value) >= 6 and not value.startswith(("http://", "https://", "/", "./", "../"))


def _is_bare_secret(
    text: str, match: re.Match[str], value: str, name: str, *, strong: bool
) -> bool:
    if len(value) < 4 or is_placeholder(value) or "://" in value:
        return False
    if text.startswith(("(", "["), match.end("bare")):
        return False  # a call
    if match.group("xml"):
        closed = text.startswith("</", match.end("bare"))
        return closed and is_quoted_secret(name, value, strong=strong)
    if match.group("flag"):
        flag = text.rfind("--", max(0, match.start() - 40), match.start())
        is_flag = flag >= 0 and re.fullmatch(r"--[\w-]*", text[flag : match.start()]) is not None
        return is_flag and _has_digit_and_letter(value) and len(value) >= 6
    if _is_env_line(text, match, match.start("bare")) and not _NO_VALUE_SUFFIX.fullmatch(name):
        return strong or _looks_random(value)
    if _EXPRESSION.fullmatch(value) and not _looks_random(value):
        return strong and _has_digit_and_letter(value) and _ends_there(text, match, value)
    if not strong:
        return _looks_random(value)
    if _PLAIN.fullmatch(value):  # in YAML; no language has words with hyphens there
        before = text[match.start("bare") - 2 : match.start("bare")]
        return before == ": " and len(value) >= 8 and "-" in value and "." not in value
    return len(value) >= 6 and _has_digit_and_letter(value)


def _ends_there(text: str, match: re.Match[str], value: str) -> bool:
    """Whether a bare word is a whole value: not called, indexed, nor an argument among others."""
    following = text[match.end("bare") : match.end("bare") + 1]
    return len(value) >= 6 and following in ("", "\n", "\r", " ", '"', "'") and "." not in value


def _is_env_line(text: str, match: re.Match[str], value: int) -> bool:
    """Whether `NAME=value`, in capitals and without spaces, is all that its line holds."""
    line = text.rfind("\n", 0, match.start()) + 1
    end = match.start("separator")
    rest = text[match.end() : match.end() + 1]
    return (
        text[end : end + 1] == "="
        and value == end + 1
        and rest in ("", "\n", "\r", " ")
        and _ENV_LINE.fullmatch(text, line, end) is not None
    )


def _looks_random(value: str) -> bool:
    """Whether a value that has a telling name looks random; shorter ones count than elsewhere."""
    if len(value) >= randomness.SHORTEST and randomness.kind_of(value):
        return True
    return (
        len(value) >= 12
        and _has_digit_and_letter(value)
        and not any(character.isspace() for character in value)
        and randomness.entropy(value) >= 3.2
        and sum(character.isdigit() for character in value) >= 2
        and "/" not in value[:1]
    )


def _has_digit_and_letter(value: str) -> bool:
    return any(c.isdigit() for c in value) and any(c.isalpha() for c in value)


def _whole_name(lowered: str, stem: int) -> str:
    """The name around the stem that was found."""
    before = _NAME_BEFORE.search(lowered, max(0, stem - 40), stem)
    after = _NAME_AFTER.match(lowered, stem, stem + 60)
    return (before.group() if before else "") + (after.group() if after else "")


def _kind(name: str) -> str:
    if re.search(r"pass|pwd|pw$|contrase", name):
        return "password"
    return "key" if "key" in name else "token" if "token" in name else "secret"
