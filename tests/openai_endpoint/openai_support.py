"""Where a test's OpenAI endpoint is, and how it is talked to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import httpx
from adapter_files import draft as adapter_draft
from adapter_files import weights
from engine_support import WAIT_SECONDS
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from rune_engine.client import EngineClient
from rune_engine.config import RuneConfig
from rune_engine.database import open_database
from rune_engine.models import AdapterInfo, Attempt, TrajectoryDraft
from rune_engine.registry import AdapterRegistry
from rune_engine.service.openai.key import api_key
from rune_engine.trajectories import TrajectoryStore

MORE_SCRIPT = [
    {"contains": "Which memory", "answers": ["a memory"], "adapter_id": "*"},
    {"contains": "Which memory", "answers": ["no memory"]},
    {"contains": "Echo", "answers": ["one two three four five"]},
]


def user(text: str) -> list[Any]:
    """A chat of one message."""
    return [{"role": "user", "content": text}]


@dataclass(frozen=True)
class Endpoint:
    base_url: str
    key: str

    def sdk(self, **options: Any) -> AsyncOpenAI:
        """The real client; by default it repeats nothing, so that every answer is seen."""
        given = {"max_retries": 0, "timeout": WAIT_SECONDS, "api_key": self.key, **options}
        # Nothing is encrypted here, and certificates take longer to load than these tests.
        http = DefaultAsyncHttpxClient(verify=False)
        return AsyncOpenAI(base_url=self.base_url, http_client=http, **given)

    def raw(self, **headers: str) -> httpx.AsyncClient:
        """Plain HTTP with the key; `base_url` ends before `/v1`."""
        return httpx.AsyncClient(
            base_url=self.base_url.removesuffix("/v1"),
            headers={"authorization": f"Bearer {self.key}", **headers},
            timeout=WAIT_SECONDS,
            verify=False,
        )


async def reach(config: RuneConfig, client: EngineClient) -> Endpoint:
    """Start the engine, and find its endpoint."""
    status = await client.openai()
    assert status.base_url is not None, status.detail
    return Endpoint(status.base_url, api_key(config))


def store_adapter(config: RuneConfig, seed: int = 0, **changes: Any) -> AdapterInfo:
    """An adapter of the scripted base model, stored beside the running engine."""
    database = open_database(config)
    try:
        registry = AdapterRegistry(database, config)
        draft = adapter_draft(**{"base_model_id": "scripted", **changes})
        return registry.store(draft, weights(seed))
    finally:
        database.close()


def teach_adapter(config: RuneConfig, seed: int, project_id: str, task: str) -> str:
    """The id of an adapter that was taught such tasks, with several words in the place of `{}`."""
    database = open_database(config)
    try:
        store = TrajectoryStore(database)
        learnt = [
            store.record(
                TrajectoryDraft(
                    project_id=project_id,
                    task_description=task.format(verb),
                    attempts=[Attempt(generated_code="x = 1", tests_passed=True)],
                    outcome="success",
                )
            )[0].id
            for verb in ("Sort", "Find", "Print")
        ]
        draft = adapter_draft(base_model_id="scripted", project_id=project_id)
        registry = AdapterRegistry(database, config)
        roles = dict.fromkeys(learnt, "trained")
        return registry.store(draft, weights(10 + seed), learnt_from=roles).id
    finally:
        database.close()


def events(text: str) -> list[Any]:
    """The data of a stream's events, up to `[DONE]`, which must be the last."""
    found = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data:")]
    assert found[-1] == "[DONE]" and found.count("[DONE]") == 1
    return [json.loads(data) for data in found[:-1]]
