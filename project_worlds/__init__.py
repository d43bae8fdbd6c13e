"""Project worlds: seeded generators of small projects that no model has seen.

    project = make_project(seed=7)
    project.write(folder)                       # a real, importable package
    sessions = make_sessions(project, 12)       # what an agent would have recorded
    held_out = make_held_out(project, sessions) # what it is asked afterwards

They are the ground on which memory is taught and measured where no real project may be used:
everything about them is known, and nothing of them can be guessed. This package imports nothing
but the standard library and its own modules.
"""

from project_worlds.names import Split, split_of
from project_worlds.operations import OPERATIONS, Operation
from project_worlds.project import Conventions, Project, Step, make_project
from project_worlds.sessions import HeldOut, Session, make_held_out, make_sessions
from project_worlds.tasks import Task, make_plain_task, make_project_task

__all__ = [
    "OPERATIONS",
    "Conventions",
    "HeldOut",
    "Operation",
    "Project",
    "Session",
    "Split",
    "Step",
    "Task",
    "make_held_out",
    "make_plain_task",
    "make_project",
    "make_project_task",
    "make_sessions",
    "split_of",
]
