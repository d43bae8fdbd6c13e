"""Loads benchmark suites in HumanEval's or MBPP's format into tasks. Knows no model and no sandbox.

One JSON object a line, plain or gzip-compressed; which format it is follows from its fields, and is
the same for the whole file. HumanEval: `task_id`, `prompt`, `canonical_solution`, `test`,
`entry_point` (https://github.com/openai/human-eval). MBPP: `task_id`, `text` (`prompt` in the
sanitized edition), `code`, `test_list`, and `test_setup_code` or `test_imports`
(https://github.com/google-research/google-research/tree/master/mbpp). As its paper does (Austin et
al. 2021), the tests are part of what is asked: nothing else names the function.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from rune_engine.errors import InvalidInputError

_NEXT_STEP = "Pass a .jsonl or .jsonl.gz file in HumanEval's or MBPP's format."


@dataclass(frozen=True)
class SuiteTask:
    """One task: what is asked, the tests that decide, and a solution known to pass them."""

    task_id: str
    task_description: str
    test_suite: str
    reference_solution: str


class _HumanEval(BaseModel):
    """A line of the file; suites in the wild carry more fields, which are left alone."""

    model_config = ConfigDict(extra="ignore", strict=True)

    task_id: str
    prompt: str
    canonical_solution: str
    test: str
    entry_point: str = Field(pattern=r"^[^\W\d]\w*$")

    def to_task(self) -> SuiteTask:
        return SuiteTask(
            task_id=self.task_id,
            task_description=f"Complete this function.\n```python\n{self.prompt}\n```",
            test_suite=f"{self.test}\ncheck({self.entry_point})\n",
            reference_solution=self.prompt + self.canonical_solution,
        )


class _Mbpp(BaseModel):
    """A line of MBPP, or of its sanitized edition."""

    model_config = ConfigDict(extra="ignore", strict=True)

    task_id: int | str
    text: str = Field(validation_alias=AliasChoices("text", "prompt"))
    code: str
    test_list: list[str] = Field(min_length=1)
    test_setup_code: str = ""
    test_imports: list[str] = Field(default_factory=list)

    def to_task(self) -> SuiteTask:
        tests = "\n".join(self.test_list)
        setup = "\n".join(filter(None, (*self.test_imports, self.test_setup_code.strip())))
        return SuiteTask(
            task_id=f"MBPP/{self.task_id}",
            task_description=f"{self.text.strip()}\nYour code must pass these tests:\n{tests}",
            test_suite="\n".join(filter(None, (setup, tests))) + "\n",
            reference_solution=self.code.replace("\r\n", "\n"),
        )


def _format_of(line: str) -> type[_HumanEval] | type[_Mbpp]:
    """The format of a file with this line; what is no object is HumanEval's to refuse."""
    try:
        fields = json.loads(line)
    except ValueError:
        return _HumanEval
    return _Mbpp if isinstance(fields, dict) and "test_list" in fields else _HumanEval


def load_suite(path: Path, limit: int | None = None) -> list[SuiteTask]:
    """The first `limit` tasks of the suite in `path`, or all of them, in file order.

    Raises:
        InvalidInputError: the file is missing, unreadable, empty, or one of its lines is no task.
    """
    if limit is not None and limit < 1:
        raise InvalidInputError(
            f"A suite cannot be cut to {limit} tasks.", next_step="Use 1 or more."
        )
    tasks: list[SuiteTask] = []
    row: type[_HumanEval] | type[_Mbpp] | None = None
    for number, line in _lines(path):
        if len(tasks) == limit:
            break
        try:
            row = row or _format_of(line)
            tasks.append(row.model_validate_json(line).to_task())
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise InvalidInputError(
                f"{path}, line {number}: {f'{where}: ' if where else ''}{first['msg']}.",
                next_step=_NEXT_STEP,
            ) from error
    if not tasks:
        raise InvalidInputError(f"{path} holds no tasks.", next_step=_NEXT_STEP)
    return tasks


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number from 1, text) of the lines that are not blank."""
    number = 0
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise InvalidInputError(
            f"The suite {path} cannot be read after line {number}: {error}", next_step=_NEXT_STEP
        ) from error
