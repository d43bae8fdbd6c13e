"""What the worlds' tasks ask for: operations on small values, each in many wordings.

An operation has one `title` (the comment a house solution writes above its call) and several
`wordings` (how a task may ask for it). `plain` is the operation in plain Python, which is what a
project's helper function does. No phrase has a comma or an "and": tasks join phrases with them.
"""

from project_worlds.operations.numbers import NUMBERS
from project_worlds.operations.operation import Kind, Operation
from project_worlds.operations.tables import TABLES
from project_worlds.operations.text import TEXT
from project_worlds.operations.words import WORDS

__all__ = ["BY_KEY", "OPERATIONS", "Kind", "Operation"]

OPERATIONS: tuple[Operation, ...] = (*NUMBERS, *WORDS, *TEXT, *TABLES)
BY_KEY: dict[str, Operation] = {operation.key: operation for operation in OPERATIONS}
