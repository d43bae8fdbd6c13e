"""What is found in a text, what is left alone, and that doing it again changes nothing."""

from __future__ import annotations

import gzip
import json
import random
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.planted_secrets import TOKENS, Planted, all_kinds, keys
from rune_engine.privacy import redact, redact_json, redact_name, secrets_in
from rune_engine.privacy.structures import redact_name as name_without_secrets

ROOT = Path(__file__).parents[2]
HUMAN_EVAL = ROOT.parent / "shared/data/HumanEval.jsonl.gz"
CODE = '''
import os


def connect(host: str, password: str, token: str | None = None) -> Client:
    """Open a connection; `password` is the user's password: a text."""
    secret = os.environ["DB_PASSWORD"]
    api_key = config.get("api_key")
    if token == "(" or tokens[0].type == NAME:
        raise ValueError("wrong password")
    auth = base64.b64encode(f"{host}:{password}".encode()).decode()
    headers = {"Authorization": f"Bearer {token}", "X-Key": KEY, "token_type": "bearer"}
    url = f"postgres://{user}:{password}@{host}/db"
    return Client(host, password=password, secret=secret, auth=auth, key=lambda k: k[0])


def revision() -> str:
    """commit 3f786850e387550fdab836ed7e6dc881de23001b"""
    return "550e8400-e29b-41d4-a716-446655440000"
'''


def left_over(planted: list[Planted]) -> list[tuple[str, str]]:
    cleaned = [(one, redact(one.text).text) for one in planted]
    return [(one.kind, text) for one, text in cleaned if any(n in text for n in one.needles)]


@pytest.mark.parametrize("seed", range(10))
def test_no_planted_secret_is_left(seed: int) -> None:
    planted = all_kinds(seed)
    assert len(planted) == 200
    assert len({one.kind for one in planted}) >= 20
    assert left_over(planted) == []


@pytest.mark.parametrize("kind", sorted(TOKENS))
def test_every_kind_is_found_bare_in_a_line_of_a_log(kind: str) -> None:
    rng = random.Random(kind)
    for _ in range(20):
        value = TOKENS[kind](rng)
        found = redact(f"2026-01-01 INFO got {value} from upstream").found
        assert sum(found.values()) == 1, value


def test_the_text_around_a_secret_stays_and_code_remains_code() -> None:
    token = TOKENS["github"](random.Random(1))
    source = f'client = Client(token="{token}", retries=3)\n'
    cleaned = redact(source)
    assert cleaned.text == 'client = Client(token="[secret:github-token]", retries=3)\n'
    assert cleaned.found == {"github-token": 1}
    compile(cleaned.text, "cleaned", "exec")


def test_a_private_key_keeps_its_first_and_last_line() -> None:
    whole = next(keys(random.Random(1), 1)).text
    first, *_, last = whole.splitlines()
    assert redact(whole).text == f"{first}[secret:private-key]{last}"


def test_a_password_is_replaced_where_it_is_printed_again() -> None:
    text = 'PASSWORD = "Falcon-4417x"\nlogin(PASSWORD)  # prints: user bob, Falcon-4417x\n'
    assert "Falcon" not in redact(text).text
    data = {"task": 'password = "Falcon-4417x"', "attempts": [{"stdout": "got Falcon-4417x!"}]}
    assert "Falcon" not in json.dumps(redact_json(data))


def test_a_value_is_a_secret_because_of_its_key() -> None:
    data = {"user": "bob", "password": "correct-horse", "nested": [{"api_key": "abcdef123456"}]}
    cleaned = redact_json(data)
    assert cleaned["user"] == "bob"
    assert "correct-horse" not in json.dumps(cleaned)
    assert "abcdef123456" not in json.dumps(cleaned)


def test_data_without_secrets_is_the_very_same_object() -> None:
    data = {"a": ["text", 1, None, {"b": CODE}], "id": "0123456789abcdef0123456789abcdef"}
    assert redact_json(data) is data


def test_an_identifier_stays_one_and_only_known_forms_are_replaced() -> None:
    token = TOKENS["github"](random.Random(2))
    assert redact_name(f"agent {token}") == "agent secret:github-token"
    assert redact_name(token) == "secret-github-token"
    session = "9f86d081884c7d659a2feaa0c55ad015"
    assert name_without_secrets(session) == session


def test_ordinary_code_is_left_alone() -> None:
    assert redact(CODE).text == CODE
    assert redact(CODE).found == {}


@pytest.mark.parametrize(
    "line",
    [
        'password = "<your-password>"',
        "DB_PASSWORD=${DB_PASSWORD}",
        'api_key = "your-api-key-here"',
        "password: str = ''",
        "token = tokenizer.encode(text)",
        "https://user:password@example.org/",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "/usr/lib/python3.11/site-packages/numpy/core/tests/test_umath_accuracy.py",
        "testUnicodeDecodeErrorHandlerForSurrogates2",
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ",
        "--password  The password to connect with",
        "eq_(parse('key'), {'key': 'value'})",
    ],
)
def test_a_placeholder_an_expression_or_a_checksum_is_no_secret(line: str) -> None:
    assert redact(line).text == line


def altered_share(texts: list[str]) -> float:
    """The share of lines that redaction changes."""
    lines = [line for text in texts for line in text.split("\n")]
    altered = 0
    for text in texts:
        before, after = text.split("\n"), redact(text).text.split("\n")
        kept = set(after)
        altered += sum(line not in kept for line in before)
    return altered / len(lines)


@pytest.mark.skipif(not HUMAN_EVAL.exists(), reason="HumanEval is not on this machine")
def test_fewer_than_one_in_a_hundred_lines_of_humaneval_are_altered() -> None:
    with gzip.open(HUMAN_EVAL, "rt", encoding="utf-8") as lines:
        tasks = [json.loads(line) for line in lines]
    texts = [task["prompt"] + task["canonical_solution"] + task["test"] for task in tasks]
    assert altered_share(texts) < 0.01


def test_fewer_than_one_in_a_thousand_lines_of_clean_sources_are_altered() -> None:
    sources = [path.read_text() for path in sorted((ROOT / "rune_engine").rglob("*.py"))]
    library = Path(sysconfig.get_path("stdlib"))
    sources += [path.read_text("utf-8") for path in sorted(library.glob("*.py"))]
    assert altered_share(sources) < 0.001


PIECES = st.sampled_from(
    ["password", "token", "=", ": ", '"', "'", "\n", " ", "\\", "[secret:password]", "[secret:",
     "]", "{", "://u:", "@h/", "hunter22!", "Bearer ", "A1b2C3d4E5f6G7h8I9j0K1", "--",
     "İ", "-----BEGIN RSA PRIVATE" + " KEY-----", "-----END RSA PRIVATE" + " KEY-----",
     "AKIA" + "Z" * 16]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(PIECES, st.text(max_size=6)), max_size=25).map("".join))
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    once = redact(text).text
    assert redact(once).text == once
    assert redact(once).found == {}


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000))
def test_planted_secrets_are_redacted_once_and_for_all(seed: int) -> None:
    text = "\n".join(one.text for one in all_kinds(seed, 40))
    once = redact(text)
    assert redact(once.text).text == once.text
    assert secrets_in(once.text) == once.found
