"""The same attack without walls, small: it must be seen to work, or "held" would mean nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from contextlib import suppress

from rune_engine.sandbox.conformance import machine, scene
from rune_engine.sandbox.conformance.attack import Attack, program

_SECONDS = 8.0
_ENDLESS_SECONDS = 1.5


async def effects(attack: Attack) -> set[str]:
    """What `attack` does to its scene when nothing holds it, with small sizes."""
    with scene.scene(scene.SMALL) as here, tempfile.TemporaryDirectory() as folder:
        async with machine.watching(here.name, shared=attack.alone) as seen:
            said, ended = await _run(program(attack.program, here.target()), here, folder, attack)
            said_next = ""
            if attack.then:
                code = program(attack.then, here.target(marked=False))
                said_next, _ = await _run(code, here, folder, attack)
        found = here.effects(said, said, said_next) | seen.effects(machine.SMALL)
        if not ended:
            found.add("does not end")
        if len(said) > machine.SMALL.answer_bytes:
            found.add("flooded")
        return found


async def _run(code: str, here: scene.Scene, folder: str, attack: Attack) -> tuple[str, bool]:
    """What it printed, and whether it ended by itself."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
        env={**os.environ, "HOME": folder, scene.SECRET_VARIABLE: here.words.environment},
        pass_fds=(here.handle,),
        start_new_session=True,
    )
    assert process.stdin and process.stdout
    process.stdin.write(here.words.expected.encode())
    process.stdin.close()
    output = bytearray()
    reading = asyncio.create_task(_read(process.stdout, output))
    ended = True
    try:
        seconds = _ENDLESS_SECONDS if attack.endless else _SECONDS
        await asyncio.wait_for(process.wait(), seconds)
    except TimeoutError:
        ended = False
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        with suppress(TimeoutError):
            await asyncio.wait_for(reading, 1)  # a daemon may hold it open
    return output.decode("utf-8", "replace"), ended


async def _read(stream: asyncio.StreamReader, output: bytearray) -> None:
    while data := await stream.read(65536):
        if len(output) <= machine.SMALL.answer_bytes:
            output += data
