"""The store in memory, with real transactions: leaving without commit changes nothing."""

import copy
import io
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from operator import eq, ge, gt, le, lt, ne
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar

from core.audit_chain import ChainHead, row_hash
from core.datasets import Dataset
from core.errors import AlreadyExists, IllegalTransition, NotFound, RequestIdReused
from core.filters import And, Comparison, Filter, Not, Operator, Or
from core.paging import Page, PageRequest
from core.ports import AuditLog, DatasetRepository, ModelRepository, TrainingJobRepository
from core.prediction import AuditEntry, AuditRecord, Outcome, Review
from core.registry import AliasMove, ModelVersion
from core.search import SearchTrial
from core.training import EpochProgress, JobEvent, JobState, TrainingJob
from db.artefacts import check_key
from db.mappers import to_us

T = TypeVar("T")


class FakeClock:
    """Stands still until told to move."""

    def __init__(self) -> None:
        self.time = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class FakeArtefactStore:
    """Named bytes in a dictionary, and when what is ``unfinished`` was last written to."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.unfinished: list[datetime] = []

    def put(self, key: str, data: bytes) -> None:
        self.files[check_key(key)] = bytes(data)

    def put_file(self, key: str, source: Path) -> None:
        self.put(key, source.read_bytes())

    def get(self, key: str) -> bytes:
        try:
            return self.files[check_key(key)]
        except KeyError:
            raise NotFound(key) from None

    def open(self, key: str) -> BinaryIO:
        return io.BytesIO(self.get(key))

    def exists(self, key: str) -> bool:
        return check_key(key) in self.files

    def list(self, prefix: str) -> tuple[str, ...]:
        start = check_key(prefix) + "/"
        return tuple(sorted(k for k in self.files if k == prefix or k.startswith(start)))

    def delete(self, prefix: str) -> None:
        for key in self.list(prefix):
            del self.files[key]

    def remove_unfinished(self, untouched_since: datetime) -> int:
        kept = [time for time in self.unfinished if time >= untouched_since]
        removed, self.unfinished = len(self.unfinished) - len(kept), kept
        return removed


@dataclass
class State:
    """Everything the fake store holds; the records themselves are immutable."""

    datasets: dict[str, Dataset] = field(default_factory=dict)
    jobs: dict[str, TrainingJob] = field(default_factory=dict)
    events: dict[str, list[JobEvent]] = field(default_factory=dict)
    trials: dict[str, tuple[SearchTrial, ...]] = field(default_factory=dict)
    versions: dict[str, ModelVersion] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    moves: list[AliasMove] = field(default_factory=list)
    records: list[AuditRecord] = field(default_factory=list)
    reviews: list[Review] = field(default_factory=list)

    def clone(self) -> "State":
        return State(**{name: copy.copy(value) for name, value in vars(self).items()})


def _page(rows: Iterable[T], page: PageRequest, key: Callable[[T], tuple[Any, ...]]) -> Page[T]:
    """Newest first by ``key``."""
    ordered = sorted(rows, key=key, reverse=True)
    if page.after is not None:
        ordered = [row for row in ordered if key(row) < page.after]
    shown = tuple(ordered[: page.size])
    return Page(items=shown, next=key(shown[-1]) if len(ordered) > page.size else None)


def _by_time(row: Any) -> tuple[int, str]:
    return to_us(row.create_time), row.id


def _by_time_and_sequence(record: AuditRecord) -> tuple[int, int]:
    return to_us(record.create_time), record.sequence


class FakeDatasets:
    def __init__(self, state: State) -> None:
        self._state = state

    def add(self, dataset: Dataset) -> None:
        if dataset.id in self._state.datasets:
            raise AlreadyExists(dataset.name)
        if dataset.request_id and self.find_by_request(dataset.caller, dataset.request_id):
            raise RequestIdReused(dataset.request_id)
        self._state.datasets[dataset.id] = dataset

    def get(self, dataset_id: str) -> Dataset:
        try:
            return self._state.datasets[dataset_id]
        except KeyError:
            raise NotFound(f"datasets/{dataset_id}") from None

    def lock(self, dataset_id: str) -> Dataset:
        """Whoever writes has the whole store locked."""
        return self.get(dataset_id)

    def find_by_request(self, caller: str, request_id: str) -> Dataset | None:
        rows = self._state.datasets.values()
        return next((d for d in rows if (d.caller, d.request_id) == (caller, request_id)), None)

    def same_as(self, dataset: Dataset) -> tuple[str, ...]:
        rows = sorted(self._state.datasets.values(), key=lambda d: (d.create_time, d.id))
        return tuple(d.id for d in rows if d.digest == dataset.digest and d.id != dataset.id)

    def list(self, page: PageRequest) -> Page[Dataset]:
        return _page(self._state.datasets.values(), page, _by_time)

    def save_audit(self, dataset: Dataset) -> bool:
        kept = self._state.datasets.get(dataset.id)
        if kept is None:
            return False
        if (kept.digest, kept.create_time) != (dataset.digest, dataset.create_time):
            return False
        self._state.datasets[dataset.id] = replace(kept, audit=dataset.audit)
        return True

    def delete(self, dataset_id: str) -> None:
        del self._state.datasets[self.get(dataset_id).id]


class FakeTrainingJobs:
    def __init__(self, state: State) -> None:
        self._state = state

    def add(self, job: TrainingJob) -> None:
        if job.id in self._state.jobs:
            raise AlreadyExists(job.name)
        taken = {(j.caller, j.request_id) for j in self._state.jobs.values() if j.request_id}
        if (job.caller, job.request_id) in taken:  # as a unique key would see it
            raise RequestIdReused(job.request_id or "")
        self._state.jobs[job.id] = job

    def get(self, job_id: str) -> TrainingJob:
        try:
            return self._state.jobs[job_id]
        except KeyError:
            raise NotFound(f"trainingJobs/{job_id}") from None

    def find_by_request(self, caller: str, request_id: str) -> TrainingJob | None:
        rows = self._state.jobs.values()
        return next((j for j in rows if (j.caller, j.request_id) == (caller, request_id)), None)

    def list(self, page: PageRequest) -> Page[TrainingJob]:
        return _page(self._state.jobs.values(), page, _by_time)

    def save(self, job: TrainingJob, *, expected: JobState) -> None:
        current = self._state.jobs.get(job.id)
        if current is None:
            raise NotFound(job.name)
        if current.state is not expected:
            raise IllegalTransition(job.name, current.state, job.state)
        self._state.jobs[job.id] = job.evolve(attempt=current.attempt)

    def claim(self, job_id: str, worker: str, at: datetime) -> TrainingJob | None:
        job = self._state.jobs.get(job_id)
        if job is None or job.state is not JobState.QUEUED:
            return None
        claimed = job.moved_to(
            JobState.RUNNING,
            at,
            worker=worker,
            attempt=job.attempt + 1,
            futile_attempts=job.futile_attempts + 1,
            heartbeat_time=at,
            start_time=job.start_time or at,
        )
        self._state.jobs[job_id] = claimed
        return claimed

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
        job = self.get(job_id)
        if job.worker != worker or job.state not in {JobState.RUNNING, JobState.CANCELLING}:
            return JobState.CANCELLED
        self._state.jobs[job_id] = job.evolve(
            heartbeat_time=at,
            update_time=at,
            progress=progress,
            stage=stage,
            futile_attempts=0 if got_further else job.futile_attempts,
        )
        return job.state

    def mark_enqueued(self, job_id: str, at: datetime) -> None:
        self._state.jobs[job_id] = self.get(job_id).evolve(enqueue_time=at)

    def waiting(self, enqueued_before: datetime) -> tuple[TrainingJob, ...]:
        return self._where(
            lambda j: (
                j.state is JobState.QUEUED
                and (j.enqueue_time is None or j.enqueue_time < enqueued_before)
            )
        )

    def held(self) -> tuple[TrainingJob, ...]:
        return self._where(lambda j: j.state in {JobState.RUNNING, JobState.CANCELLING})

    def unfinished_on(self, dataset_id: str) -> tuple[TrainingJob, ...]:
        return self._where(lambda j: j.dataset == dataset_id and not j.state.finished)

    def add_event(
        self,
        job_id: str,
        at: datetime,
        state: JobState,
        message: str,
        epoch: EpochProgress | None = None,
    ) -> JobEvent:
        earlier = self._state.events.get(self.get(job_id).id, [])
        event = JobEvent(
            job=job_id,
            sequence=len(earlier) + 1,
            create_time=at,
            state=state,
            message=message,
            epoch=epoch,
        )
        self._state.events[job_id] = [*earlier, event]
        return event

    def events(self, job_id: str, after: int = 0) -> tuple[JobEvent, ...]:
        return tuple(e for e in self._state.events.get(job_id, []) if e.sequence > after)

    def add_trial(self, job_id: str, trial: SearchTrial) -> None:
        earlier = self._state.trials.get(self.get(job_id).id, ())
        if trial.number not in {other.number for other in earlier}:
            self._state.trials[job_id] = (*earlier, trial)

    def trials(self, job_id: str) -> tuple[SearchTrial, ...]:
        return self._state.trials.get(job_id, ())

    def _where(self, wanted: Callable[[TrainingJob], bool]) -> tuple[TrainingJob, ...]:
        rows = sorted(self._state.jobs.values(), key=_by_time)
        return tuple(job for job in rows if wanted(job))


class FakeModels:
    def __init__(self, state: State) -> None:
        self._state = state

    def add(self, version: ModelVersion) -> None:
        if version.id in self._state.versions:
            raise AlreadyExists(version.name)
        self._state.versions[version.id] = version

    def get(self, version_id: str) -> ModelVersion:
        if version_id not in self._state.versions:
            raise NotFound(f"modelVersions/{version_id}")
        return self._with_aliases(self._state.versions[version_id])

    def list(self, page: PageRequest) -> Page[ModelVersion]:
        rows = [self._with_aliases(v) for v in self._state.versions.values()]
        return _page(rows, page, _by_time)

    def digest_of(self, version_id: str) -> str:
        return self.get(version_id).digest

    def aliased(self, alias: str) -> tuple[str, str] | None:
        version_id = self._state.aliases.get(alias)
        return None if version_id is None else (version_id, self.digest_of(version_id))

    def lock_alias(self, alias: str) -> None:
        """Whoever writes has the whole store locked."""

    def move_alias(
        self, alias: str, version_id: str, at: datetime, caller: str, reason: str
    ) -> AliasMove:
        self.get(version_id)
        move = AliasMove(
            alias=alias,
            sequence=len(self.alias_history(alias)) + 1,
            create_time=at,
            caller=caller,
            from_version=self._state.aliases.get(alias),
            to_version=version_id,
            reason=reason,
        )
        self._state.aliases[alias] = version_id
        self._state.moves.append(move)
        return move

    def alias_history(self, alias: str) -> tuple[AliasMove, ...]:
        return tuple(move for move in reversed(self._state.moves) if move.alias == alias)

    def alias_moves(self, alias: str, page: PageRequest) -> Page[AliasMove]:
        moves = [
            move
            for move in self.alias_history(alias)
            if page.after is None or move.sequence < int(page.after[0])
        ]
        shown = tuple(moves[: page.size])
        return Page(items=shown, next=(shown[-1].sequence,) if len(moves) > page.size else None)

    def _with_aliases(self, version: ModelVersion) -> ModelVersion:
        names = sorted(a for a, v in self._state.aliases.items() if v == version.id)
        return ModelVersion(**{**vars(version), "aliases": tuple(names)})


class FakeAuditLog:
    def __init__(self, state: State) -> None:
        self._state = state

    def append(self, entries: Sequence[AuditEntry]) -> tuple[AuditRecord, ...]:
        return tuple(self._append(entry) for entry in entries)

    def get(self, prediction_id: str) -> AuditRecord:
        for record in self._state.records:
            if record.id == prediction_id:
                return record
        raise NotFound(f"predictions/{prediction_id}")

    def find_answered(self, caller: str, request_id: str) -> AuditRecord | None:
        for record in self._state.records:
            same = (record.caller, record.request_id) == (caller, request_id)
            if same and record.outcome is Outcome.ANSWERED:
                return record
        return None

    def list(
        self, page: PageRequest, where: Filter | None = None, *, newest_first: bool = True
    ) -> Page[AuditRecord]:
        rows = [r for r in self._state.records if where is None or matches(where, r)]
        rows.sort(key=_by_time_and_sequence, reverse=newest_first)
        if page.after is not None:
            behind = lt if newest_first else gt
            rows = [r for r in rows if behind(_by_time_and_sequence(r), page.after)]
        shown = tuple(rows[: page.size])
        return Page(
            items=shown, next=_by_time_and_sequence(shown[-1]) if len(rows) > page.size else None
        )

    def iterate(self) -> Iterator[AuditRecord]:
        return iter(self._state.records)

    def head(self) -> ChainHead:
        if not self._state.records:
            return ChainHead()
        last = self._state.records[-1]
        return ChainHead(sequence=last.sequence, row_hash=last.row_hash)

    def add_review(self, review: Review) -> Review:
        self.get(review.prediction)
        for earlier in self._state.reviews:
            if earlier.id == review.id:
                return earlier
        self._state.reviews.append(review)
        return review

    def reviews(self, prediction_id: str) -> tuple[Review, ...]:
        found = (r for r in self._state.reviews if r.prediction == prediction_id)
        return tuple(sorted(found, key=_by_time))

    def reviews_of(self, prediction_ids: Sequence[str]) -> Mapping[str, tuple[Review, ...]]:
        found = {name: self.reviews(name) for name in prediction_ids}
        return {name: reviews for name, reviews in found.items() if reviews}

    def _append(self, entry: AuditEntry) -> AuditRecord:
        if entry.request_id and entry.outcome is Outcome.ANSWERED:
            earlier = self.find_answered(entry.caller, entry.request_id)
            if earlier is not None:
                return earlier
        head = self.head()
        record = AuditRecord(
            **vars(entry),
            sequence=head.sequence + 1,
            previous_hash=head.row_hash,
            row_hash=row_hash(entry, head.sequence + 1, head.row_hash),
        )
        self._state.records.append(record)
        return record


_OPERATORS: dict[Operator, Callable[[Any, Any], bool]] = {
    Operator.EQ: eq,
    Operator.NE: ne,
    Operator.LT: lt,
    Operator.LE: le,
    Operator.GT: gt,
    Operator.GE: ge,
}


def matches(tree: Filter, record: AuditRecord) -> bool:
    """Whether the record satisfies the filter; a missing value is unequal to everything."""
    match tree:
        case And(terms):
            return all(matches(term, record) for term in terms)
        case Or(terms):
            return any(matches(term, record) for term in terms)
        case Not(term):
            return not matches(term, record)
        case Comparison(name, operator, value):
            held = getattr(record, name)
            if held is None:
                return operator is Operator.NE
            return _OPERATORS[operator](held, value)


class FakeUnitOfWork:
    datasets: DatasetRepository
    jobs: TrainingJobRepository
    models: ModelRepository
    audit: AuditLog

    def __init__(self, factory: "FakeUnitOfWorkFactory", *, write: bool) -> None:
        self._factory = factory
        self._write = write

    def __enter__(self) -> Self:
        if self._write:
            self._factory.lock.acquire()
        self._state = self._factory.state.clone()
        self.datasets = FakeDatasets(self._state)
        self.jobs = FakeTrainingJobs(self._state)
        self.models = FakeModels(self._state)
        self.audit = FakeAuditLog(self._state)
        if self._write:
            self._factory.meet_rival(self)
        return self

    def commit(self) -> None:
        if not self._write:
            raise RuntimeError("a unit of work that commits must be opened with write=True")
        self._factory.state = self._state.clone()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._write:
            self._factory.lock.release()


class FakeUnitOfWorkFactory:
    """Opens units of work over one state; ``error``, while set, is what opening one raises.

    ``rival`` is done once, to the next unit of work that writes, as soon as it is open.
    """

    def __init__(self) -> None:
        self.state = State()
        self.lock = threading.Lock()
        self.error: Exception | None = None
        self.rival: Callable[[FakeUnitOfWork], None] | None = None

    def meet_rival(self, uow: FakeUnitOfWork) -> None:
        rival, self.rival = self.rival, None
        if rival is not None:
            rival(uow)

    def __call__(self, *, write: bool = False) -> FakeUnitOfWork:
        if self.error is not None:
            raise self.error
        return FakeUnitOfWork(self, write=write)
