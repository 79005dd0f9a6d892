"""Mends what a crash, a dead broker or a lost worker left undone."""

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import structlog

from core.errors import BrainTumorError, BrokerUnavailable, IllegalTransition, NotFound
from core.ports import ArtefactStore, Clock, JobQueue, UnitOfWork, UnitOfWorkFactory
from core.training import JobState, TrainingJob
from services.usecases.spool import remove_forgotten_spools
from services.usecases.staging import FORGOTTEN_AFTER, Staging
from services.usecases.training import send_job

log = structlog.stdlib.get_logger(__name__)

SEND_AFTER: Final = timedelta(seconds=1)
"""A job younger than this is still being sent by the call that made it."""
SEND_AGAIN_AFTER: Final = timedelta(seconds=30)
"""A broker that restarts has forgotten its messages. By then, a message that is not there is not on
its way either; where one is, another would only be in the way of jobs behind it."""
TIDY_EVERY: Final = timedelta(hours=1)
_JOBS: Final = "jobs"


_SILENT: Final = "its worker gave no more sign of life"


@dataclass(frozen=True)
class _Heartbeat:
    """A job's heartbeat, and when this value of it was seen first."""

    attempt: int
    value: datetime | None
    seen_at: float

    def same_as(self, other: "_Heartbeat | None") -> bool:
        return other is not None and (self.attempt, self.value) == (other.attempt, other.value)


class Sweeper:
    """Looks every few seconds for jobs that nobody would pick up otherwise.

    Several gateways may sweep at once: each step is a conditional change of one row.
    """

    def __init__(
        self,
        *,
        uow_factory: UnitOfWorkFactory,
        queue: JobQueue,
        artefacts: ArtefactStore,
        staging: Staging,
        clock: Clock,
        every_seconds: float,
        stale_seconds: float,
        max_attempts: int,
        temporary_folder: Path,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._uow_factory = uow_factory
        self._queue = queue
        self._artefacts = artefacts
        self._staging = staging
        self._clock = clock
        self._every_seconds = every_seconds
        self._stale_seconds = stale_seconds
        self._temporary_folder = temporary_folder
        self._monotonic = monotonic
        self._heartbeats: dict[str, _Heartbeat] = {}
        self._looked_at = -math.inf
        self._blind_after = max(3 * every_seconds, stale_seconds / 2)
        self._max_attempts = max_attempts
        # An embedded broker has forgotten when it restarts, so that is looked at without waiting.
        self._send_again_before = clock.now()
        self._tidy_at = clock.now()

    async def run(self) -> None:
        """Sweep until cancelled, whatever goes wrong on the way."""
        while True:
            try:
                await asyncio.to_thread(self.sweep)
            except BrainTumorError as error:
                log.warning("sweep_failed", reason=error.reason)
            except Exception:
                log.exception("sweep_failed")
            await asyncio.sleep(self._every_seconds)

    def sweep(self) -> None:
        """One round. Raises ``StoreUnavailable``."""
        now = self._clock.now()
        for job in self._stale_jobs():
            self._recover(job, now)
        for job in self._unsent_jobs(now):
            if not send_job(job.id, self._uow_factory, self._queue, self._clock):
                break  # the broker is away: the others would wait for it in vain
        self._tidy(now)

    def _stale_jobs(self) -> tuple[TrainingJob, ...]:
        """Jobs whose heartbeat stands still.

        How old a heartbeat is cannot be told from its value: the worker's clock may be wrong. So
        what counts is for how long, by the clock of this process, it has not changed. Nor does it
        tell anything while the database is away, when nobody can write one: what was seen before
        such a time is forgotten.
        """
        with self._uow_factory() as uow:
            held = uow.jobs.held()
        now = self._monotonic()
        was_blind = now - self._looked_at > self._blind_after
        before: Mapping[str, _Heartbeat] = {} if was_blind else self._heartbeats
        self._looked_at = now
        fresh = {job.id: _Heartbeat(job.attempt, job.heartbeat_time, now) for job in held}
        self._heartbeats = {
            job_id: before[job_id] if beat.same_as(before.get(job_id)) else beat
            for job_id, beat in fresh.items()
        }
        stale = now - self._stale_seconds
        return tuple(job for job in held if self._heartbeats[job.id].seen_at < stale)

    def _unsent_jobs(self, now: datetime) -> tuple[TrainingJob, ...]:
        with self._uow_factory() as uow:
            waiting = uow.jobs.waiting(max(now - SEND_AGAIN_AFTER, self._send_again_before))
        forgotten = self._forgotten({job.id for job in waiting if job.enqueue_time})
        return tuple(
            job
            for job in waiting
            if job.id in forgotten or (job.enqueue_time is None and _settled(job, now))
        )

    def _forgotten(self, sent: set[str]) -> set[str]:
        """Of jobs that were sent, those whose message the broker no longer has."""
        try:
            return sent - self._queue.waiting() if sent else sent
        except BrokerUnavailable:  # a later round asks again
            return set()

    def _recover(self, seen: TrainingJob, now: datetime) -> None:
        try:
            moved = self._moved(seen, now)
        except (IllegalTransition, NotFound):
            return  # somebody else was faster
        log.warning("job_recovered", job=moved.id, state=str(moved.state), attempt=moved.attempt)
        if moved.state.finished:
            self._artefacts.delete(job_folder(moved.id))

    def _moved(self, seen: TrainingJob, now: datetime) -> TrainingJob:
        with self._uow_factory(write=True) as uow:
            job = uow.jobs.get(seen.id)
            if job.heartbeat_time != seen.heartbeat_time:  # its worker lives after all
                raise IllegalTransition(job.name, job.state, job.state)
            moved, message = self._after_loss(job, now)
            uow.jobs.save(moved, expected=job.state)
            uow.jobs.add_event(job.id, now, moved.state, message)
            uow.commit()
        return moved

    def _after_loss(self, job: TrainingJob, now: datetime) -> tuple[TrainingJob, str]:
        """Where a job goes whose worker was lost, and what its history says."""
        if job.state is JobState.CANCELLING:
            return job.moved_to(JobState.CANCELLED, now), f"cancelled; {_SILENT}"
        if job.futile_attempts < self._max_attempts:
            waiting = job.moved_to(
                JobState.QUEUED, now, worker=None, heartbeat_time=None, enqueue_time=None
            )
            return waiting, f"{_SILENT}; waiting for another, which resumes it"
        message = (
            f"Its worker was lost, and {job.futile_attempts} attempts in a row got no further. "
            "Look into the training worker's log: most often memory ran out; then lower batch_size "
            "or image_size."
        )
        failed = job.moved_to(
            JobState.FAILED, now, error_reason="WORKER_LOST", error_message=message
        )
        return failed, message

    def _tidy(self, now: datetime) -> None:
        if now < self._tidy_at:
            return
        self._tidy_at = now + TIDY_EVERY
        untouched_since = now - FORGOTTEN_AFTER
        removed = {
            "forgotten_uploads_removed": self._staging.remove_forgotten(),
            "forgotten_spools_removed": remove_forgotten_spools(
                self._temporary_folder, untouched_since
            ),
            "unfinished_artefacts_removed": self._artefacts.remove_unfinished(untouched_since),
        }
        for event, count in removed.items():
            if count:
                log.info(event, count=count)
        for job_id in self._ended_jobs_with_files():
            self._artefacts.delete(job_folder(job_id))

    def _ended_jobs_with_files(self) -> tuple[str, ...]:
        """Such as those cancelled while they waited for a second attempt."""
        keys = self._artefacts.list(_JOBS)
        with self._uow_factory() as uow:
            return tuple(i for i in sorted({key.split("/")[1] for key in keys}) if _ended(uow, i))


def job_folder(job_id: str) -> str:
    """Where a job's checkpoints are in the artefact store; useless once it has ended."""
    return f"{_JOBS}/{job_id}"


def _ended(uow: UnitOfWork, job_id: str) -> bool:
    try:
        return uow.jobs.get(job_id).state.finished
    except NotFound:  # whatever it is, it is not ours to remove
        return False


def _settled(job: TrainingJob, now: datetime) -> bool:
    return job.create_time <= now - SEND_AFTER
