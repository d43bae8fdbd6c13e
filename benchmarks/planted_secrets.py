"""Secrets to plant, of many kinds, made from a seed: no real-looking token stands in a file.

A kind says how a value of it is made; a `Planted` secret is put on a line as programs and people
write it: behind a name with and without quotes, bare in code, bare in the output of a program.
"""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass

LETTERS = string.ascii_letters + string.digits
LOWER = string.ascii_lowercase + string.digits
HEX = "0123456789abcdef"
URLSAFE = LETTERS + "-_"
BASE64 = LETTERS + "+/"
_KEY = "PRIVATE" + " KEY"


@dataclass(frozen=True)
class Planted:
    """`text` is to be put into a field; none of `needles` may be found anywhere afterwards."""

    kind: str
    text: str
    needles: tuple[str, ...]


def _pick(rng: random.Random, letters: str, count: int) -> str:
    return "".join(rng.choices(letters, k=count))


def _form(prefix: str, letters: str, count: int, suffix: str = "") -> Callable[..., str]:
    return lambda rng: prefix + _pick(rng, letters, count) + suffix


def _jwt(rng: random.Random) -> str:
    def part(data: dict[str, object]) -> str:
        return base64.urlsafe_b64encode(json.dumps(data).encode()).decode().rstrip("=")

    claims: dict[str, object] = {"sub": _pick(rng, LOWER, 12), "iat": rng.randrange(10**9)}
    return f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(claims)}.{_pick(rng, URLSAFE, 43)}"


def _password(rng: random.Random) -> str:
    word = rng.choice(("winter", "Falcon", "correct-horse", "lighthouse", "Zebra"))
    return f"{word}{rng.choice('-_.!')}{rng.randrange(10, 9999)}{_pick(rng, LETTERS, 3)}"


TOKENS: dict[str, Callable[[random.Random], str]] = {
    "aws key id": _form("AKIA", string.ascii_uppercase + string.digits, 16),
    "aws secret": _form("", BASE64, 40),
    "github": _form("ghp_", LETTERS, 36),
    "github fine-grained": _form("github_pat_", LETTERS, 82),
    "gitlab": _form("glpat-", LETTERS, 20),
    "slack": lambda rng: (
        f"xoxb-{rng.randrange(10**11)}-{rng.randrange(10**11)}-{_pick(rng, LETTERS, 24)}"
    ),
    "stripe": _form("sk_live_", LETTERS, 24),
    "anthropic": _form("sk-ant-api03-", URLSAFE, 93, "AA"),
    "openai": _form("sk-proj-", LETTERS, 48),
    "google api": _form("AIza", LETTERS, 35),
    "hugging face": _form("hf_", LETTERS, 34),
    "digitalocean": _form("dop_v1_", HEX, 64),
    "databricks": _form("dapi", HEX, 32),
    "npm": _form("npm_", LETTERS, 36),
    "pypi": _form("pypi-AgEIcHlwaS5vcmc", URLSAFE, 80),
    "sendgrid": lambda rng: f"SG.{_pick(rng, LETTERS, 22)}.{_pick(rng, LETTERS, 43)}",
    "telegram": lambda rng: f"{rng.randrange(10**8, 10**9)}:AA{_pick(rng, LETTERS, 33)}",
    "json web token": _jwt,
    "twilio": _form("SK", HEX, 32),
    "random base64": _form("", LETTERS, 44),
    "random hex": lambda rng: f"{_pick(rng, HEX, 38)}a7",
}
"""Kinds that can be told on their own, wherever they stand."""

_NAMED = {
    "{name}": ('API_KEY="{}"', "api_key = '{}'", 'export SERVICE_TOKEN={}', "client_secret: {}",
               '{{"secret_key": "{}", "debug": true}}', "AUTH_TOKEN={}", "X-Api-Key: {}",
               "--api-key {}"),
    "{bare}": ('    client = connect("{}")', "call({}, retries=3)", "INFO sent {} to the server",
               "{}", "Traceback: invalid credential {}.", "GET /v1/items?k={}&page=2",
               "print('{}')", "[2026-01-01 10:00:00] DEBUG got={} ok"),
}  # fmt: skip


def tokens(rng: random.Random, count: int) -> Iterator[Planted]:
    """`count` single-line tokens over all kinds, half behind names and half bare."""
    for number in range(count):
        kind = sorted(TOKENS)[number % len(TOKENS)]
        value = TOKENS[kind](rng)
        lines = _NAMED["{name}" if rng.random() < 0.5 else "{bare}"]
        yield Planted(kind, rng.choice(lines).format(value), (value.partition(":")[2] or value,))


def passwords(rng: random.Random, count: int) -> Iterator[Planted]:
    """Passwords behind names, in addresses and in `.env` files; some are printed again later."""
    lines = (
        "DB_PASSWORD={}",
        'password = "{}"',
        '{{"user": "bob", "password": "{}"}}',
        "postgresql://app:{}@db.internal:5432/app",
        "redis://:{}@cache:6379/0",
        "db_password: {}",
        "connect(user='bob', passwd='{}')",
        "Server=db;Database=app;User Id=sa;Password={};",
        'DB_PASSWORD="{0}"\nconnecting as app with {0}',
    )
    for _ in range(count):
        value = _password(rng)
        yield Planted("password", rng.choice(lines).format(value), (value,))


def headers(rng: random.Random, count: int) -> Iterator[Planted]:
    """Values of HTTP headers and of connection strings."""
    for number in range(count):
        bearer, key = _pick(rng, URLSAFE, 40), _pick(rng, BASE64, 86) + "=="
        basic = base64.b64encode(f"bob:{_password(rng)}".encode()).decode()
        yield (
            Planted("bearer", f"Authorization: Bearer {bearer}", (bearer,)),
            Planted("basic", f"> authorization: Basic {basic}", (basic,)),
            Planted("azure", f"AccountName=a;AccountKey={key};EndpointSuffix=core", (key,)),
        )[number % 3]


def keys(rng: random.Random, count: int) -> Iterator[Planted]:
    """Private keys of many lines: as files, in strings, in JSON, and cut off at either end."""
    for number in range(count):
        body = [_pick(rng, BASE64, 64) for _ in range(12)] + [_pick(rng, BASE64, 22) + "=="]
        kind = rng.choice(("RSA ", "EC ", "OPENSSH ", ""))
        first, last = f"-----BEGIN {kind}{_KEY}-----", f"-----END {kind}{_KEY}-----"
        whole = "\n".join((first, *body, last))
        text = (
            whole,
            f"KEY = '''{whole}\n'''",
            json.dumps({"type": "service_account", "private_key": whole + "\n"}),
            "KEY = (\n" + "\n".join(f'    "{line}\\n"' for line in (first, *body, last)) + "\n)",
            "\n".join((first, *body[:8])),
            "\n".join((*body[5:], last)),
            "\n".join(f"+    {line}" for line in (first, *body, last)),
        )[number % 7]
        yield Planted("private key", text, tuple(line for line in body if line in text))


def all_kinds(seed: int, count: int = 200) -> list[Planted]:
    """`count` secrets of more than 20 kinds, in an order of the seed."""
    rng = random.Random(seed)
    rest = count - 3 * (count // 10)
    made = [*tokens(rng, rest), *passwords(rng, count // 10)]
    made += [*headers(rng, count // 10), *keys(rng, count // 10)]
    rng.shuffle(made)
    return made
