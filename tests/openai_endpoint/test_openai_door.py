"""Who is let in at the endpoint's port, and what is there for them."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from openai_support import Endpoint, user

from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig, load_config
from rune_engine.errors import HomeNotWritableError
from rune_engine.home import prepare_home
from rune_engine.service.openai.key import api_key

CHAT = {"model": "rune", "messages": user("Echo")}


def refused(response: httpx.Response) -> tuple[int, str | None]:
    """A refusal's status and code; it has OpenAI's shape."""
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"]
    return response.status_code, error["code"]


async def test_nobody_comes_in_without_the_key(endpoint: Endpoint) -> None:
    shown = ["", endpoint.key, "Bearer", f"Bearer {endpoint.key}x", "Bearer \xff"]
    shown += [f"Basic {endpoint.key}", f"Bearer {endpoint.key[:-1]}"]
    async with httpx.AsyncClient(base_url=endpoint.base_url) as stranger:
        for path in ("/models", "/chat/completions", "/nowhere"):
            for text in shown:
                headers = {"authorization": text.encode("latin-1")}
                response = await stranger.post(path, json=CHAT, headers=headers)
                assert refused(response) == (401, "invalid_api_key"), text
                assert response.headers["www-authenticate"] == "Bearer"


async def test_another_name_for_this_machine_is_refused_even_with_the_key(
    raw: httpx.AsyncClient,
) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil:80", "127.0.0.1@evil"):
        response = await raw.get("/v1/models", headers={"host": host})
        assert refused(response) == (403, "host_not_allowed")
    for host in ("127.0.0.1", "localhost", "LOCALHOST:1234", "[::1]:80"):
        assert (await raw.get("/v1/models", headers={"host": host})).is_success


async def test_a_web_page_gets_no_permission(raw: httpx.AsyncClient) -> None:
    origin = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    asked = await raw.options("/v1/chat/completions", headers=origin)
    answered = await raw.post("/v1/chat/completions", json=CHAT, headers=origin)
    assert asked.status_code == 405 and answered.is_success
    for response in (asked, answered):
        assert not [name for name in response.headers if name.startswith("access-control")]


async def test_nothing_else_of_the_engine_is_behind_the_port(raw: httpx.AsyncClient) -> None:
    for path in ("/", "/health", "/status", "/adapters", "/jobs", "/v1", "/v1/models/../../stop"):
        assert refused(await raw.get(path)) == (404, "unknown_url")
    for path in ("/stop", "/forget", "/trajectories", "/v1/responses", "/v1/embeddings"):
        assert refused(await raw.post(path, json={})) == (404, "unknown_url")
    assert refused(await raw.get("/v1/chat/completions")) == (405, "unknown_url")


async def test_it_listens_on_the_loopback_interface_alone(
    endpoint: Endpoint, client: EngineClient
) -> None:
    engine = psutil.Process((await client.health()).pid)
    listening = [c.laddr for c in engine.net_connections("tcp") if c.status == "LISTEN"]
    assert [(a.ip, a.port) for a in listening] == [("127.0.0.1", urlsplit(endpoint.base_url).port)]


@pytest.mark.parametrize("announced", [True, False])
async def test_a_large_body_is_refused(raw: httpx.AsyncClient, announced: bool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b"x" * 1024**2

    content: bytes | AsyncIterator[bytes] = b"x" * (50 * 1024**2) if announced else chunks()
    response = await raw.post("/v1/chat/completions", content=content)
    assert refused(response)[0] == 413


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"[" * 100_000,
        b'{"model": "rune"}',
        b'{"model": 1, "messages": []}',
        b'{"model": "rune", "messages": [{"role": "wizard", "content": "x"}]}',
        b'{"model": "rune", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"model": "rune", "messages": [{"role": "user", "content": 7}]}',
        b'{"model": "rune", "messages": [{"role": "user", "content": "x"}], "stop": [1]}',
        b'{"model": "rune", "messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
        json.dumps({"model": "rune", "messages": user("x" * 1_000_001)}).encode(),
    ],
    ids=range(12),
)
async def test_a_bad_body_is_refused(raw: httpx.AsyncClient, body: bytes) -> None:
    response = await raw.post("/v1/chat/completions", content=body)
    assert refused(response)[0] == 400
    assert len(response.content) < 2000


async def test_pictures_are_refused_clearly(raw: httpx.AsyncClient) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    parts = [{"type": "text", "text": "Echo"}, picture]
    body = {"model": "rune", "messages": [{"role": "user", "content": parts}]}
    response = await raw.post("/v1/chat/completions", json=body)
    assert refused(response) == (400, "unsupported_content")
    error = response.json()["error"]
    assert error["param"] == "messages.0.content.1" and "image_url" in error["message"]


async def test_the_key_is_private_lasting_and_no_part_of_any_answer(
    config: RuneConfig, raw: httpx.AsyncClient
) -> None:
    await raw.post("/v1/chat/completions", json=CHAT)
    assert stat.S_IMODE(config.openai_key_path.stat().st_mode) == 0o600
    assert api_key(config) == api_key(config)
    assert len(api_key(config)) > 40
    assert api_key(config) not in (config.logs_path / "engine.log").read_text()


async def test_processes_at_once_make_one_key(
    config: RuneConfig, tmp_path_factory: pytest.TempPathFactory
) -> None:
    fresh = load_config(home=tmp_path_factory.mktemp("fresh") / "home")
    prepare_home(fresh)
    keys = await asyncio.gather(*(asyncio.to_thread(api_key, fresh) for _ in range(16)))
    assert len(set(keys)) == 1 and keys[0] != api_key(config)
    assert [path.name for path in fresh.home.iterdir() if "key" in path.name] == ["openai.key"]


@pytest.mark.parametrize("content", ["", "short\n", "ü" * 60])
def test_a_key_that_is_none_is_refused(
    tmp_path_factory: pytest.TempPathFactory, content: str
) -> None:
    fresh = load_config(home=tmp_path_factory.mktemp("fresh") / "home")
    prepare_home(fresh)
    fresh.openai_key_path.write_text(content)
    fresh.openai_key_path.chmod(0o600)
    with pytest.raises(HomeNotWritableError, match="no key"):
        api_key(fresh)


def test_a_key_that_others_may_read_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    fresh = load_config(home=tmp_path_factory.mktemp("fresh") / "home")
    prepare_home(fresh)
    key = api_key(fresh)
    fresh.openai_key_path.chmod(0o640)
    with pytest.raises(HomeNotWritableError, match="other users") as error:
        api_key(fresh)
    assert key not in str(error.value)
