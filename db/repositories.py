"""Data sets, training jobs and models in SQL."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

from sqlalchemy import Select, bindparam, func, insert, select, tuple_, update
from sqlalchemy.orm import Session

from core.datasets import Dataset
from core.errors import AlreadyExists, IllegalTransition, NotFound, RequestIdReused
from core.paging import Page, PageRequest
from core.registry import AliasMove, ModelVersion
from core.search import SearchTrial
from core.training import EpochProgress, JobEvent, JobState, TrainingJob
from db import mappers
from db.inserts import insert_into
from db.mappers import to_us
from db.tables import (
    AliasMoveRow,
    DatasetRow,
    JobEventRow,
    MetricRow,
    ModelAliasRow,
    ModelVersionRow,
    SearchTrialRow,
    TrainingJobRow,
)

T = TypeVar("T")
_DATASET_IDENTITY: Final = ("id", "digest", "create_time")
"""A name alone may belong to another data set by now."""

# Built once: every classification asks these.
_DIGEST_OF: Final = select(ModelVersionRow.digest).where(ModelVersionRow.id == bindparam("version"))
_ALIASED: Final = (
    select(ModelVersionRow.id, ModelVersionRow.digest)
    .join(ModelAliasRow, ModelAliasRow.model_version == ModelVersionRow.id)
    .where(ModelAliasRow.alias == bindparam("alias"))
)

_Listed = type[DatasetRow] | type[TrainingJobRow] | type[ModelVersionRow]


def _insert_new(session: Session, table: _Listed, values: Mapping[str, Any], name: str) -> None:
    """Insert the resource ``name``; the transaction stays usable when it exists already.

    Raises ``AlreadyExists``, or ``RequestIdReused`` if the request id is what is taken.
    """
    statement = insert_into(session, table).values(**values).on_conflict_do_nothing()
    if session.execute(statement.returning(table.id)).first() is not None:
        return
    if session.get(table, values["id"]) is None:
        raise RequestIdReused(values["request_id"])
    raise AlreadyExists(name)


def _page_of(session: Session, table: _Listed, page: PageRequest) -> tuple[list[Any], Any]:
    """The page's rows, newest first, and the cursor behind them if there are more."""
    query: Select[Any] = select(table).order_by(table.create_time.desc(), table.id.desc())
    if page.after is not None:
        query = query.where(tuple_(table.create_time, table.id) < tuple_(*page.after))
    rows = list(session.scalars(query.limit(page.size + 1)))
    shown = rows[: page.size]
    more = len(rows) > page.size
    return shown, (shown[-1].create_time, shown[-1].id) if more else None


def _mapped(rows: Sequence[Any], cursor: Any, mapper: Callable[[Any], T]) -> Page[T]:
    return Page(items=tuple(mapper(row) for row in rows), next=cursor)


class SqlDatasets:
    """:class:`core.ports.DatasetRepository` in SQL."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, dataset: Dataset) -> None:
        _insert_new(self._session, DatasetRow, mappers.dataset_values(dataset), dataset.name)

    def get(self, dataset_id: str) -> Dataset:
        return mappers.dataset_from_row(self._row(dataset_id))

    def find_by_request(self, caller: str, request_id: str) -> Dataset | None:
        row = self._session.scalar(
            select(DatasetRow).where(
                DatasetRow.caller == caller, DatasetRow.request_id == request_id
            )
        )
        return None if row is None else mappers.dataset_from_row(row)

    def same_as(self, dataset: Dataset) -> tuple[str, ...]:
        others = (
            select(DatasetRow.id)
            .where(DatasetRow.digest == dataset.digest, DatasetRow.id != dataset.id)
            .order_by(DatasetRow.create_time, DatasetRow.id)
        )
        return tuple(self._session.scalars(others))

    def list(self, page: PageRequest) -> Page[Dataset]:
        return _mapped(*_page_of(self._session, DatasetRow, page), mappers.dataset_from_row)

    def save_audit(self, dataset: Dataset) -> bool:
        values = mappers.dataset_values(dataset)
        identity = (getattr(DatasetRow, name) == values[name] for name in _DATASET_IDENTITY)
        statement = update(DatasetRow).where(*identity).values(audit=values["audit"])
        result: Any = self._session.execute(statement)
        return bool(result.rowcount)

    def lock(self, dataset_id: str) -> Dataset:
        return mappers.dataset_from_row(self._row(dataset_id, lock=True))

    def delete(self, dataset_id: str) -> None:
        self._session.delete(self._row(dataset_id))
        self._session.flush()

    def _row(self, dataset_id: str, *, lock: bool = False) -> DatasetRow:
        row = self._session.get(DatasetRow, dataset_id, with_for_update=lock or None)
        if row is None:
            raise NotFound(f"datasets/{dataset_id}")
        return row


class SqlTrainingJobs:
    """:class:`core.ports.TrainingJobRepository` in SQL."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, job: TrainingJob) -> None:
        _insert_new(self._session, TrainingJobRow, mappers.job_values(job), job.name)

    def get(self, job_id: str) -> TrainingJob:
        row = self._session.get(TrainingJobRow, job_id, populate_existing=True)
        if row is None:
            raise NotFound(f"trainingJobs/{job_id}")
        return mappers.job_from_row(row)

    def find_by_request(self, caller: str, request_id: str) -> TrainingJob | None:
        row = self._session.scalar(
            select(TrainingJobRow).where(
                TrainingJobRow.caller == caller, TrainingJobRow.request_id == request_id
            )
        )
        return None if row is None else mappers.job_from_row(row)

    def list(self, page: PageRequest) -> Page[TrainingJob]:
        return _mapped(*_page_of(self._session, TrainingJobRow, page), mappers.job_from_row)

    def save(self, job: TrainingJob, *, expected: JobState) -> None:
        changed = self._update(
            update(TrainingJobRow)
            .where(TrainingJobRow.id == job.id, TrainingJobRow.state == str(expected))
            .values(**mappers.mutable_job_values(job))
        )
        if not changed:
            raise IllegalTransition(job.name, self.get(job.id).state, job.state)

    def claim(self, job_id: str, worker: str, at: datetime) -> TrainingJob | None:
        changed = self._update(
            update(TrainingJobRow)
            .where(TrainingJobRow.id == job_id, TrainingJobRow.state == str(JobState.QUEUED))
            .values(
                state=str(JobState.RUNNING),
                worker=worker,
                attempt=TrainingJobRow.attempt + 1,
                futile_attempts=TrainingJobRow.futile_attempts + 1,
                heartbeat_time=to_us(at),
                update_time=to_us(at),
                start_time=func.coalesce(TrainingJobRow.start_time, to_us(at)),
            )
        )
        return self.get(job_id) if changed else None

    def heartbeat(
        self,
        job_id: str,
        worker: str,
        at: datetime,
        progress: float,
        stage: str,
        *,
        got_further: bool = False,
    ) -> JobState:
        values = {"heartbeat_time": to_us(at), "update_time": to_us(at)}
        if got_further:
            values["futile_attempts"] = 0
        changed = self._update(
            update(TrainingJobRow)
            .where(
                TrainingJobRow.id == job_id,
                TrainingJobRow.worker == worker,
                TrainingJobRow.state.in_([str(JobState.RUNNING), str(JobState.CANCELLING)]),
            )
            .values(progress=progress, stage=stage, **values)
        )
        state = self.get(job_id).state
        return state if changed else JobState.CANCELLED

    def mark_enqueued(self, job_id: str, at: datetime) -> None:
        changed = self._update(
            update(TrainingJobRow).where(TrainingJobRow.id == job_id).values(enqueue_time=to_us(at))
        )
        if not changed:
            raise NotFound(f"trainingJobs/{job_id}")

    def waiting(self, enqueued_before: datetime) -> tuple[TrainingJob, ...]:
        row = TrainingJobRow
        unsent = row.enqueue_time.is_(None) | (row.enqueue_time < to_us(enqueued_before))
        return self._all(select(row).where(row.state == str(JobState.QUEUED), unsent))

    def held(self) -> tuple[TrainingJob, ...]:
        states = [str(JobState.RUNNING), str(JobState.CANCELLING)]
        return self._all(select(TrainingJobRow).where(TrainingJobRow.state.in_(states)))

    def unfinished_on(self, dataset_id: str) -> tuple[TrainingJob, ...]:
        unfinished = [str(state) for state in JobState if not state.finished]
        return self._all(
            select(TrainingJobRow).where(
                TrainingJobRow.dataset == dataset_id, TrainingJobRow.state.in_(unfinished)
            )
        )

    def add_event(
        self,
        job_id: str,
        at: datetime,
        state: JobState,
        message: str,
        epoch: EpochProgress | None = None,
    ) -> JobEvent:
        event = JobEvent(
            job=job_id,
            sequence=self._next_event(job_id),
            create_time=at,
            state=state,
            message=message,
            epoch=epoch,
        )
        self._session.execute(insert(JobEventRow), [mappers.event_values(event)])
        return event

    def events(self, job_id: str, after: int = 0) -> tuple[JobEvent, ...]:
        rows = self._session.scalars(
            select(JobEventRow)
            .where(JobEventRow.job == job_id, JobEventRow.sequence > after)
            .order_by(JobEventRow.sequence)
        )
        return tuple(mappers.event_from_row(row) for row in rows)

    def add_trial(self, job_id: str, trial: SearchTrial) -> None:
        if self._session.get(TrainingJobRow, job_id) is None:
            raise NotFound(f"trainingJobs/{job_id}")
        values = mappers.trial_values(job_id, trial)
        statement = insert_into(self._session, SearchTrialRow).values(**values)
        self._session.execute(statement.on_conflict_do_nothing())

    def trials(self, job_id: str) -> tuple[SearchTrial, ...]:
        rows = self._session.scalars(
            select(SearchTrialRow)
            .where(SearchTrialRow.job == job_id)
            .order_by(SearchTrialRow.number)
        )
        return tuple(mappers.trial_from_row(row) for row in rows)

    def _next_event(self, job_id: str) -> int:
        """The next free sequence; the job's row is locked, so that it stays free."""
        job = select(TrainingJobRow.id).where(TrainingJobRow.id == job_id).with_for_update()
        if self._session.scalar(job) is None:
            raise NotFound(f"trainingJobs/{job_id}")
        last = select(func.max(JobEventRow.sequence)).where(JobEventRow.job == job_id)
        return (self._session.scalar(last) or 0) + 1

    def _all(self, query: Select[TrainingJobRow]) -> tuple[TrainingJob, ...]:
        rows = self._session.scalars(query.order_by(TrainingJobRow.create_time, TrainingJobRow.id))
        return tuple(mappers.job_from_row(row) for row in rows)

    def _update(self, statement: Any) -> bool:
        """Whether the statement changed a row."""
        result: Any = self._session.execute(statement.execution_options(synchronize_session=False))
        return bool(result.rowcount)


class SqlModels:
    """:class:`core.ports.ModelRepository` in SQL."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, version: ModelVersion) -> None:
        _insert_new(self._session, ModelVersionRow, mappers.model_values(version), version.name)
        self._session.execute(
            insert(MetricRow),
            [
                {"model_version": version.id, "name": name, "value": value}
                for name, value in mappers.metric_values(version).items()
            ],
        )

    def get(self, version_id: str) -> ModelVersion:
        row = self._session.get(ModelVersionRow, version_id)
        if row is None:
            raise NotFound(f"modelVersions/{version_id}")
        return mappers.model_from_row(row, self._aliases_of([row.id]).get(row.id, ()))

    def list(self, page: PageRequest) -> Page[ModelVersion]:
        rows, cursor = _page_of(self._session, ModelVersionRow, page)
        aliases = self._aliases_of([row.id for row in rows])
        return _mapped(
            rows, cursor, lambda row: mappers.model_from_row(row, aliases.get(row.id, ()))
        )

    def digest_of(self, version_id: str) -> str:
        digest: str | None = self._session.scalar(_DIGEST_OF, {"version": version_id})
        if digest is None:
            raise NotFound(f"modelVersions/{version_id}")
        return digest

    def aliased(self, alias: str) -> tuple[str, str] | None:
        found = self._session.execute(_ALIASED, {"alias": alias}).first()
        return None if found is None else (found.id, found.digest)

    def lock_alias(self, alias: str) -> None:
        self._session.execute(
            select(ModelAliasRow.alias).where(ModelAliasRow.alias == alias).with_for_update()
        )

    def move_alias(
        self, alias: str, version_id: str, at: datetime, caller: str, reason: str
    ) -> AliasMove:
        self.digest_of(version_id)
        self._point(alias, version_id)
        last = next(iter(self._moves(alias, limit=1)), None)
        move = AliasMove(
            alias=alias,
            sequence=last.sequence + 1 if last else 1,
            create_time=at,
            caller=caller,
            from_version=last.to_version if last else None,
            to_version=version_id,
            reason=reason,
        )
        self._session.execute(insert(AliasMoveRow), [mappers.move_values(move)])
        return move

    def alias_history(self, alias: str) -> tuple[AliasMove, ...]:
        return self._moves(alias)

    def alias_moves(self, alias: str, page: PageRequest) -> Page[AliasMove]:
        before = None if page.after is None else int(page.after[0])
        moves = self._moves(alias, limit=page.size + 1, before=before)
        shown = moves[: page.size]
        cursor = (shown[-1].sequence,) if len(moves) > page.size else None
        return Page(items=shown, next=cursor)

    def _point(self, alias: str, version_id: str) -> None:
        """Also locks the alias, even one that is new: a move at the same time waits its turn."""
        values = {"alias": alias, "model_version": version_id}
        statement = insert_into(self._session, ModelAliasRow).values(**values)
        self._session.execute(
            statement.on_conflict_do_update(
                index_elements=[ModelAliasRow.alias], set_={"model_version": version_id}
            )
        )

    def _moves(
        self, alias: str, *, limit: int | None = None, before: int | None = None
    ) -> tuple[AliasMove, ...]:
        """Newest first; ``before`` is the sequence that all of them are below."""
        query = select(AliasMoveRow).where(AliasMoveRow.alias == alias)
        if before is not None:
            query = query.where(AliasMoveRow.sequence < before)
        rows = self._session.scalars(query.order_by(AliasMoveRow.sequence.desc()).limit(limit))
        return tuple(mappers.move_from_row(row) for row in rows)

    def _aliases_of(self, version_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        rows = self._session.scalars(
            select(ModelAliasRow)
            .where(ModelAliasRow.model_version.in_(version_ids))
            .order_by(ModelAliasRow.alias)
        )
        aliases: dict[str, tuple[str, ...]] = {}
        for row in rows:
            aliases[row.model_version] = (*aliases.get(row.model_version, ()), row.alias)
        return aliases
