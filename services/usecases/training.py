"""Training jobs: submitting, following and cancelling them. Workers do the rest."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Final
from uuid import uuid4

import structlog

from core.datasets import Dataset
from core.errors import (
    BrokerUnavailable,
    FieldViolation,
    IllegalTransition,
    InvalidArgument,
    RequestIdReused,
    StoreUnavailable,
    Unavailable,
)
from core.paging import Page, PageRequest
from core.ports import ArtefactStore, Clock, JobQueue, UnitOfWork, UnitOfWorkFactory
from core.search import SearchSpec, SearchTrial, misfits
from core.training import JobEvent, JobState, StartVersion, Task, TrainingJob, TrainingSpec
from services.drain import Drain
from services.usecases.going_on import with_start_version
from services.usecases.request_ids import check_request_id

log = structlog.stdlib.get_logger(__name__)

POLL_SECONDS: Final = 0.5
_CANCEL_ATTEMPTS: Final = 3


@dataclass(frozen=True, kw_only=True)
class JobUpdate:
    """The job as it is now, and what happened; no event if only its progress changed."""

    job: TrainingJob
    event: JobEvent | None


class TrainingUseCases:
    """Everything about training jobs but the training."""

    def __init__(
        self,
        *,
        uow_factory: UnitOfWorkFactory,
        queue: JobQueue,
        artefacts: ArtefactStore,
        clock: Clock,
        drain: Drain,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._uow_factory = uow_factory
        self._queue = queue
        self._artefacts = artefacts
        self._clock = clock
        self._drain = drain
        self._poll_seconds = poll_seconds

    def create(
        self,
        dataset_id: str,
        spec: TrainingSpec,
        *,
        caller: str,
        request_id: str = "",
        search: SearchSpec | None = None,
    ) -> TrainingJob:
        """Store a job, then tell the workers. A repeated request id gives the first job.

        With ``search`` the job looks for a better recipe instead of training a model.
        A broker that is away is no error: the job is safe, and a sweep sends it later. Raises
        ``NotFound`` for the data set or the version to go on from, ``RequestIdReused``,
        ``InvalidArgument``, ``ArtefactCorrupt``, ``StoreUnavailable``.
        """
        known_id = check_request_id(request_id)
        if search is not None:
            _check_together(search, spec)
        now = self._clock.now()
        job = TrainingJob(
            id=uuid4().hex,
            create_time=now,
            update_time=now,
            request_id=known_id,
            caller=caller,
            dataset=dataset_id,
            spec=spec,
            search=search,
        )
        stored = self._repeated(job) or self._stored(self._complete(job))
        if stored.id == job.id:
            send_job(job.id, self._uow_factory, self._queue, self._clock)
        return stored

    def get(self, job_id: str) -> TrainingJob:
        """Raises ``NotFound``."""
        with self._uow_factory() as uow:
            return uow.jobs.get(job_id)

    def trials(self, job: TrainingJob) -> tuple[SearchTrial, ...]:
        """What it has tried so far, if it is a search."""
        if job.search is None:
            return ()
        with self._uow_factory() as uow:
            return uow.jobs.trials(job.id)

    def list(self, page: PageRequest) -> Page[TrainingJob]:
        with self._uow_factory() as uow:
            return uow.jobs.list(page)

    def cancel(self, job_id: str, *, caller: str) -> TrainingJob:
        """A queued job ends at once; a running one is told to stop, and its worker ends it.

        Cancelling a job that is being cancelled changes nothing. Raises ``NotFound``, and
        ``IllegalTransition`` if the job has ended.
        """
        for _ in range(_CANCEL_ATTEMPTS - 1):
            try:
                return self._cancel(job_id, caller)
            except IllegalTransition:  # maybe a worker moved it at the same moment: look again
                continue
        return self._cancel(job_id, caller)

    async def watch(self, job_id: str, after: int = 0) -> AsyncGenerator[JobUpdate, None]:
        """Each event with a sequence above ``after``, and changes of progress, until the end.

        Raises ``NotFound``, ``InvalidArgument``, and ``Unavailable`` when the server goes away
        before the job has ended.
        """
        if after < 0:
            raise InvalidArgument.of("after_sequence", "must not be negative")
        shown: tuple[object, ...] | None = None
        while True:
            job, events = await asyncio.to_thread(self._look, job_id, after)
            for event in events:
                yield JobUpdate(job=job, event=event)
                after = event.sequence
            if not events and _visible(job) != shown:
                yield JobUpdate(job=job, event=None)
            if job.state.finished:
                return
            shown = _visible(job)
            if await self._drain.begins_within(self._poll_seconds):
                raise Unavailable()

    def _repeated(self, job: TrainingJob) -> TrainingJob | None:
        """The job that the same request made before, whatever became of what it went on from."""
        with self._uow_factory() as uow:
            return _earlier(uow, job)

    def _complete(self, job: TrainingJob) -> TrainingJob:
        return replace(job, spec=with_start_version(job.spec, self._uow_factory, self._artefacts))

    def _stored(self, job: TrainingJob) -> TrainingJob:
        """The job once it is stored, or the one that this request made before."""
        try:
            return self._insert(job)
        except RequestIdReused:  # by the same request on another connection, an instant ago
            with self._uow_factory() as uow:
                earlier = _earlier(uow, job)
            if earlier is None:
                raise
            return earlier

    def _insert(self, job: TrainingJob) -> TrainingJob:
        with self._uow_factory(write=True) as uow:
            earlier = _earlier(uow, job)
            if earlier is not None:
                return earlier
            # Locked, so that it is there for as long as the job is not yet seen to need it.
            check_fits(uow.datasets.lock(job.dataset), job.spec, job.search)
            uow.jobs.add(job)
            uow.jobs.add_event(job.id, job.create_time, job.state, "waiting for a worker")
            uow.commit()
        return job

    def _cancel(self, job_id: str, caller: str) -> TrainingJob:
        with self._uow_factory(write=True) as uow:
            job = uow.jobs.get(job_id)
            if job.state is JobState.CANCELLING:
                return job
            now = self._clock.now()
            queued = job.state is JobState.QUEUED
            cancelled = job.moved_to(JobState.CANCELLED if queued else JobState.CANCELLING, now)
            uow.jobs.save(cancelled, expected=job.state)
            said = f"cancelled by {caller}" if queued else f"{caller} asked to cancel it"
            uow.jobs.add_event(job.id, now, cancelled.state, said)
            uow.commit()
        return cancelled

    def _look(self, job_id: str, after: int) -> tuple[TrainingJob, tuple[JobEvent, ...]]:
        with self._uow_factory() as uow:
            return uow.jobs.get(job_id), uow.jobs.events(job_id, after)


def send_job(job_id: str, uow_factory: UnitOfWorkFactory, queue: JobQueue, clock: Clock) -> bool:
    """Tell the workers of a committed job, and note that; whether it was sent.

    Never raises what a later sweep mends.
    """
    try:
        queue.enqueue(job_id)
        with uow_factory(write=True) as uow:
            uow.jobs.mark_enqueued(job_id, clock.now())
            uow.commit()
    except (BrokerUnavailable, StoreUnavailable) as error:
        log.warning("job_not_sent", job=job_id, reason=error.reason)
        return False
    return True


def _earlier(uow: UnitOfWork, job: TrainingJob) -> TrainingJob | None:
    """The job that the same request made before. Raises ``RequestIdReused`` for another one."""
    if job.request_id is None:
        return None
    earlier = uow.jobs.find_by_request(job.caller, job.request_id)
    if earlier is not None and _asked(earlier) != _asked(job):
        raise RequestIdReused(job.request_id)
    return earlier


def _asked(job: TrainingJob) -> tuple[object, ...]:
    """What the caller asked for: the hash of the version to go on from is the server's."""
    start = StartVersion.of(job.spec.weights)
    weights = f"version:{start.id}" if start else job.spec.weights
    return job.dataset, replace(job.spec, weights=weights), job.search


def _visible(job: TrainingJob) -> tuple[object, ...]:
    return job.state, job.progress, job.stage, job.attempt


def _check_together(search: SearchSpec, spec: TrainingSpec) -> None:
    """Raise ``InvalidArgument`` for what cannot be searched around this recipe."""
    if found := misfits(search, spec):
        raise InvalidArgument(
            tuple(FieldViolation(f"training_job.{v.field}", v.description) for v in found)
        )


def check_fits(dataset: Dataset, spec: TrainingSpec, search: SearchSpec | None = None) -> None:
    """Raise ``InvalidArgument`` for a recipe that needs what the data set does not have.

    What is counted is known at once; the rest a worker finds out.
    """
    if spec.task is Task.SEGMENTATION and not dataset.mask_count:
        raise InvalidArgument.of(
            "training_job.dataset",
            f"{dataset.name} has no tumour masks, which a segmenter learns from. Name them in the "
            "column mask of its manifest.csv, or use task=classification.",
        )
    varied = search.space if search else {}
    if (spec.counterfactuals or "counterfactuals" in varied) and not dataset.mask_count:
        raise InvalidArgument.of(
            "training_job.spec.counterfactuals",
            f"{dataset.name} has no tumour masks, so no tumour can be taken away or given. Name "
            "them in the column mask of its manifest.csv, or use counterfactuals=0.",
        )
    counted = {label: count for label, count in dataset.class_counts.items() if count}
    label, fewest = min(counted.items(), key=itemgetter(1))
    if spec.folds > fewest:
        raise InvalidArgument.of(
            "training_job.spec.folds",
            f"{dataset.name} has {fewest} slices of {label}, too few for {spec.folds} folds. Add "
            "slices, or lower folds.",
        )
