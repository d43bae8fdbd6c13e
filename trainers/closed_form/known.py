"""What a base model knows already, which a memory must leave alone: computed once a base model.

    python -m trainers.closed_form.known BASE_MODEL_FOLDER

writes it into the folder, as `statistics/known.safetensors`, for a base model that ships with it.
It is C, the mean of k k^T over answers that nobody's project has anything to do with: the tasks of
`rehearsal.jsonl` beside the model, and functions of the standard library with their docstrings as
tasks. Kept as rows, of which there are never more than 1,024, so that wide models' fit.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from itertools import zip_longest
from pathlib import Path
from types import FunctionType

import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

import prompts
from rune_engine.errors import TrainingError
from rune_engine.statistic_files import KNOWN
from trainers import dataset
from trainers.closed_form import base_files, files
from trainers.closed_form.evidence import Reader
from trainers.closed_form.statistics import exact_columns, products
from trainers.tokens import IGNORED, Example, encode

FORMAT = 1
"""Raised when the same base model's would be made differently."""
SHIPPED = Path("statistics", KNOWN)
"""Within a base model's folder: beside the weights, others would take it for some of them."""
MOST_ROWS = 1024
MOST_TOKENS = 6000
_MAX_LENGTH = 512
_MODULES = (
    "base64", "bisect", "calendar", "colorsys", "configparser", "csv", "difflib", "fnmatch",
    "fractions", "functools", "gettext", "glob", "gzip", "heapq", "html", "inspect", "ipaddress",
    "json", "linecache", "locale", "mimetypes", "pkgutil", "posixpath", "pprint", "quopri",
    "random", "re", "shlex", "shutil", "stat", "statistics", "string", "tempfile", "textwrap",
    "timeit", "tokenize", "traceback", "urllib.parse", "uuid", "warnings", "zipfile",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Known:
    """C, the mean of k k^T: rows^T rows + rest I.

    Attributes:
        rows: [rows, width], float32.
        rest: what the directions that were left out hold, spread over all.
    """

    rows: Tensor
    rest: float = 0.0

    @classmethod
    def of(cls, keys: Tensor, most: int = MOST_ROWS) -> Known:
        """The mean over rows of keys, as at most so many rows: its largest directions."""
        if len(keys) <= most:
            return cls._kept(keys / len(keys) ** 0.5, 0.0)
        wide = keys.shape[1] > len(keys)
        sizes, directions = torch.linalg.eigh(products(keys if wide else keys.T) / len(keys))
        left = float(sizes[:-most].clamp(min=0).sum()) / keys.shape[1]
        sizes, directions = sizes[-most:].clamp(min=0), directions[:, -most:]
        if not wide:
            return cls._kept(directions.T * sizes.sqrt().unsqueeze(1), left)
        mixed = directions.T / len(keys) ** 0.5
        return cls._kept(torch.cat([mixed @ part for part in exact_columns(keys)], dim=1), left)

    @classmethod
    def _kept(cls, rows: Tensor, rest: float) -> Known:
        return cls(rows.bfloat16().float(), rest)

    def mean(self) -> Tensor:
        """C itself, float64, [width, width]."""
        exact = self.rows.double()
        found = exact.T @ exact
        found.diagonal().add_(self.rest)
        return found


def load(paths: Iterable[Path], base: str) -> Known | None:
    """The first of these files that is of the base model with this identity."""
    for path in paths:
        content = files.read(path, _source(base))
        if content is not None:
            return Known(content.tensors["rows"].float(), content.numbers["rest"])
    return None


def keep(path: Path, base: str, known: Known) -> None:
    """Write it down.

    Raises:
        DiskFullError, HomeNotWritableError: it cannot be written.
    """
    content = files.Content({"rows": known.rows.bfloat16()}, {"rest": known.rest})
    files.write(path, _source(base), content)


def examples(folder: Path, tokenizer: PreTrainedTokenizerBase) -> list[Example]:
    """What is asked of the base model: half of it from its rehearsal, if it has one."""
    rehearsal = dataset.load_rehearsal(folder, tokenizer, _MAX_LENGTH)
    found = _up_to(rehearsal, MOST_TOKENS // 2)
    return found + _up_to(_library(tokenizer), MOST_TOKENS - answer_tokens(found))


def compute(reader: Reader, asked: Sequence[Example]) -> Known:
    """Read the examples.

    Raises:
        TrainingError: there are none.
    """
    if not asked:
        raise TrainingError(
            "There is nothing to ask of the base model: no rehearsal, no standard library's code.",
            next_step="Put a `rehearsal.jsonl` beside it.",
        )
    return Known.of(reader.read(asked).keys)


def _library(tokenizer: PreTrainedTokenizerBase) -> Iterator[Example]:
    """Functions of the standard library, one of each module in turn."""
    modules = [list(_functions(name)) for name in _MODULES]
    for function in (each for turn in zip_longest(*modules) for each in turn if each):
        with suppress(OSError):  # an installation without sources
            task = f"{function.__module__}.{function.__name__}: {inspect.getdoc(function)}"
            answer = prompts.render("answer", code=inspect.getsource(function))
            example = encode(tokenizer, prompts.conversation(task), answer, 4 * _MAX_LENGTH)
            if len(example.ids) <= _MAX_LENGTH:
                yield example


def _functions(module: str) -> Iterator[FunctionType]:
    """Those that the module itself defines and documents, if this Python has it."""
    with suppress(ImportError):
        for _, value in inspect.getmembers(import_module(module), inspect.isfunction):
            if value.__module__ == module and inspect.getdoc(value):
                yield value


def _up_to(found: Iterable[Example], tokens: int) -> list[Example]:
    """The first of them, of at most so many answer tokens in all."""
    chosen: list[Example] = []
    for example in found:
        tokens -= answer_tokens([example])
        if tokens < 0:
            break
        chosen.append(example)
    return chosen


def answer_tokens(found: Sequence[Example]) -> int:
    """How many rows reading them gives."""
    return sum(label != IGNORED for example in found for label in example.labels[1:])


def _source(base: str) -> str:
    return f"known {FORMAT} {base}"


def main(folder: Path) -> None:
    """Compute it for the base model in `folder` and leave it there."""
    base_files.shape_of(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    reader = Reader.load(folder, "cpu", torch.float32)
    known = compute(reader, examples(folder, tokenizer))
    keep(folder / SHIPPED, base_files.identity(folder), known)
    print(f"{folder / SHIPPED}: {len(known.rows)} rows, {known.rest:.3g} left out")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
