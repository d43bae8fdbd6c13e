"""Prompts, the engine's log and a trainer's log hold no secret either."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.planted_secrets import TOKENS
from rune_engine.agent.graph import run_task
from rune_engine.config import RuneConfig
from rune_engine.database import open_database
from rune_engine.errors import TrainingError
from rune_engine.inference.provider import AdapterRef, Generation, GenerationRequest
from rune_engine.inference.scripted import ScriptedProvider
from rune_engine.jobs.trainer import Trainers
from rune_engine.models import RunTaskParams, TrainerJob
from rune_engine.privacy import RedactingFormatter
from rune_engine.sandbox.sandbox import Sandbox
from rune_engine.trajectories import TrajectoryStore


class Listening(ScriptedProvider):
    """The scripted provider, which also keeps what it was asked."""

    def __init__(self, script: Path) -> None:
        super().__init__(script)
        self.asked: list[str] = []

    async def generate(
        self, requests: Sequence[GenerationRequest], *, adapter: AdapterRef | None = None
    ) -> list[Generation]:
        self.asked += [message.content for request in requests for message in request.messages]
        return await super().generate(requests, adapter=adapter)


async def test_what_a_program_prints_reaches_no_prompt_with_its_secrets(
    config: RuneConfig, tmp_path: Path
) -> None:
    token = TOKENS["stripe"](random.Random(1))
    # The program puts the token together: it is nowhere in the code.
    half = len(token) // 2
    program = (
        f"import sys\nprint('got', {token[:half]!r} + {token[half:]!r}, file=sys.stderr)\n"
        "def add(a, b):\n    return a - b\n"
    )
    script = tmp_path / "script.json"
    script.write_text(json.dumps([{"contains": "add", "answers": [program]}]))
    provider = Listening(script)
    database = open_database(config)
    store = TrajectoryStore(database)
    result = await run_task(
        RunTaskParams(task_description="add", test_suite="assert add(1, 1) == 2", max_attempts=2),
        provider=provider,
        sandbox=Sandbox(),
        trajectories=store,
        adapter=None,
        adapter_reason="",
        on_progress=lambda fraction, message: None,
    )
    assert "[secret:stripe-key]" in provider.asked[-1]
    assert token not in "".join(provider.asked)
    assert token not in result.model_dump_json()
    assert token not in store.page().trajectories[0].model_dump_json()
    database.close()


def test_a_log_record_loses_its_secrets_with_its_traceback() -> None:
    token = TOKENS["github"](random.Random(1))
    formatter = RedactingFormatter("%(levelname)s %(message)s")
    try:
        raise ValueError(f"refused {token}")
    except ValueError:
        record = logging.LogRecord(
            "rune", logging.ERROR, __file__, 1, "sent %s", (token,), sys.exc_info()
        )
    line = formatter.format(record)
    assert line.startswith("ERROR sent [secret:github-token]\nTraceback")
    assert "refused [secret:github-token]" in line and token not in line


async def test_what_a_trainer_says_is_kept_without_secrets(tmp_path: Path) -> None:
    token = TOKENS["hugging face"](random.Random(1))
    trainer = tmp_path / "trainer.py"
    trainer.write_text(
        "import sys\n"
        f"print('downloading with', {token[:9]!r} + {token[9:]!r}, file=sys.stderr)\n"
        f"print('half a line', {token[:9]!r} + {token[9:]!r}, end='', file=sys.stderr)\n"
        "sys.exit(3)\n"
    )
    job = TrainerJob(
        job_id="j", project_id="p", base_model_id="b", base_model_path="b",
        trajectories_path="t", output_path="o",
    )  # fmt: skip
    async with asyncio.timeout(60):
        with pytest.raises(TrainingError) as caught:
            await Trainers((sys.executable, str(trainer))).train(
                job, tmp_path, lambda fraction, message: None
            )
    log = (tmp_path / "trainer.log").read_text()
    assert log == (
        "downloading with [secret:huggingface-token]\nhalf a line [secret:huggingface-token]"
    )
    assert "exit code 3" in caught.value.message and log in caught.value.message
