"""S1, the adapter registry: the only way an adapter gets in, and every way to find one.

Write-once by construction: there is no method that changes or removes weights, and the database
refuses it too. An adapter exists when its row does, and the row is the last thing written.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlmodel import Session

from rune_engine.config import RuneConfig
from rune_engine.database import Database, utc_now
from rune_engine.errors import (
    AdapterAlreadyExistsError,
    InvalidInputError,
)
from rune_engine.inference.provider import AdapterRef
from rune_engine.models import AdapterInfo, AdapterPage, LearntRole
from rune_engine.registry import lifecycle, queries, taught
from rune_engine.registry.files import WEIGHTS_NAME, AdapterFiles, Stored
from rune_engine.registry.lora_config import parse_lora_config
from rune_engine.registry.records import AdapterDraft, AdapterFilter, AdapterRecord, check_id
from rune_engine.registry.weights import AdapterWeights
from rune_engine.storage_errors import storage_errors

MAX_PAGE = 500


@dataclass(frozen=True, slots=True)
class AdapterCounts:
    """How many adapters there are; `by_project` leaves archived ones out."""

    active: int
    archived: int
    by_project: dict[str, int]


class AdapterRegistry:
    """The adapters of one home. Safe to share between threads and between processes."""

    def __init__(self, database: Database, config: RuneConfig) -> None:
        self._database = database
        self._home = config.home
        self._files = AdapterFiles(config)
        self._info = queries.infos(config.home)
        self.taught = taught.TaughtWords(database)
        with storage_errors(self._home):
            self._files.prepare()

    # --- in --------------------------------------------------------------------------------

    def store(
        self,
        draft: AdapterDraft,
        weights: AdapterWeights,
        *,
        learnt_from: Mapping[str, LearntRole] | None = None,
        caused_by: str = "user",
        decided: Callable[[Session], None] | None = None,
        then: Callable[[Session], None] | None = None,
    ) -> AdapterInfo:
        """Store a new adapter; all of it or nothing.

        Args:
            learnt_from: the trajectories that it comes from, and what each was to it.
            caused_by: "user", "schedule" or a job's id, for the event.
            decided: writes down, in the same transaction and before the row, the decision that
                the adapter is stored by, and changes whatever else follows from it.
            then: changes what follows from the new row, in the same transaction.

        Raises:
            InvalidIdError: the id could spell a path.
            InvalidInputError: weights or configuration are not a plain LoRA.
            AdapterAlreadyExistsError: the id is taken, or something is where its folder goes.
            AdapterNotFoundError: a parent does not exist.
            TrajectoryForgottenError: something that it learnt from was erased meanwhile.
            DiskFullError, HomeNotWritableError, StorageError: nothing was stored.
        """
        adapter_id = check_id(draft.id)
        lora = parse_lora_config(weights.config)
        with storage_errors(self._home):
            with self._database.reading() as session:
                _refuse_taken(session, adapter_id)
            with self._files.staged(adapter_id, weights.safetensors, lora) as staged:
                with self._database.writing() as session:
                    _refuse_taken(session, adapter_id)
                    if decided is not None:
                        decided(session)
                    record = self._record(session, draft, staged.stored, lora.r)
                    lifecycle.add(session, record, caused_by=caused_by)
                    lifecycle.note_learnt_from(session, adapter_id, learnt_from or {})
                    taught.note(session, adapter_id, learnt_from or {}, draft.parent_ids)
                    if then is not None:
                        then(session)
                    info = record.to_info(self._home)
                    staged.place()
                return info

    def sweep(self) -> bool:
        """Remove what interrupted writers left: files and folders that no adapter's row leads to.

        Returns:
            False, and nothing is removed, when somebody stores an adapter at this moment.
        """
        with storage_errors(self._home):
            return self._files.sweep(self._weights_by_id)

    def _weights_by_id(self) -> dict[str, str]:
        return dict(self._database.query(queries.WEIGHTS))

    def _record(
        self, session: Session, draft: AdapterDraft, stored: Stored, rank: int
    ) -> AdapterRecord:
        parents = [lifecycle.get(session, parent) for parent in draft.parent_ids]
        inherited = draft.model_dump(exclude={"version", "generation", "parent_ids"})
        return AdapterRecord(
            **inherited,
            version=draft.version or 1 + max((parent.version for parent in parents), default=0),
            generation=draft.generation
            if draft.generation is not None
            else max((parent.generation + 1 for parent in parents), default=0),
            parent_ids=json.dumps(draft.parent_ids),
            rank=rank,
            created_at=utc_now(),
            file_path=str(Path("adapters", draft.id, WEIGHTS_NAME)),
            file_hash=stored.weights_sha256,
            file_size_bytes=stored.size,
            config_hash=stored.config_sha256,
        )

    # --- out -------------------------------------------------------------------------------

    def retrieve_by_id(self, adapter_id: str) -> AdapterInfo:
        """One adapter's metadata, archived or not.

        Raises:
            AdapterNotFoundError: there is no such adapter.
        """
        rows = self._database.query(queries.BY_ID, [check_id(adapter_id)])
        if not rows:
            raise lifecycle.not_found(adapter_id)
        return self._info(rows[0])

    def learnt_from(self, adapter_id: str) -> dict[str, LearntRole]:
        """The trajectories that an adapter learnt from, and what each was to it."""
        with self._database.reading() as session:
            return lifecycle.learnt_from(session, check_id(adapter_id))

    def query_by_task_type(self, task_type: str) -> list[AdapterInfo]:
        """Every adapter of a task type, newest first, without archived ones."""
        return self.matching(AdapterFilter(task_type=task_type))

    def matching(self, wanted: AdapterFilter) -> list[AdapterInfo]:
        """Every one of the wanted adapters, newest first."""
        return [self._info(row) for row in self._database.query(*queries.newest(wanted))]

    def query_best_for_task(
        self, task_type: str, *, project_id: str | None = None, base_model_id: str | None = None
    ) -> AdapterInfo | None:
        """The fittest adapter of a task type; an unevaluated one only when no other is there."""
        return self.best(
            AdapterFilter(task_type=task_type, project_id=project_id, base_model_id=base_model_id)
        )

    def best(self, wanted: AdapterFilter) -> AdapterInfo | None:
        """The fittest of the wanted adapters, unevaluated ones last, then the newest.

        Never an archived or forgotten one, whatever `wanted` includes.
        """
        found = self.fittest(wanted, 1)
        return found[0] if found else None

    def fittest(self, wanted: AdapterFilter, limit: int) -> list[AdapterInfo]:
        """The first of the wanted adapters in the order of `best`."""
        return [self._info(row) for row in self._database.query(*queries.best(wanted, limit))]

    def in_use(self, adapter_ids: Collection[str]) -> list[AdapterInfo]:
        """Those of these adapters that are neither archived nor forgotten, in no order."""
        ids = json.dumps(list(adapter_ids))
        return [self._info(row) for row in self._database.query(queries.IN_USE, [ids])]

    def exists(self, wanted: AdapterFilter) -> bool:
        """Whether there is any of the wanted adapters."""
        return bool(self._database.query(*queries.exists(wanted)))

    def count(self, wanted: AdapterFilter) -> int:
        """How many of the wanted adapters there are."""
        return int(self._database.query(*queries.count(wanted))[0][0])

    def list_all(self) -> list[AdapterInfo]:
        """Every adapter, newest first, archived ones included."""
        return [self._info(row) for row in self._database.query(queries.EVERYTHING)]

    def page(
        self,
        *,
        offset: int = 0,
        limit: int = 50,
        project_id: str | None = None,
        domain: str | None = None,
        task_type: str | None = None,
        base_model_id: str | None = None,
        include_archived: bool = False,
    ) -> AdapterPage:
        """A page of adapters, newest first; at most `MAX_PAGE` of them."""
        wanted = AdapterFilter(
            project_id=project_id,
            domain=domain,
            task_type=task_type,
            base_model_id=base_model_id,
            include_archived=include_archived,
        )
        offset, limit = max(offset, 0), min(max(limit, 1), MAX_PAGE)
        count, counted = queries.count(wanted)
        newest, values = queries.newest(wanted)
        with self._database.snapshot() as connection:
            total = connection.execute(count, counted).fetchone()[0]
            rows = connection.execute(f"{newest} LIMIT ? OFFSET ?", [*values, limit, offset])
            adapters = [self._info(row) for row in rows]
        end = offset + len(adapters)
        return AdapterPage(
            adapters=adapters,
            total=total,
            offset=offset,
            next_offset=end if adapters and end < total else None,
        )

    def counts(self) -> AdapterCounts:
        """How many adapters there are, by project."""
        rows = self._database.query(queries.COUNTS)
        by_project = {project: count for project, archived, count in rows if not archived}
        archived = sum(count for _, archived, count in rows if archived)
        return AdapterCounts(sum(by_project.values()), archived, by_project)

    def verified_ref(self, adapter_id: str) -> AdapterRef:
        """The adapter for a provider to load, after reading and hashing its files.

        Raises:
            AdapterNotFoundError: there is no such adapter.
            AdapterForgottenError: something that it learnt from was forgotten.
            AdapterCorruptedError: its files are not what was stored.
        """
        rows = self._database.query(queries.STORED, [check_id(adapter_id)])
        if not rows:
            raise lifecycle.not_found(adapter_id)
        weights_sha256, config_sha256, size, base_model_id, forgotten_at = rows[0]
        if forgotten_at is not None:
            raise lifecycle.forgotten(adapter_id)
        with storage_errors(self._home):
            folder = self._files.verify(adapter_id, Stored(weights_sha256, config_sha256, size))
        return AdapterRef(adapter_id, folder, weights_sha256, base_model_id)

    # --- what is learnt of an adapter later ------------------------------------------------

    def archive(self, adapter_id: str, *, reason: str = "", caused_by: str = "user") -> AdapterInfo:
        """Take an adapter out of use; its files and its row stay."""
        with self._database.writing() as session:
            return lifecycle.archive(
                session, check_id(adapter_id), reason=reason, caused_by=caused_by
            ).to_info(self._home)

    def restore(self, adapter_id: str, *, reason: str = "", caused_by: str = "user") -> AdapterInfo:
        """Put an archived adapter in use again, once its files are what was stored.

        Raises:
            AdapterNotFoundError: there is no such adapter.
            AdapterForgottenError: something that it learnt from was forgotten.
            AdapterCorruptedError: its files are not what was stored.
        """
        self.verified_ref(adapter_id)
        with self._database.writing() as session:
            return lifecycle.restore(
                session, check_id(adapter_id), reason=reason, caused_by=caused_by
            ).to_info(self._home)

    def update_fitness(
        self,
        adapter_id: str,
        pass_rate: float | None,
        fitness_score: float | None,
        *,
        tasks: int | None = None,
        samples_per_task: int | None = None,
        caused_by: str = "user",
    ) -> AdapterInfo:
        """Record an evaluation: `pass_rate` is 0 to 1, `fitness_score` any finite number.

        `tasks` and `samples_per_task` say how much it rests on; they are kept in its event.

        Raises:
            InvalidInputError: a number is out of range.
        """
        in_range = pass_rate is None or 0.0 <= pass_rate <= 1.0
        if not in_range or (fitness_score is not None and not math.isfinite(fitness_score)):
            raise InvalidInputError(
                f"pass_rate {pass_rate} or fitness_score {fitness_score} is out of range.",
                next_step="pass_rate is between 0 and 1, fitness_score a finite number.",
            )
        with self._database.writing() as session:
            return lifecycle.measure(
                session,
                check_id(adapter_id),
                pass_rate=pass_rate,
                fitness_score=fitness_score,
                tasks=tasks,
                samples_per_task=samples_per_task,
                caused_by=caused_by,
            ).to_info(self._home)

    def forget(self, adapter_ids: Collection[str], *, caused_by: str = "user") -> list[str]:
        """Take adapters out of use for good; see `lifecycle.mark_forgotten`."""
        with self._database.writing() as session:
            return lifecycle.mark_forgotten(
                session, [check_id(adapter_id) for adapter_id in adapter_ids], caused_by=caused_by
            )


def _refuse_taken(session: Session, adapter_id: str) -> None:
    if session.get(AdapterRecord, adapter_id) is not None:
        raise AdapterAlreadyExistsError(
            f"Adapter {adapter_id} already exists.",
            next_step="Adapters are never replaced: store it under a new id.",
        )
