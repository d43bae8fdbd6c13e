"""S30 on the wire: what to forget, what depended on it, and the proof."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from rune_engine.models.base import Identifier, Model, Name


class ForgetParams(Model):
    """What to forget: a whole project, or one session."""

    project_id: Name | None = None
    session_id: Identifier | None = None
    rebuild: bool = Field(
        default=False, description="Distill the adapters anew from what else they learnt from."
    )

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.project_id is None) == (self.session_id is None):
            raise ValueError("name either a project or a session")
        return self

    @property
    def subject(self) -> str:
        return str(self.project_id or self.session_id)

    @property
    def subject_kind(self) -> Literal["project", "session"]:
        return "project" if self.project_id is not None else "session"


Because = Literal["it was trained on it", "it was measured on it", "a parent", "not known"]


class ForgottenAdapter(Model):
    """An adapter that is never served again, and why; `learnt_from` counts what was erased."""

    adapter_id: str
    project_id: str
    because: Because
    learnt_from: int
    parents: list[str] = Field(description="Its forgotten parents, when that is the reason.")
    rebuild: str | None = Field(
        default=None, description="The job that rebuilds it without them, or why there is none."
    )


class ForgetProof(Model):
    """A search of every byte of the home for the erased text, made after erasing it."""

    files_searched: int
    bytes_searched: int
    lines_searched: int = Field(description="Lines of the erased text that nothing else has.")
    found_in: list[str] = Field(description="Files that still hold one; empty is the proof.")
    removed: list[str] = Field(description="Files removed or emptied because they held it.")
    backups: list[str] = Field(
        default=[], description="Backups made earlier: they hold it until you remove them."
    )


class ForgetReport(Model):
    """What depended on what, and what was done; `done` is false when it was only looked at."""

    scope: Literal["project", "session"]
    subject: str
    done: bool
    trajectory_ids: list[str]
    sessions: int
    jobs: int
    cancelled_jobs: list[str] = Field(default=[])
    adapters: list[ForgottenAdapter]
    proof: ForgetProof | None = None
