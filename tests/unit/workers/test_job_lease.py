"""The hold on a job: what is written when, and how a stuck trainer is ended."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from core.errors import StoreUnavailable
from core.ports import UnitOfWork
from core.training import EpochProgress, JobState, TrainingJob
from tests.fakes.records import a_job, a_trial
from tests.fakes.store import FakeClock, FakeUnitOfWorkFactory
from workers.job_lease import CANCEL_GRACE_SECONDS, LEFT, STORE_PATIENCE_SECONDS, JobLease

EPOCH = EpochProgress(
    epoch=2,
    epochs=3,
    loss=0.5,
    accuracy=0.8,
    val_loss=0.6,
    val_accuracy=0.7,
    seconds=1.5,
    seconds_left=1.5,
)


class Stopwatch:
    """Seconds that pass only when told, or by ``step`` at each look."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.step = 0.0

    def __call__(self) -> float:
        self.seconds += self.step
        return self.seconds


class Stack:
    """A claimed job, and the lease on it. Its thread is not started: tests beat by hand."""

    def __init__(self, **changes: Any) -> None:
        self.store = FakeUnitOfWorkFactory()
        self.clock = FakeClock()
        self.watch = Stopwatch()
        self.kills = 0
        self.leaving = False
        with self.store(write=True) as uow:
            uow.jobs.add(a_job(**changes))
            claimed = uow.jobs.claim("job1", "w1", self.clock.now())
            uow.commit()
        assert claimed is not None
        self.lease = JobLease(
            claimed,
            worker="w1",
            uow_factory=self.store,
            clock=self.clock,
            heartbeat_seconds=0.001,
            kill=self._kill,
            is_leaving=lambda: self.leaving,
            monotonic=self.watch,
        )

    def _kill(self) -> None:
        self.kills += 1

    @property
    def job(self) -> TrainingJob:
        with self.store() as uow:
            return uow.jobs.get("job1")

    @property
    def messages(self) -> list[str]:
        with self.store() as uow:
            return [event.message for event in uow.jobs.events("job1")]

    def put(self, job: TrainingJob) -> None:
        with self.store(write=True) as uow:
            uow.jobs.save(job, expected=self.job.state)
            uow.commit()

    def cancel(self) -> None:
        self.put(self.job.moved_to(JobState.CANCELLING, self.clock.now()))

    def give_away(self) -> None:
        self.put(self.job.moved_to(JobState.QUEUED, self.clock.now()))
        with self.store(write=True) as uow:
            uow.jobs.claim("job1", "w2", self.clock.now())
            uow.commit()


@pytest.fixture
def stack() -> Stack:
    return Stack()


def succeeded(_: UnitOfWork, job: TrainingJob) -> TrainingJob:
    return job.moved_to(JobState.SUCCEEDED, job.update_time, model_version="m1")


def test_a_beat_writes_time_progress_and_stage(stack: Stack) -> None:
    stack.clock.advance(5)
    stack.lease.hooks.on_progress(0.25, "epoch 1 of 4")

    stack.lease.beat()

    assert stack.job.heartbeat_time == stack.clock.now()
    assert (stack.job.progress, stack.job.stage) == (0.25, "epoch 1 of 4")


def test_progress_stays_between_0_and_1(stack: Stack) -> None:
    stack.lease.hooks.on_progress(1.0000001, "epoch 4 of 4")

    stack.lease.beat()

    assert stack.job.progress == 1.0


def test_an_epoch_is_written_at_once_and_once(stack: Stack) -> None:
    stack.lease.hooks.on_epoch(EPOCH)
    stack.lease.beat()

    with stack.store() as uow:
        (event,) = uow.jobs.events("job1")
    assert (event.message, event.epoch, event.state) == ("epoch 2 of 3", EPOCH, JobState.RUNNING)


def test_what_is_left_is_that_of_the_job_and_not_of_its_first_fold(stack: Stack) -> None:
    hooks = stack.lease.hooks
    hooks.on_progress(0.05, "fold 1")  # by an earlier attempt
    hooks.on_epoch(replace(EPOCH, seconds_left=7.0))
    stack.watch.seconds += 60
    hooks.on_progress(0.25, "fold 1")
    hooks.on_epoch(replace(EPOCH, seconds_left=0.0))
    with stack.store() as uow:
        told = [event.epoch.seconds_left for event in uow.jobs.events("job1") if event.epoch]
    assert told == [7.0, pytest.approx(225)]


def test_history_waits_for_a_database_that_is_away(stack: Stack) -> None:
    stack.store.error = StoreUnavailable()
    stack.lease.hooks.on_message("starting from weights: none")
    stack.lease.hooks.on_epoch(EPOCH)
    stack.lease.beat()
    assert not stack.lease.hooks.should_stop()

    stack.store.error = None
    stack.lease.beat()

    assert stack.messages == ["starting from weights: none", "epoch 2 of 3"]


def test_an_unforeseen_error_of_a_beat_does_not_end_the_lease(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    stack.store.error = RuntimeError("odd")

    stack.lease.beat()

    assert not stack.lease.hooks.should_stop()
    assert "heartbeat_failed job=job1" in caplog.text


def test_a_cancel_tells_the_trainer_to_stop(stack: Stack) -> None:
    assert not stack.lease.hooks.should_stop()
    stack.cancel()

    stack.lease.beat()

    assert stack.lease.hooks.should_stop()
    assert stack.kills == 0
    assert stack.lease.give_back()
    assert stack.job.state is JobState.CANCELLED
    assert stack.messages == ["cancelled"]


def test_a_trainer_that_does_not_stop_is_ended(stack: Stack) -> None:
    stack.cancel()
    stack.lease.beat()
    stack.watch.seconds += CANCEL_GRACE_SECONDS - 0.1
    stack.lease.beat()
    assert stack.kills == 0

    stack.watch.seconds += 0.2
    stack.lease.beat()

    assert stack.kills == 1
    assert stack.job.state is JobState.CANCELLED
    assert stack.messages == ["cancelled; the worker was ended"]


def test_a_stuck_trainer_is_ended_even_if_the_database_went_away(stack: Stack) -> None:
    stack.cancel()
    stack.lease.beat()
    stack.store.error = StoreUnavailable()
    stack.watch.seconds += CANCEL_GRACE_SECONDS

    stack.lease.beat()

    stack.store.error = None
    assert stack.kills == 1
    assert stack.job.state is JobState.CANCELLING


def test_a_worker_that_leaves_puts_its_job_back(stack: Stack) -> None:
    stack.leaving = True
    stack.lease.beat()
    assert stack.lease.hooks.should_stop()
    assert not stack.lease.give_back()  # it has not ended
    job = stack.job
    assert (job.state, job.worker, job.enqueue_time) == (JobState.QUEUED, None, None)
    assert job.futile_attempts == 0
    assert stack.messages == [f"{LEFT} Waiting to go on from the last checkpoint"]


def test_only_the_attempt_that_its_worker_ends_is_forgiven() -> None:
    stack = Stack(futile_attempts=2)
    assert stack.lease.futile_attempts == 3
    stack.leaving = True
    stack.lease.beat()
    assert (stack.lease.futile_attempts, stack.job.futile_attempts) == (2, 3)
    assert not stack.lease.give_back()
    assert stack.job.futile_attempts == 2


def test_an_attempt_that_got_further_before_its_worker_left_forgives_the_others() -> None:
    stack = Stack(futile_attempts=2)
    stack.lease.hooks.on_saved()
    stack.leaving = True
    stack.lease.beat()
    assert stack.lease.futile_attempts == 0
    assert not stack.lease.give_back()
    assert stack.job.futile_attempts == 0


def test_an_attempt_that_is_put_back_for_another_reason_counts() -> None:
    stack = Stack(futile_attempts=1)
    assert not stack.lease.put_back("the store is away.")
    assert (stack.job.state, stack.job.futile_attempts) == (JobState.QUEUED, 2)


def test_a_trainer_that_does_not_stop_for_its_worker_is_ended_and_its_job_put_back() -> None:
    stack = Stack(futile_attempts=2)
    stack.leaving = True
    stack.lease.beat()
    stack.watch.seconds += CANCEL_GRACE_SECONDS
    stack.lease.beat()
    assert stack.kills == 1
    assert (stack.job.state, stack.job.futile_attempts) == (JobState.QUEUED, 2)
    assert stack.messages == [f"{LEFT} Waiting to go on from the last checkpoint"]


def test_a_job_that_is_cancelled_while_its_worker_leaves_ends(stack: Stack) -> None:
    stack.leaving = True
    stack.lease.beat()
    stack.cancel()
    assert stack.lease.give_back()
    assert stack.job.state is JobState.CANCELLED
    assert stack.messages == ["cancelled"]


def test_a_job_that_another_worker_took_is_not_written_again(stack: Stack) -> None:
    stack.give_away()
    stack.lease.hooks.on_message("too late")

    stack.lease.beat()

    assert stack.lease.hooks.should_stop()
    assert not stack.lease.finish(succeeded, "made modelVersions/m1")
    assert (stack.job.state, stack.job.worker) == (JobState.RUNNING, "w2")
    assert stack.messages == []


def test_the_end_notices_by_itself_that_the_job_was_taken(stack: Stack) -> None:
    stack.give_away()

    assert not stack.lease.finish(succeeded, "made modelVersions/m1")

    assert (stack.job.state, stack.job.worker) == (JobState.RUNNING, "w2")


def test_a_job_that_was_deleted_stops(stack: Stack) -> None:
    del stack.store.state.jobs["job1"]

    stack.lease.beat()

    assert stack.lease.hooks.should_stop()
    assert not stack.lease.finish(succeeded, "made modelVersions/m1")


def test_the_end_writes_state_and_what_was_left_of_the_history(stack: Stack) -> None:
    stack.lease.hooks.on_message("one more thing")

    assert stack.lease.finish(succeeded, "made modelVersions/m1")

    assert (stack.job.state, stack.job.model_version) == (JobState.SUCCEEDED, "m1")
    assert stack.messages == ["one more thing", "made modelVersions/m1"]


def test_a_cancel_that_comes_before_the_end_wins(stack: Stack) -> None:
    stack.cancel()

    assert stack.lease.finish(succeeded, "made modelVersions/m1")

    assert (stack.job.state, stack.job.model_version) == (JobState.CANCELLED, None)


def test_nothing_is_written_after_the_end(stack: Stack) -> None:
    stack.lease.finish(succeeded, "made modelVersions/m1")
    ended = stack.job

    stack.clock.advance(60)
    stack.lease.beat()

    assert stack.job == ended
    assert not stack.lease.give_back()
    assert stack.kills == 0


def test_the_end_waits_for_the_database(stack: Stack) -> None:
    failures = iter([StoreUnavailable(), StoreUnavailable()])

    def ending(uow: UnitOfWork, job: TrainingJob) -> TrainingJob:
        for failure in failures:
            raise failure
        return succeeded(uow, job)

    assert stack.lease.finish(ending, "made modelVersions/m1")

    assert stack.job.state is JobState.SUCCEEDED
    assert stack.messages == ["made modelVersions/m1"]


def test_the_end_does_not_wait_for_ever(stack: Stack) -> None:
    stack.store.error = StoreUnavailable()
    stack.watch.step = STORE_PATIENCE_SECONDS / 3

    with pytest.raises(StoreUnavailable):
        stack.lease.finish(succeeded, "made modelVersions/m1")


@pytest.fixture
def running(stack: Stack) -> Iterator[Stack]:
    with stack.lease:
        yield stack


def test_the_thread_beats_by_itself(running: Stack) -> None:
    running.cancel()

    while not running.lease.hooks.should_stop():
        time.sleep(0.001)

    assert running.lease.give_back()
    assert running.job.state is JobState.CANCELLED


def test_an_attempt_is_futile_until_something_is_saved(stack: Stack) -> None:
    stack.lease.hooks.on_epoch(EPOCH)
    assert (stack.lease.futile_attempts, stack.job.futile_attempts) == (1, 1)
    stack.lease.hooks.within(0.5, 1.0).on_saved()
    stack.lease.beat()
    assert (stack.lease.futile_attempts, stack.job.futile_attempts) == (0, 0)


def test_a_trial_is_progress(stack: Stack) -> None:
    stack.lease.record(a_trial())
    assert (stack.lease.futile_attempts, stack.job.futile_attempts) == (0, 0)
