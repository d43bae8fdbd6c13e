"""Lessons on disk: made once for a base model, read a few at a time.

Large tensors are kept in bfloat16, which is what a distillation reads, too. Whatever is missing,
damaged, or of another base model or scheme is made again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from project_worlds.names import Split
from rune_engine.statistic_files import KNOWN
from trainers.closed_form import files, known
from trainers.closed_form.base_files import identity, shape_of
from trainers.closed_form.evidence import Evidence, Reader
from trainers.closed_form.known import Known
from trainers.closed_form.output import Output
from trainers.hypernetwork.lessons import Asked, Lesson, LessonMaker, Scheme, read_plain
from trainers.hypernetwork.rows import Rows
from trainers.hypernetwork.teacher import Told

FORMAT = 1
"""Raised when the same lesson would be made differently."""


class Shelf:
    """The lessons of one base model.

    Args:
        folder: theirs; several trainings may share it.
        base: the base model's folder. It is loaded when something has to be read, and kept until
            `close`.
    """

    def __init__(self, folder: Path, base: Path, scheme: Scheme) -> None:
        self._folder = folder
        self._base = base
        self.scheme = scheme
        self._reader: Reader | None = None
        self.shape = shape_of(base)
        self.identity = identity(base)
        self.output = Output.load(base, self.shape, "cpu")
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            base, local_files_only=True
        )

    def lesson(self, seed: int, split: Split = "meta_training") -> Lesson:
        """One lesson, in float32."""
        content = self._content(f"{split}-{seed}", lambda: _kept(self._maker().make(seed, split)))
        return _lesson(content, self.output)

    def plain(self, seed: int, count: int) -> Evidence:
        """Answers that need no memory; see `lessons.read_plain`."""

        def read() -> files.Content:
            return files.Content(
                _rows_of(read_plain(self._read(), self.tokenizer, seed, count)), {}
            )

        return _evidence(self._content(f"plain-{seed}-{count}", read).tensors)

    def known(self) -> Known:
        """What the base model knows, as the closed form has it."""
        paths = [self._base / known.SHIPPED, self._folder / KNOWN]
        found = known.load(paths, self.identity)
        if found is None:
            asked = known.examples(self._base, self.tokenizer)
            found = known.compute(self._read(), asked)
            known.keep(paths[-1], self.identity, found)
        return found

    def close(self) -> None:
        """Free the base model."""
        self._reader = None

    def _content(self, name: str, make: Callable[[], files.Content]) -> files.Content:
        path = self._folder / f"{name}.safetensors"
        source = f"{FORMAT} {self.identity} {self.scheme} {name}"
        content = files.read(path, source)
        if content is None:
            content = make()
            files.write(path, source, content)
        return content

    def _read(self) -> Reader:
        if self._reader is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
            self._reader = Reader.load(self._base, device, torch.float32)
        return self._reader

    def _maker(self) -> LessonMaker:
        return LessonMaker(self._read(), self.tokenizer, self.shape.longest, self.scheme)


def _kept(lesson: Lesson) -> files.Content:
    """A lesson's tensors; what follows from a token alone is left out."""
    rows, asked = lesson.rows, lesson.asked
    tensors = {
        "keys": rows.keys.bfloat16(),
        "states": rows.states.bfloat16(),
        "values": rows.values.bfloat16(),
        "tokens": rows.tokens.int(),
        "losses": rows.losses,
        "chunks": rows.chunks.int(),
        "answers": asked.answers.int(),
        **{f"asked_{name}": part for name, part in _rows_of(asked.evidence).items()},
    }
    if asked.told is not None:
        tensors["told"] = asked.told.tokens.int()
        tensors["told_log_chances"] = asked.told.log_chances
    return files.Content(tensors, {})


def _lesson(content: files.Content, output: Output) -> Lesson:
    tensors = content.tensors
    told, tokens = None, tensors["tokens"].long()
    if "told" in tensors:
        told = Told(tensors["told"].long(), tensors["told_log_chances"])
    asked = {n.removeprefix("asked_"): t for n, t in tensors.items() if n.startswith("asked_")}
    return Lesson(
        Rows(
            keys=tensors["keys"].float(),
            states=tensors["states"].float(),
            tokens=tokens,
            values=tensors["values"].float(),
            right=output.embeddings(tokens),
            losses=tensors["losses"],
            chunks=tensors["chunks"].long(),
        ),
        Asked(_evidence(asked), tensors["answers"].long(), told),
    )


def _rows_of(evidence: Evidence) -> dict[str, torch.Tensor]:
    return {
        "keys": evidence.keys.bfloat16(),
        "states": evidence.states.bfloat16(),
        "tokens": evidence.tokens.int(),
    }


def _evidence(tensors: dict[str, torch.Tensor]) -> Evidence:
    return Evidence(tensors["keys"].float(), tensors["states"].float(), tensors["tokens"].long())
