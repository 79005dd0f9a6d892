import asyncio
import os
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from core.errors import StoreUnavailable
from core.training import JobState, TrainingJob
from services.sweeper import SEND_AFTER, SEND_AGAIN_AFTER, TIDY_EVERY, Sweeper, job_folder
from services.usecases.staging import FORGOTTEN_AFTER, Staging
from tests.fakes.records import a_job
from tests.fakes.store import (
    FakeArtefactStore,
    FakeClock,
    FakeUnitOfWork,
    FakeUnitOfWorkFactory,
)
from tests.fakes.workers import FakeJobQueue

STALE = 30.0


class CountingQueue(FakeJobQueue):
    """Counts how often it was tried, the broker being away or not."""

    tries = 0

    def enqueue(self, job_id: str) -> None:
        self.tries += 1
        super().enqueue(job_id)


class World:
    """A sweeper over fakes, with no jobs."""

    def __init__(self, temporary_folder: Path) -> None:
        self.temporary_folder = temporary_folder
        self.store = FakeUnitOfWorkFactory()
        self.queue = CountingQueue()
        self.artefacts = FakeArtefactStore()
        self.clock = FakeClock()
        self.staging = Staging(artefacts=self.artefacts, clock=self.clock)
        self.sweeper = self.a_sweeper()

    def a_sweeper(self) -> Sweeper:
        return Sweeper(
            uow_factory=self.store,
            queue=self.queue,
            artefacts=self.artefacts,
            staging=self.staging,
            clock=self.clock,
            every_seconds=0.001,
            stale_seconds=STALE,
            max_attempts=3,
            temporary_folder=self.temporary_folder,
            monotonic=lambda: self.clock.now().timestamp(),
        )

    def add(self, **changes: Any) -> TrainingJob:
        """A job that is made now, with checkpoints."""
        now = self.clock.now()
        job = a_job(uuid4().hex, **{"create_time": now, "update_time": now} | changes)
        with self.store(write=True) as uow:
            uow.jobs.add(job)
            uow.commit()
        self.artefacts.put(f"{job_folder(job.id)}/checkpoint", b"weights")
        return job

    def lose(self, **changes: Any) -> TrainingJob:
        """A job whose worker has not been heard of for too long since the last sweep.

        The worker's own clock is hours behind, which must not matter.
        """
        lost = {
            "state": JobState.RUNNING,
            "worker": "worker",
            "attempt": 1,
            "futile_attempts": 1,
            "heartbeat_time": self.clock.now() - timedelta(hours=3),
            "enqueue_time": self.clock.now(),
        }
        job = self.add(**lost | changes)
        self.sweeper.sweep()
        self.watch(STALE - 1)
        self.clock.advance(2)
        return job

    def watch(self, seconds: float) -> None:
        """Let time pass, with a sweep now and then."""
        for _ in range(10):
            self.clock.advance(seconds / 10)
            self.sweeper.sweep()

    def sent_job(self) -> TrainingJob:
        return self.add(enqueue_time=self.clock.now())

    def forget_upload(self) -> None:
        """What a gateway that died long ago would leave."""
        clock = FakeClock()
        clock.time = self.clock.now() - FORGOTTEN_AFTER - timedelta(seconds=1)
        location = Staging(artefacts=self.artefacts, clock=clock).new_location()
        self.artefacts.put(f"{location}/000000", b"half a file")

    def job(self, job: TrainingJob) -> TrainingJob:
        return self.store.state.jobs[job.id]

    def messages(self, job: TrainingJob) -> list[str]:
        return [event.message for event in self.store.state.events.get(job.id, [])]

    def has_checkpoints(self, job: TrainingJob) -> bool:
        return self.artefacts.list(job_folder(job.id)) != ()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


# --- sending ------------------------------------------------------------------------------------


def test_a_job_that_was_never_sent_is_sent(world: World) -> None:
    job = world.add()
    world.clock.advance(SEND_AFTER.total_seconds())
    world.sweeper.sweep()
    assert world.queue.sent == [job.id]
    assert world.job(job).enqueue_time == world.clock.now()
    world.sweeper.sweep()
    assert world.queue.sent == [job.id]


def test_a_job_that_is_only_just_made_is_left_to_the_call_that_made_it(world: World) -> None:
    world.add()
    world.sweeper.sweep()
    assert world.queue.sent == []


def test_a_job_whose_message_waits_is_not_sent_again(world: World) -> None:
    jobs = []
    for _ in range(5):
        jobs.append(world.add().id)
        world.clock.advance(2)
    for _ in range(100):
        world.sweeper.sweep()
        world.clock.advance(SEND_AGAIN_AFTER.total_seconds())
    assert world.queue.sent == jobs
    world.queue.forget()
    world.sweeper.sweep()
    assert world.queue.sent == jobs * 2


def test_a_broker_that_is_away_is_not_asked_what_it_has_forgotten_but_later(world: World) -> None:
    sent, new = world.sent_job(), world.add()
    world.clock.advance(SEND_AGAIN_AFTER.total_seconds() + 1)
    world.queue.away = True
    world.sweeper.sweep()
    world.queue.away = False
    world.sweeper.sweep()
    assert sorted(world.queue.sent) == sorted([sent.id, new.id])


def test_a_job_that_was_forgotten_is_sent_again_after_a_while(world: World) -> None:
    world.clock.advance(1)
    job = world.sent_job()
    world.clock.advance(SEND_AGAIN_AFTER.total_seconds())
    world.sweeper.sweep()
    assert world.queue.sent == []
    world.clock.advance(1)
    world.sweeper.sweep()
    assert world.queue.sent == [job.id]


def test_what_waited_before_the_start_is_sent_once_more(world: World) -> None:
    job = world.sent_job()
    world.clock.advance(1)
    sweeper = world.a_sweeper()
    world.clock.advance(1)
    sweeper.sweep()
    sweeper.sweep()
    assert world.queue.sent == [job.id]


@pytest.mark.parametrize(
    "state", [state for state in JobState if state is not JobState.QUEUED], ids=str
)
def test_only_waiting_jobs_are_sent(world: World, state: JobState) -> None:
    world.add(state=state, heartbeat_time=world.clock.now())
    world.clock.advance(2)
    world.sweeper.sweep()
    assert world.queue.sent == []


def test_a_broker_that_is_away_gets_the_jobs_later(world: World) -> None:
    jobs = []
    for _ in range(3):
        jobs.append(world.add().id)
        world.clock.advance(2)
    world.queue.away = True
    world.sweeper.sweep()
    assert world.queue.tries == 1
    assert all(job.enqueue_time is None for job in world.store.state.jobs.values())
    world.queue.away = False
    world.sweeper.sweep()
    assert world.queue.sent == jobs


# --- lost workers -------------------------------------------------------------------------------


def test_a_job_with_a_heartbeat_is_left_alone(world: World) -> None:
    job = world.lose()
    world.clock.advance(-1)
    world.sweeper.sweep()
    assert world.job(job) == job


def test_a_wrong_clock_loses_no_job(world: World) -> None:
    job = world.lose()
    beat = world.job(job).heartbeat_time
    assert beat is not None
    for _ in range(10):
        beat += timedelta(seconds=2)
        world.store.state.jobs[job.id] = world.job(job).evolve(heartbeat_time=beat)
        world.sweeper.sweep()
        world.watch(STALE - 1)
    assert world.job(job).state is JobState.RUNNING


@pytest.mark.parametrize("error", [StoreUnavailable(), RuntimeError("nobody foresaw it")], ids=repr)
def test_a_database_that_was_away_loses_no_job(world: World, error: Exception) -> None:
    job = world.lose()  # at first it is only that nobody could write
    world.store.error = error
    for _ in range(3):
        with pytest.raises(type(error)):
            world.sweeper.sweep()
        world.clock.advance(STALE)
    world.store.error = None
    world.sweeper.sweep()
    assert world.job(job).state is JobState.RUNNING
    world.watch(STALE - 1)
    assert world.job(job).state is JobState.RUNNING
    world.watch(3)
    assert world.job(job).state is JobState.QUEUED


def test_an_outage_that_is_short_makes_nobody_wait_longer(world: World) -> None:
    job = world.lose()
    world.clock.advance(STALE / 2 - 3)
    world.sweeper.sweep()
    assert world.job(job).state is JobState.QUEUED


def test_a_worker_that_only_just_began_is_given_time(world: World) -> None:
    job = world.lose()
    world.store.state.jobs[job.id] = world.job(job).evolve(attempt=2)
    world.sweeper.sweep()
    assert world.job(job).state is JobState.RUNNING


def test_a_job_that_lost_its_worker_waits_for_another(world: World) -> None:
    job = world.lose(progress=0.5)
    world.sweeper.sweep()
    waiting = world.job(job)
    assert (waiting.state, waiting.worker, waiting.heartbeat_time) == (JobState.QUEUED, None, None)
    assert waiting.attempt == 1
    assert world.messages(job) == [
        "its worker gave no more sign of life; waiting for another, which resumes it"
    ]
    assert world.has_checkpoints(job)


def test_a_job_that_lost_its_worker_is_sent_in_the_same_round(world: World) -> None:
    job = world.lose()
    world.sweeper.sweep()
    assert world.queue.sent == [job.id]


def test_a_job_that_lost_its_worker_too_often_fails(world: World) -> None:
    job = world.lose(attempt=5, futile_attempts=3)
    world.sweeper.sweep()
    failed = world.job(job)
    assert (failed.state, failed.error_reason) == (JobState.FAILED, "WORKER_LOST")
    assert failed.error_message == world.messages(job)[0]
    assert failed.error_message.startswith("Its worker was lost, and 3 attempts in a row got no")
    assert world.queue.sent == []
    assert not world.has_checkpoints(job)


def test_a_job_that_gets_further_each_time_may_lose_any_number_of_workers(world: World) -> None:
    job = world.lose(attempt=50, futile_attempts=0)
    world.sweeper.sweep()
    assert world.job(job).state is JobState.QUEUED
    assert world.queue.sent == [job.id]


@pytest.mark.parametrize("attempt", [1, 3])
def test_a_job_that_is_being_cancelled_needs_no_worker_to_end(world: World, attempt: int) -> None:
    job = world.lose(state=JobState.CANCELLING, futile_attempts=attempt)
    world.sweeper.sweep()
    assert world.job(job).state is JobState.CANCELLED
    assert world.messages(job) == ["cancelled; its worker gave no more sign of life"]
    assert not world.has_checkpoints(job)


def test_other_jobs_keep_their_checkpoints(world: World) -> None:
    other = world.add(state=JobState.RUNNING, heartbeat_time=None)
    world.lose(futile_attempts=3)
    world.sweeper.sweep()
    assert world.has_checkpoints(other)


def test_a_worker_that_answers_after_all_keeps_its_job(world: World) -> None:
    job = world.lose()

    def answer(uow: FakeUnitOfWork) -> None:
        uow.jobs.heartbeat(job.id, "worker", world.clock.now(), 0.9, "training")
        uow.commit()

    world.store.rival = answer
    world.sweeper.sweep()
    assert (world.job(job).state, world.job(job).progress) == (JobState.RUNNING, 0.9)
    assert world.messages(job) == []


def test_of_two_sweepers_one_recovers_a_job(world: World) -> None:
    job = world.lose()

    def be_faster(uow: FakeUnitOfWork) -> None:
        waiting = uow.jobs.get(job.id).moved_to(
            JobState.QUEUED, world.clock.now(), worker=None, heartbeat_time=None
        )
        uow.jobs.save(waiting, expected=JobState.RUNNING)
        uow.commit()

    world.store.rival = be_faster
    world.sweeper.sweep()
    assert world.job(job).state is JobState.QUEUED
    assert world.messages(job) == []


# --- tidying ------------------------------------------------------------------------------------


def test_forgotten_uploads_are_removed_now_and_then(world: World) -> None:
    world.forget_upload()
    world.sweeper.sweep()
    assert world.artefacts.files == {}
    world.forget_upload()
    world.sweeper.sweep()
    assert len(world.artefacts.files) == 1
    world.clock.advance(TIDY_EVERY.total_seconds())
    world.sweeper.sweep()
    assert world.artefacts.files == {}


def test_what_a_killed_gateway_was_writing_is_removed_now_and_then(world: World) -> None:
    now = world.clock.now()
    forgotten = now - FORGOTTEN_AFTER - timedelta(seconds=1)
    world.artefacts.unfinished = [forgotten, now]
    for name, time in {
        "braintumor-upload-old": forgotten,
        "braintumor-upload-new": now,
        "somebody-elses": forgotten,
    }.items():
        file = world.temporary_folder / name
        file.write_bytes(b"half a picture")
        os.utime(file, (time.timestamp(), time.timestamp()))
    world.sweeper.sweep()
    assert world.artefacts.unfinished == [now]
    left = {file.name for file in world.temporary_folder.iterdir()}
    assert left == {"braintumor-upload-new", "somebody-elses"}


@pytest.mark.parametrize("state", [s for s in JobState if s.finished], ids=str)
def test_what_an_ended_job_left_is_removed_now_and_then(world: World, state: JobState) -> None:
    ended = world.add(state=state)
    waiting = world.sent_job()
    world.artefacts.put("jobs/of somebody else/checkpoint", b"weights")
    world.sweeper.sweep()
    assert not world.has_checkpoints(ended)
    assert world.has_checkpoints(waiting)
    assert world.artefacts.exists("jobs/of somebody else/checkpoint")


# --- running ------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [StoreUnavailable(), RuntimeError("nobody foresaw it")], ids=repr)
async def test_it_goes_on_after_an_error_until_it_is_cancelled(
    world: World, error: Exception
) -> None:
    job = world.add()
    world.clock.advance(2)
    world.store.error = error
    running = asyncio.create_task(world.sweeper.run())
    await asyncio.sleep(0.02)
    assert not running.done()
    world.store.error = None
    async with asyncio.timeout(10):
        while world.queue.sent != [job.id]:
            await asyncio.sleep(0.001)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
