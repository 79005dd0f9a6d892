"""A worker's hold on a training job: its heartbeat, its history, and the word to stop."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from types import TracebackType
from typing import Final, Self, TypeVar

from core.errors import NotFound, StoreUnavailable, TrainingCancelled
from core.ports import Clock, UnitOfWork, UnitOfWorkFactory
from core.search import SearchTrial
from core.training import EpochProgress, JobState, TrainingJob
from workers.training_hooks import TrainingHooks

log = logging.getLogger(__name__)

T = TypeVar("T")
Ending = Callable[[UnitOfWork, TrainingJob], TrainingJob]
"""Moves the job to its last state, with whatever must be committed together with that."""

LEFT: Final = "its worker was stopped."
CANCEL_GRACE_SECONDS: Final = 5.0
"""How long a trainer may take to stop by itself. Cancelling has to end a job within 10 s."""
STORE_PATIENCE_SECONDS: Final = 600.0
"""How long the end of a job waits for a database that is away: hours of work hang on it."""


@dataclass(frozen=True, kw_only=True)
class _Line:
    """A line of the job's history that is not written yet."""

    at: datetime
    message: str
    epoch: EpochProgress | None = None


class JobLease:
    """Keeps a claimed job alive while its block runs.

    A thread writes progress and history every ``heartbeat_seconds`` and learns there whether the
    job was cancelled, or was given to another worker since this one seemed lost. If the trainer
    has not stopped ``CANCEL_GRACE_SECONDS`` after that, ``kill`` ends the process. A database
    that is away delays all this and does no harm.
    """

    def __init__(
        self,
        job: TrainingJob,
        *,
        worker: str,
        uow_factory: UnitOfWorkFactory,
        clock: Clock,
        heartbeat_seconds: float,
        kill: Callable[[], None],
        is_leaving: Callable[[], bool] = lambda: False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._job = job
        self._worker = worker
        self._uow_factory = uow_factory
        self._clock = clock
        self._heartbeat_seconds = heartbeat_seconds
        self._kill = kill
        self._is_leaving = is_leaving
        self._monotonic = monotonic
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._stop = threading.Event()
        self._stop_seen = 0.0
        self._lost = False
        self._leaves = False
        self._got_further = False
        self._progress = 0.0
        self._begun: tuple[float, float] | None = None
        self._stage = "starting"
        self._lines: list[_Line] = []
        self._thread = threading.Thread(target=self._beat_on, name="job-lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def hooks(self) -> TrainingHooks:
        """For the trainer, from any of its threads."""
        return TrainingHooks(
            on_epoch=self._on_epoch,
            on_progress=self._on_progress,
            on_message=self._on_message,
            should_stop=self._stop.is_set,
            on_saved=self._on_saved,
        )

    @property
    def futile_attempts(self) -> int:
        """How many attempts in a row have got no further, this one among them unless it was cut
        short since its worker leaves: nothing was wrong with it then."""
        return 0 if self._got_further else self._job.futile_attempts - self._leaves

    def give_back(self) -> bool:
        """For a trainer that stopped because it was told to; whether the job has ended.

        One that was cancelled has. One whose worker leaves waits for another.
        """
        if not self._leaves:
            return self.finish(self._as_cancelled, "cancelled")
        return self.put_back(LEFT)

    def put_back(self, why: str) -> bool:
        """Leave the job and its checkpoints to the next attempt; whether it has ended instead."""
        queued: list[TrainingJob] = []

        def ending(uow: UnitOfWork, job: TrainingJob) -> TrainingJob:
            queued.append(job)
            return self._as_queued(uow, job)

        return self.finish(ending, _waiting(why)) and not queued

    def tried(self) -> tuple[SearchTrial, ...]:
        """What the job has tried, as soon as the database lets."""
        return self.patiently(self._trials)

    def record(self, trial: SearchTrial) -> None:
        """Keep a trial, as soon as the database lets.

        Raises ``TrainingCancelled`` if the job is no longer this worker's, ``StoreUnavailable`` if
        the database stays away.
        """
        self.patiently(lambda: self._record(trial))

    def beat(self) -> None:
        """One heartbeat; never raises."""
        with self._lock:
            if self._ended.is_set():
                return
            try:
                self._report()
            except StoreUnavailable as error:
                log.warning("heartbeat_missed job=%s message=%s", self._job.id, error.message)
            except NotFound:
                self._lose()
            except Exception:
                log.exception("heartbeat_failed job=%s", self._job.id)
            if self._is_leaving() and not self._leaves:
                log.info("job_put_back job=%s: the worker leaves", self._job.id)
                self._leaves = True
                self._tell_to_stop()
            if self._overdue():
                self._give_up()

    def finish(self, ending: Ending, message: str) -> bool:
        """Write the job's end in one transaction, as soon as the database lets.

        A job that was cancelled meanwhile ends cancelled instead. False if the job is no longer
        this worker's, and nothing was written. Raises ``StoreUnavailable`` if the database
        stays away.
        """
        return self.patiently(lambda: self._finish(ending, message))

    def patiently(self, action: Callable[[], T]) -> T:
        """The action's result, tried again while database or artefact store is away.

        Raises ``StoreUnavailable`` if that lasts too long.
        """
        give_up_at: float | None = None
        while True:
            try:
                return action()
            except StoreUnavailable:
                now = self._monotonic()
                if give_up_at is None:  # the action itself may have taken hours
                    give_up_at = now + STORE_PATIENCE_SECONDS
                if now >= give_up_at:
                    raise
                log.warning("store_away job=%s: trying again", self._job.id)
                self._ended.wait(self._heartbeat_seconds)

    def _beat_on(self) -> None:
        while not self._ended.wait(self._heartbeat_seconds):
            self.beat()

    def _report(self) -> None:
        with self._uow_factory(write=True) as uow:
            state = self._touch(uow)
            if state is JobState.CANCELLED:
                self._lose()
                return
            written = self._write_lines(uow)
            uow.commit()
        del self._lines[:written]
        if state is JobState.CANCELLING:
            self._tell_to_stop()

    def _finish(self, ending: Ending, message: str) -> bool:
        with self._lock:
            if self._lost or self._ended.is_set():
                return False
            with self._uow_factory(write=True) as uow:
                state = self._touch(uow)  # also locks the row, so that the state stays
                if state is JobState.CANCELLED:
                    self._lose()
                    return False
                if state is JobState.CANCELLING and ending != self._as_cancelled:
                    ending, message = self._as_cancelled, "cancelled"
                self._write_lines(uow)
                job = ending(uow, uow.jobs.get(self._job.id))
                uow.jobs.save(job, expected=state)
                uow.jobs.add_event(job.id, self._clock.now(), job.state, message)
                uow.commit()
            self._ended.set()
            return True

    def _trials(self) -> tuple[SearchTrial, ...]:
        with self._uow_factory() as uow:
            return uow.jobs.trials(self._job.id)

    def _record(self, trial: SearchTrial) -> None:
        with self._lock, self._uow_factory(write=True) as uow:
            if self._lost or self._touch(uow, got_further=True) is JobState.CANCELLED:
                raise TrainingCancelled()
            uow.jobs.add_trial(self._job.id, trial)
            uow.commit()
            self._got_further = True

    def _touch(self, uow: UnitOfWork, *, got_further: bool = False) -> JobState:
        return uow.jobs.heartbeat(
            self._job.id,
            self._worker,
            self._clock.now(),
            self._progress,
            self._stage,
            got_further=got_further or self._got_further,
        )

    def _write_lines(self, uow: UnitOfWork) -> int:
        lines = list(self._lines)
        for line in lines:
            state = JobState.RUNNING
            uow.jobs.add_event(self._job.id, line.at, state, line.message, line.epoch)
        return len(lines)

    def _as_cancelled(self, _: UnitOfWork, job: TrainingJob) -> TrainingJob:
        return job.moved_to(JobState.CANCELLED, self._clock.now())

    def _as_queued(self, _: UnitOfWork, job: TrainingJob) -> TrainingJob:
        return job.moved_to(
            JobState.QUEUED,
            self._clock.now(),
            worker=None,
            heartbeat_time=None,
            enqueue_time=None,
            futile_attempts=max(job.futile_attempts - self._leaves, 0),
        )

    def _tell_to_stop(self) -> None:
        if not self._stop.is_set():
            log.info("job_stopping job=%s", self._job.id)
            self._stop_seen = self._monotonic()
            self._stop.set()

    def _lose(self) -> None:
        if not self._lost:
            log.warning("job_lost job=%s: it was given to another worker", self._job.id)
        self._lost = True
        self._tell_to_stop()

    def _overdue(self) -> bool:
        waited = self._monotonic() - self._stop_seen
        return self._stop.is_set() and waited >= CANCEL_GRACE_SECONDS

    def _give_up(self) -> None:
        """End the process, whatever the trainer is doing."""
        log.warning("job_killed job=%s: the trainer did not stop in time", self._job.id)
        try:
            if self._leaves:
                self._finish(self._as_queued, _waiting(LEFT))
            else:
                self._finish(self._as_cancelled, "cancelled; the worker was ended")
        except Exception:  # the process goes either way; a sweep then ends the job
            log.exception("end_not_written job=%s", self._job.id)
        self._kill()
        self._ended.set()

    def _on_progress(self, share: float, stage: str) -> None:
        self._progress, self._stage = min(max(share, 0.0), 1.0), stage

    def _seconds_left(self) -> float:
        """Of the whole job, by how long what was done since the first epoch took.

        What is before that may have been done by an earlier attempt.
        """
        if self._begun is None:
            self._begun = self._monotonic(), self._progress
            return 0.0
        since, share = self._begun
        done = self._progress - share
        return (self._monotonic() - since) / done * (1 - self._progress) if done > 0 else 0.0

    def _on_saved(self) -> None:
        self._got_further = True

    def _on_message(self, message: str) -> None:
        self._lines.append(_Line(at=self._clock.now(), message=message))

    def _on_epoch(self, epoch: EpochProgress) -> None:
        message = f"epoch {epoch.epoch} of {epoch.epochs}"
        # A trainer knows of the fold or the trial that it is in, not of those to come.
        left = max(epoch.seconds_left, self._seconds_left())
        epoch = replace(epoch, seconds_left=left)
        self._lines.append(_Line(at=self._clock.now(), message=message, epoch=epoch))
        self.beat()


def _waiting(why: str) -> str:
    return f"{why} Waiting to go on from the last checkpoint"
