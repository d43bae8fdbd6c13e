"""The model worker: `python -m rune_engine.inference.worker MODEL_DIR`.

Answers the lines of `wire.py`, read from stdin and written to stdout. Requests that arrive
together and want the same adapter are decoded together. It ends when its stdin closes, so it
never outlives the engine, however that ends. Importing this module leaves torch out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from rune_engine.errors import (
    DeviceMemoryError,
    GenerationCancelledError,
    InferenceError,
    RuneError,
)
from rune_engine.inference.provider import AdapterRef, GenerationRequest
from rune_engine.inference.wire import Message, read_adapter, read_requests, to_line

if TYPE_CHECKING:
    from rune_engine.inference.decoding import Row
    from rune_engine.inference.local_model import LocalModel

_GATHER_SECONDS = 0.002
"""How long a batch waits for calls made at the same moment; less than a token's time."""


@dataclass(slots=True, eq=False)
class Job:
    """One call of a provider's `generate`."""

    id: str
    adapter: AdapterRef | None
    requests: list[GenerationRequest]
    cancelled: threading.Event = field(default_factory=threading.Event)


class Inbox:
    """Reads lines in a thread, so that a cancel arrives between two tokens.

    The process ends at the end of the stream, whatever the main thread is doing.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._arrived: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._open: dict[str, Job] = {}
        threading.Thread(target=self._read, daemon=True).start()

    def take(self, *, wait: bool) -> list[Job]:
        """Every job that has arrived; with `wait`, at least one."""
        jobs = []
        if wait:
            jobs.append(self._arrived.get())
            time.sleep(_GATHER_SECONDS)
        with contextlib.suppress(queue.Empty):
            while True:
                jobs.append(self._arrived.get_nowait())
        return jobs

    def done(self, job: Job) -> None:
        self._open.pop(job.id, None)

    def _read(self) -> None:
        try:
            for line in self._stream:
                self._accept(json.loads(line))
        finally:
            os._exit(0)

    def _accept(self, message: Message) -> None:
        if message["op"] == "cancel":
            if job := self._open.get(message["id"]):
                job.cancelled.set()
            return
        job = Job(message["id"], read_adapter(message), read_requests(message))
        self._open[job.id] = job
        self._arrived.put(job)


def serve(model: LocalModel, inbox: Inbox, replies: IO[bytes], max_rows: int) -> None:
    """Answer jobs until the process ends."""
    waiting: list[Job] = []
    while True:
        waiting += inbox.take(wait=not waiting)
        batch = next_batch(waiting, max_rows)
        waiting = [job for job in waiting if job not in batch]
        for job, reply in answer(model, batch):
            inbox.done(job)
            replies.write(to_line({"id": job.id, **reply}))
        replies.flush()


def next_batch(waiting: Sequence[Job], max_rows: int) -> list[Job]:
    """The oldest job, and later ones with the same adapter while there is room for them."""
    batch = [waiting[0]]
    rows = len(waiting[0].requests)
    for job in waiting[1:]:
        if job.adapter == waiting[0].adapter and rows + len(job.requests) <= max_rows:
            batch.append(job)
            rows += len(job.requests)
    return batch


def answer(model: LocalModel, batch: Sequence[Job]) -> list[tuple[Job, Message]]:
    """Complete a batch of jobs; each gets its generations or its error."""
    adapter = batch[0].adapter
    rows: dict[Job, list[Row]] = {}
    replies: dict[Job, Message] = {}
    for job in batch:
        try:
            rows[job] = [model.row(request, job.cancelled.is_set) for request in job.requests]
        except RuneError as error:
            replies[job] = {"error": error.to_envelope()}
    try:
        model.complete([row for job_rows in rows.values() for row in job_rows], adapter)
        replies |= {job: _reply(model, job, job_rows) for job, job_rows in rows.items()}
    except Exception as error:  # noqa: BLE001 - the worker's one driver: a failure is an answer
        replies |= {job: {"error": _envelope(error)} for job in rows}
    return list(replies.items())


def _reply(model: LocalModel, job: Job, rows: Sequence[Row]) -> Message:
    if any(row.finish_reason is None for row in rows):
        cancelled = GenerationCancelledError("The generation was cancelled.")
        return {"error": cancelled.to_envelope()}
    return {
        "generations": [asdict(model.generation(row, job.adapter)) for row in rows],
        "loaded_adapters": model.loaded_adapters,
    }


def _envelope(error: Exception) -> Message:
    if isinstance(error, RuneError):
        return error.to_envelope()
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which is imported late
        return DeviceMemoryError(
            f"The accelerator is full: {error}",
            next_step="Close what else uses it, or use a smaller base model.",
        ).to_envelope()
    return InferenceError(
        f"The model worker failed: {type(error).__name__}: {error}",
        next_step="If this repeats, the adapter or the base model does not suit this version.",
    ).to_envelope()


def _private_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """Keep the wire to ourselves: what a library prints goes to stderr, it reads nothing."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, replies


def main(argv: Sequence[str] | None = None) -> None:
    """Load the model and serve it."""
    parser = argparse.ArgumentParser(description="Rune's model worker.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--max-adapters", type=int, default=16)
    options = parser.parse_args(argv)
    requests, replies = _private_pipes()
    inbox = Inbox(requests)
    # Read by the libraries as they load: no network, and no spinning beside other processes.
    os.environ.update(HF_HUB_OFFLINE="1", OMP_WAIT_POLICY="PASSIVE", TOKENIZERS_PARALLELISM="false")

    import torch

    from rune_engine.inference.local_model import MAX_ROWS, LocalModel

    if options.threads:
        torch.set_num_threads(options.threads)
    serve(LocalModel(options.model, options.max_adapters), inbox, replies, MAX_ROWS)


if __name__ == "__main__":
    main()
