"""The model worker: `python -m rune_engine.inference.worker MODEL_DIR`.

Answers the lines of `wire.py`, read from stdin and written to stdout. Which requests are decoded
together is the model's to say. It ends when its stdin closes, so it
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
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, NoReturn

from rune_engine.errors import (
    DeviceMemoryError,
    GenerationCancelledError,
    InferenceError,
    RuneError,
)
from rune_engine.inference.provider import AdapterRef, GenerationRequest
from rune_engine.inference.rows import Row
from rune_engine.inference.wire import Message, read_adapter, read_requests, to_line
from rune_engine.inference.worker_model import WorkerModel
from rune_engine.lean_torch import leave_out_compiler

_GATHER_SECONDS = 0.0005
"""How long a batch waits for calls made at the same moment; less than a token's time."""


@dataclass(slots=True, eq=False)
class Job:
    """One call of a provider: its requests, and the rows they became."""

    id: str
    adapter: AdapterRef | None
    requests: list[GenerationRequest]
    stream: bool
    cancelled: threading.Event = field(default_factory=threading.Event)
    rows: list[Row] = field(default_factory=list)


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
        job = Job(message["id"], read_adapter(message), read_requests(message), message["stream"])
        self._open[job.id] = job
        self._arrived.put(job)


class Worker:
    """Rows wait in the order they came, join the model when it takes them, and become replies."""

    def __init__(self, model: WorkerModel, inbox: Inbox, replies: IO[bytes]) -> None:
        self._model = model
        self._inbox = inbox
        self._replies = replies
        self._waiting: deque[Row] = deque()
        self._jobs: dict[Row, Job] = {}
        self._decoding: set[Row] = set()

    def run(self, jobs: Iterable[Job]) -> NoReturn:
        """Serve `jobs`, and what comes after them, until the process ends."""
        for job in jobs:
            self._open(job)
        while True:
            for job in self._inbox.take(wait=not self._jobs):
                self._open(job)
            self._admit()
            if self._decoding:
                self._step()
            self._replies.flush()

    def _open(self, job: Job) -> None:
        def say(text: str) -> None:
            self._replies.write(to_line({"id": job.id, "text": text}))

        try:
            for request in job.requests:
                on_text = say if job.stream else None
                row = self._model.row(request, job.adapter, job.cancelled.is_set, on_text)
                job.rows.append(row)
        except Exception as error:  # noqa: BLE001 - see _fail
            job.rows.clear()
            self._reply(job, {"error": _envelope(error)})
            return
        self._waiting.extend(job.rows)
        self._jobs |= dict.fromkeys(job.rows, job)

    def _admit(self) -> None:
        """Let rows join in the order they came: nobody overtakes one that has to wait."""
        while self._waiting:
            row = self._waiting[0]
            if row not in self._jobs:  # another row of its job has failed
                self._waiting.popleft()
            elif row.cancelled():
                self._waiting.popleft()
                self._end(row)
            else:
                try:
                    if not self._model.admit(row):
                        return
                except Exception as error:  # noqa: BLE001 - see _fail
                    self._fail([row], error)
                else:
                    self._decoding.add(row)
                self._waiting.popleft()

    def _step(self) -> None:
        try:
            ended = self._model.step()
        except Exception as error:  # noqa: BLE001 - see _fail
            self._model.abandon()
            self._fail(self._decoding, error)
            self._decoding = set()
            return
        for row in ended:
            self._decoding.discard(row)
            if row.error is not None:
                self._fail([row], row.error)
            else:
                self._end(row)

    def _end(self, row: Row) -> None:
        """Take a row off its job; the last one sends the reply."""
        job = self._jobs.pop(row, None)
        if job is None or any(other in self._jobs for other in job.rows):
            return
        if any(other.finish_reason is None for other in job.rows):
            cancelled = GenerationCancelledError("The generation was cancelled.")
            self._reply(job, {"error": cancelled.to_envelope()})
            return
        generations = [asdict(other.generation()) for other in job.rows]
        loaded = self._model.loaded_adapters
        self._reply(job, {"generations": generations, "loaded_adapters": loaded})

    def _fail(self, rows: Iterable[Row], error: Exception) -> None:
        """Answer the rows' jobs with the error: in a worker, a failure is an answer."""
        for job in {self._jobs[row] for row in rows if row in self._jobs}:
            job.cancelled.set()
            for row in job.rows:
                self._jobs.pop(row, None)
            self._reply(job, {"error": _envelope(error)})

    def _reply(self, job: Job, message: Message) -> None:
        self._inbox.done(job)
        self._replies.write(to_line({"id": job.id, **message}))


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


def serve(load: Callable[[], WorkerModel]) -> None:
    """Load a model and serve it on stdin and stdout, until the process ends.

    One that is refused is an answer to the calls that wait for it; the next ones try again.
    """
    requests, replies = _private_pipes()
    inbox = Inbox(requests)
    # Read by the libraries as they load: no network, and no spinning beside other processes.
    os.environ.update(HF_HUB_OFFLINE="1", OMP_WAIT_POLICY="PASSIVE", TOKENIZERS_PARALLELISM="false")
    while True:
        jobs = inbox.take(wait=True)
        try:
            model = load()
        except RuneError as error:
            for job in jobs:
                inbox.done(job)
                replies.write(to_line({"id": job.id, "error": error.to_envelope()}))
            replies.flush()
        else:
            Worker(model, inbox, replies).run(jobs)


def main(argv: Sequence[str] | None = None) -> None:
    """Load the model and serve it."""
    parser = argparse.ArgumentParser(description="Rune's model worker.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--adapter-bytes", type=int, default=1024**3)
    parser.add_argument("--prefix-bytes", type=int, default=512 * 1024**2)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--context", type=int, default=None)
    options = parser.parse_args(argv)

    def load() -> WorkerModel:
        leave_out_compiler()
        import torch

        from rune_engine.inference.local_model import LocalModel

        if options.threads:
            torch.set_num_threads(options.threads)
        return LocalModel(
            options.model,
            adapter_bytes=options.adapter_bytes,
            prefix_bytes=options.prefix_bytes,
            precision=options.precision,
            context=options.context,
        )

    serve(load)


if __name__ == "__main__":
    main()
