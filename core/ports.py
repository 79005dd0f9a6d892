"""What the use cases need from the outside world, as Protocols. Adapters live elsewhere."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol, Self

from core.audit_chain import ChainHead
from core.datasets import Dataset
from core.filters import Filter
from core.messages import IngestRequest, Segmenter
from core.paging import Page, PageRequest
from core.prediction import AuditEntry, AuditRecord, MaskFormat, Prediction, Review
from core.question import Question
from core.registry import AliasMove, ModelVersion
from core.search import SearchTrial
from core.training import EpochProgress, JobEvent, JobState, TrainingJob


class Clock(Protocol):
    """Time, so that tests can set it."""

    def now(self) -> datetime:
        """The wall clock, aware, in UTC."""
        ...


class DatasetRepository(Protocol):
    """Data sets, newest first in lists (cursor: create time in microseconds, id)."""

    def add(self, dataset: Dataset) -> None:
        """Raises ``AlreadyExists`` if the id, or the caller's request id, is taken."""
        ...

    def get(self, dataset_id: str) -> Dataset:
        """Raises ``NotFound``."""
        ...

    def lock(self, dataset_id: str) -> Dataset:
        """The data set, and keep others from deleting or locking it until this unit of work ends.

        Raises ``NotFound``.
        """
        ...

    def find_by_request(self, caller: str, request_id: str) -> Dataset | None: ...

    def same_as(self, dataset: Dataset) -> tuple[str, ...]:
        """Ids of the others with its digest, oldest first."""
        ...

    def list(self, page: PageRequest) -> Page[Dataset]: ...

    def save_audit(self, dataset: Dataset) -> bool:
        """Write the data set's audit over the one it had; nothing else of it ever changes.

        False, and nothing is written, if it is gone, even if another has its name by now.
        """
        ...

    def delete(self, dataset_id: str) -> None:
        """Raises ``NotFound``."""
        ...


class TrainingJobRepository(Protocol):
    """Jobs, newest first in lists (cursor: create time in microseconds, id)."""

    def add(self, job: TrainingJob) -> None: ...

    def get(self, job_id: str) -> TrainingJob:
        """Raises ``NotFound``."""
        ...

    def find_by_request(self, caller: str, request_id: str) -> TrainingJob | None: ...

    def list(self, page: PageRequest) -> Page[TrainingJob]: ...

    def save(self, job: TrainingJob, *, expected: JobState) -> None:
        """Write every mutable field, if the row is still in ``expected`` state.

        Raises ``IllegalTransition`` if it is not: somebody else moved the job first.
        """
        ...

    def claim(self, job_id: str, worker: str, at: datetime) -> TrainingJob | None:
        """Take a QUEUED job with one conditional UPDATE: RUNNING, attempt + 1, heartbeat ``at``.

        The attempt counts as futile until a heartbeat says otherwise. None if the job is not
        QUEUED (any more) or does not exist.
        """
        ...

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
        """Record that ``worker`` is alive on the job, if it still owns it; the job's state.

        Once it ``got_further``, so that the next attempt would not begin where this one did, no
        attempt so far counts as futile.
        A worker that no longer owns the job (it was requeued) is told CANCELLED. Raises
        ``NotFound``.
        """
        ...

    def mark_enqueued(self, job_id: str, at: datetime) -> None: ...

    def waiting(self, enqueued_before: datetime) -> tuple[TrainingJob, ...]:
        """QUEUED jobs that were never enqueued, or not since ``enqueued_before``; oldest first."""
        ...

    def held(self) -> tuple[TrainingJob, ...]:
        """Jobs that a worker has in its hands, RUNNING or CANCELLING; oldest first."""
        ...

    def unfinished_on(self, dataset_id: str) -> tuple[TrainingJob, ...]:
        """Jobs that still need the data set."""
        ...

    def add_event(
        self,
        job_id: str,
        at: datetime,
        state: JobState,
        message: str,
        epoch: EpochProgress | None = None,
    ) -> JobEvent: ...

    def events(self, job_id: str, after: int = 0) -> tuple[JobEvent, ...]:
        """Events with a sequence above ``after``, in order."""
        ...

    def add_trial(self, job_id: str, trial: SearchTrial) -> None:
        """A trial whose number is there already is left as it was. Raises ``NotFound``."""
        ...

    def trials(self, job_id: str) -> tuple[SearchTrial, ...]:
        """What a search has tried, in order."""
        ...


class ModelRepository(Protocol):
    """Model versions, newest first in lists (cursor: create time in microseconds, id)."""

    def add(self, version: ModelVersion) -> None: ...

    def get(self, version_id: str) -> ModelVersion:
        """Raises ``NotFound``."""
        ...

    def list(self, page: PageRequest) -> Page[ModelVersion]: ...

    def digest_of(self, version_id: str) -> str:
        """The version's content hash and nothing else: what serving needs on each request.

        Raises ``NotFound``.
        """
        ...

    def aliased(self, alias: str) -> tuple[str, str] | None:
        """(version id, digest) that the alias points at, or None; one query."""
        ...

    def lock_alias(self, alias: str) -> None:
        """Keep others from moving the alias until this unit of work ends.

        One that points nowhere yet is locked only by its move.
        """
        ...

    def move_alias(
        self, alias: str, version_id: str, at: datetime, caller: str, reason: str
    ) -> AliasMove:
        """Point the alias at the version and record the move.

        ``from_version`` of the answer is where it really pointed: moves at the same time wait for
        each other.
        """
        ...

    def alias_history(self, alias: str) -> tuple[AliasMove, ...]:
        """Every move, newest first."""
        ...

    def alias_moves(self, alias: str, page: PageRequest) -> Page[AliasMove]:
        """The same by pages (cursor: sequence)."""
        ...


class AuditLog(Protocol):
    """Predictions in their hash chain.

    Lists are ordered by time, then by sequence (cursor: microseconds since the epoch, sequence).
    """

    def append(self, entries: Sequence[AuditEntry]) -> tuple[AuditRecord, ...]:
        """Give each entry its place at the end of the chain; the caller commits.

        An entry that answers a (caller, request id) which the log has answered before is not
        written again: the earlier record stands in its place in the result.
        """
        ...

    def get(self, prediction_id: str) -> AuditRecord:
        """Raises ``NotFound``."""
        ...

    def find_answered(self, caller: str, request_id: str) -> AuditRecord | None:
        """The ANSWERED record of that request, if there is one."""
        ...

    def list(
        self, page: PageRequest, where: Filter | None = None, *, newest_first: bool = True
    ) -> Page[AuditRecord]: ...

    def iterate(self) -> Iterator[AuditRecord]:
        """The whole chain, by sequence, with constant memory."""
        ...

    def head(self) -> ChainHead: ...

    def add_review(self, review: Review) -> Review:
        """Keep the review beside its prediction. Raises ``NotFound``.

        One whose id is there already is not written again: the result is the earlier one.
        """
        ...

    def reviews(self, prediction_id: str) -> tuple[Review, ...]:
        """A prediction's reviews, oldest first."""
        ...

    def reviews_of(self, prediction_ids: Sequence[str]) -> Mapping[str, tuple[Review, ...]]:
        """The same of many predictions by one query, for those that have any."""
        ...


class UnitOfWork(AbstractContextManager["UnitOfWork"], Protocol):
    """One transaction. Leaving without :meth:`commit` rolls back."""

    datasets: DatasetRepository
    jobs: TrainingJobRepository
    models: ModelRepository
    audit: AuditLog

    def __enter__(self) -> Self: ...

    def commit(self) -> None: ...


class UnitOfWorkFactory(Protocol):
    """Opens a unit of work. ``write=True`` takes the write lock at the start where that matters.

    Without it the unit of work sees one snapshot of the store and refuses to commit.
    The unit of work raises ``StoreUnavailable`` when the database cannot be reached.
    """

    def __call__(self, *, write: bool = False) -> UnitOfWork: ...


class ArtefactStore(Protocol):
    """Named bytes. Keys are relative POSIX paths; a key appears whole or not at all.

    Raises ``InvalidArgument`` for any other key, ``StoreUnavailable`` when the store is away or
    full.
    """

    def put(self, key: str, data: bytes) -> None: ...

    def put_file(self, key: str, source: Path) -> None: ...

    def get(self, key: str) -> bytes:
        """Raises ``NotFound``."""
        ...

    def open(self, key: str) -> BinaryIO:
        """The bytes as a binary stream. Raises ``NotFound``."""
        ...

    def exists(self, key: str) -> bool: ...

    def list(self, prefix: str) -> tuple[str, ...]:
        """Keys below the prefix, sorted."""
        ...

    def delete(self, prefix: str) -> None:
        """Remove the key, or everything below the prefix; nothing there is no error."""
        ...

    def remove_unfinished(self, untouched_since: datetime) -> int:
        """Remove what was being written when its process was killed; how much there was.

        That is what nobody has added to since then. It has no key.
        """
        ...


class Predictor(Protocol):
    """Asks a worker about one picture."""

    async def predict(
        self,
        image: bytes,
        *,
        model_version: str,
        digest: str,
        deadline: float,
        include_activation_map: bool = False,
        segmenter: Segmenter | None = None,
        mask_format: MaskFormat | None = None,
    ) -> Prediction:
        """``deadline`` is seconds since the epoch. With a ``segmenter``, what it outlines is in the
        prediction, with masks where a format is given. Raises any of the taxonomy's errors.
        """
        ...


class PredictionCache(Protocol):
    """Answers of workers, kept for whoever asks the same.

    It may have forgotten anything, and never raises or holds anybody up: a cache that is away, slow
    or full of garbage has no answer.
    """

    async def get(self, question: Question) -> Prediction | None: ...

    async def put(self, question: Question, prediction: Prediction) -> None:
        """Keep the answer for a while, if it is not too large."""
        ...


class AuditWriter(Protocol):
    """Commits audit entries; entries that arrive together share a transaction."""

    async def record(self, entry: AuditEntry, *, at_once: bool = True) -> AuditRecord:
        """Returns once the entry is durable. Raises ``StoreUnavailable``.

        One that is not wanted ``at_once`` may wait a moment for others to share a transaction with.
        """
        ...


class DatasetIngestor(Protocol):
    """Has a worker check and store a data set."""

    async def ingest(self, request: IngestRequest, timeout: float) -> str:
        """The id of the stored data set. ``timeout`` is in seconds."""
        ...


class ModelPreloader(Protocol):
    """Has the inference workers load a model before it serves."""

    def preload(self, digest: str) -> None:
        """Return once all of them are done, or after a while.

        Raises nothing: what a worker has not loaded by then it loads for the first who asks.
        """
        ...


class JobQueue(Protocol):
    """Tells the training workers that a job waits."""

    def enqueue(self, job_id: str) -> None:
        """Raises ``BrokerUnavailable``. Sending the same job twice is harmless."""
        ...

    def waiting(self) -> frozenset[str]:
        """Ids of the jobs whose message no worker has taken yet. Raises ``BrokerUnavailable``.

        A broker that was restarted may have forgotten some.
        """
        ...
