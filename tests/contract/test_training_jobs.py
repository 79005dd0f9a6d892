"""Training jobs in every store."""

import math
from datetime import timedelta
from typing import Any

import pytest

from core.errors import AlreadyExists, IllegalTransition, NotFound, RequestIdReused
from core.paging import PageRequest
from core.ports import UnitOfWorkFactory
from core.search import TrialState
from core.training import EpochProgress, JobState, TrainingJob
from tests.fakes.records import NOW, a_job, a_search, a_trial

LATER = NOW + timedelta(seconds=5)


def put(store: UnitOfWorkFactory, *jobs: TrainingJob) -> None:
    with store(write=True) as uow:
        for job in jobs:
            uow.jobs.add(job)
        uow.commit()


def test_a_job_comes_back_as_it_went_in(store: UnitOfWorkFactory) -> None:
    job = a_job(
        request_id="7b0f", state=JobState.FAILED, progress=0.1 + 0.2, stage="epoch 2 of 3",
        attempt=2, futile_attempts=1, worker="w1", heartbeat_time=NOW, enqueue_time=NOW,
        start_time=NOW, end_time=LATER, model_version="m1", error_reason="LOST",
        error_message="gone",
    )  # fmt: skip
    put(store, job)
    with store() as uow:
        assert uow.jobs.get("job1") == job
        assert uow.jobs.find_by_request("ann", "7b0f") == job
        assert uow.jobs.find_by_request("bob", "7b0f") is None


def test_unknown_jobs_are_named(store: UnitOfWorkFactory) -> None:
    with store(write=True) as uow:
        calls: list[Any] = [
            lambda: uow.jobs.get("none"),
            lambda: uow.jobs.save(a_job("none"), expected=JobState.QUEUED),
            lambda: uow.jobs.heartbeat("none", "w1", NOW, 0.5, ""),
            lambda: uow.jobs.mark_enqueued("none", NOW),
            lambda: uow.jobs.add_event("none", NOW, JobState.QUEUED, "hello"),
            lambda: uow.jobs.add_trial("none", a_trial()),
        ]
        for call in calls:
            with pytest.raises(NotFound, match="trainingJobs/none"):
                call()
        assert uow.jobs.claim("none", "w1", NOW) is None
        assert uow.jobs.events("none") == ()
        assert uow.jobs.trials("none") == ()


def test_taken_names_are_refused(store: UnitOfWorkFactory) -> None:
    put(store, a_job(request_id="r1"))
    with store(write=True) as uow:
        with pytest.raises(AlreadyExists, match="trainingJobs/job1"):
            uow.jobs.add(a_job(caller="bob"))
        with pytest.raises(RequestIdReused, match="r1"):
            uow.jobs.add(a_job("job2", request_id="r1"))


def test_jobs_are_listed_newest_first(store: UnitOfWorkFactory) -> None:
    put(store, a_job("old"), a_job("new", create_time=LATER))
    with store() as uow:
        first = uow.jobs.list(PageRequest(size=1))
        assert [job.id for job in first.items] == ["new"]
        second = uow.jobs.list(PageRequest(size=1, after=first.next))
        assert [job.id for job in second.items] == ["old"]
        assert second.next is None


def test_saving_needs_the_expected_state(store: UnitOfWorkFactory) -> None:
    put(store, a_job())
    cancelled = a_job().moved_to(JobState.CANCELLED, LATER, error_message="on request")
    with store(write=True) as uow:
        with pytest.raises(IllegalTransition, match="is QUEUED and cannot become CANCELLED"):
            uow.jobs.save(cancelled, expected=JobState.RUNNING)
        uow.jobs.save(cancelled, expected=JobState.QUEUED)
        uow.commit()
    with store() as uow:
        assert uow.jobs.get("job1") == cancelled


def test_a_queued_job_is_claimed_once(store: UnitOfWorkFactory) -> None:
    put(store, a_job())
    with store(write=True) as uow:
        claimed = uow.jobs.claim("job1", "w1", LATER)
        uow.commit()
    assert claimed == a_job(
        state=JobState.RUNNING,
        attempt=1,
        futile_attempts=1,
        worker="w1",
        heartbeat_time=LATER,
        update_time=LATER,
        start_time=LATER,
    )
    with store(write=True) as uow:
        assert uow.jobs.get("job1") == claimed
        assert uow.jobs.claim("job1", "w2", LATER) is None


def test_a_second_attempt_keeps_the_first_start(store: UnitOfWorkFactory) -> None:
    put(store, a_job())
    with store(write=True) as uow:
        first = uow.jobs.claim("job1", "w1", NOW)
        assert first is not None
        uow.jobs.save(first.moved_to(JobState.QUEUED, LATER), expected=JobState.RUNNING)
        second = uow.jobs.claim("job1", "w2", LATER)
    assert second is not None
    assert (second.attempt, second.worker, second.start_time) == (2, "w2", NOW)


def test_a_heartbeat_records_progress(store: UnitOfWorkFactory) -> None:
    put(store, a_job(state=JobState.RUNNING, worker="w1", heartbeat_time=NOW))
    with store(write=True) as uow:
        assert uow.jobs.heartbeat("job1", "w1", LATER, 0.25, "epoch 1") is JobState.RUNNING
        job = uow.jobs.get("job1")
    assert (job.heartbeat_time, job.update_time) == (LATER, LATER)
    assert (job.progress, job.stage) == (0.25, "epoch 1")


def test_attempts_are_futile_until_one_gets_further(store: UnitOfWorkFactory) -> None:
    put(store, a_job())
    for number in (1, 2):
        with store(write=True) as uow:
            claimed = uow.jobs.claim("job1", "w1", NOW)
            assert claimed is not None
            assert (claimed.attempt, claimed.futile_attempts) == (number, number)
            uow.jobs.heartbeat("job1", "w1", LATER, 0.25, "epoch 1")
            waiting = uow.jobs.get("job1").moved_to(JobState.QUEUED, LATER, worker=None)
            uow.jobs.save(waiting, expected=JobState.RUNNING)
            uow.commit()
    with store(write=True) as uow:
        uow.jobs.claim("job1", "w1", NOW)
        uow.jobs.heartbeat("job1", "other", LATER, 0.5, "epoch 2", got_further=True)
        assert uow.jobs.get("job1").futile_attempts == 3
        uow.jobs.heartbeat("job1", "w1", LATER, 0.5, "epoch 2", got_further=True)
        uow.commit()
    with store() as uow:
        job = uow.jobs.get("job1")
    assert (job.attempt, job.futile_attempts) == (3, 0)


def test_an_attempt_may_be_forgiven(store: UnitOfWorkFactory) -> None:
    put(store, a_job(futile_attempts=2))
    with store(write=True) as uow:
        claimed = uow.jobs.claim("job1", "w1", NOW)
        assert claimed is not None
        waiting = claimed.moved_to(JobState.QUEUED, LATER, worker=None, futile_attempts=2)
        uow.jobs.save(waiting, expected=JobState.RUNNING)
        uow.commit()
    with store() as uow:
        job = uow.jobs.get("job1")
    assert (job.attempt, job.futile_attempts) == (1, 2)


def test_a_heartbeat_learns_of_cancelling(store: UnitOfWorkFactory) -> None:
    put(store, a_job(state=JobState.CANCELLING, worker="w1", heartbeat_time=NOW))
    with store(write=True) as uow:
        assert uow.jobs.heartbeat("job1", "w1", LATER, 0.5, "") is JobState.CANCELLING


@pytest.mark.parametrize(
    "held",
    [
        {"state": JobState.RUNNING, "worker": "w2"},
        {"state": JobState.QUEUED, "worker": "w1"},
        {"state": JobState.SUCCEEDED, "worker": "w1"},
    ],
)
def test_a_worker_that_lost_the_job_is_told_to_stop(
    store: UnitOfWorkFactory, held: dict[str, Any]
) -> None:
    job = a_job(heartbeat_time=NOW, **held)
    put(store, job)
    with store(write=True) as uow:
        assert uow.jobs.heartbeat("job1", "w1", LATER, 0.9, "mine") is JobState.CANCELLED
        assert uow.jobs.get("job1") == job


def test_the_sweeper_finds_what_waits(store: UnitOfWorkFactory) -> None:
    put(
        store,
        a_job("never-sent", create_time=LATER),
        a_job("sent-long-ago", enqueue_time=NOW),
        a_job("just-sent", enqueue_time=LATER),
        a_job("running", state=JobState.RUNNING),
    )
    with store(write=True) as uow:
        assert [job.id for job in uow.jobs.waiting(LATER)] == ["sent-long-ago", "never-sent"]
        uow.jobs.mark_enqueued("never-sent", LATER)
        assert [job.id for job in uow.jobs.waiting(LATER)] == ["sent-long-ago"]


def test_the_sweeper_finds_what_workers_hold(store: UnitOfWorkFactory) -> None:
    put(store, *(a_job(state.lower(), state=state, heartbeat_time=NOW) for state in JobState))
    with store() as uow:
        held = uow.jobs.held()
    assert {job.state for job in held} == {JobState.RUNNING, JobState.CANCELLING}
    assert all(job.heartbeat_time == NOW for job in held)


def test_a_data_set_knows_who_needs_it(store: UnitOfWorkFactory) -> None:
    put(store, *(a_job(state.lower(), state=state) for state in JobState), a_job("x", dataset="y"))
    with store() as uow:
        assert {job.state for job in uow.jobs.unfinished_on("brains")} == {
            JobState.QUEUED,
            JobState.RUNNING,
            JobState.CANCELLING,
        }


def test_events_count_from_one_within_their_job(store: UnitOfWorkFactory) -> None:
    put(store, a_job("job1"), a_job("job2"))
    epoch = EpochProgress(
        epoch=1, epochs=3, loss=0.1 + 0.2, accuracy=1 / 3, val_loss=2.5, val_accuracy=0.5,
        seconds=1.25, seconds_left=2.5, val_macro_f1=2 / 3, images_per_second=23.5,
        input_share=0.01, validation_share=0.1, busy_share=0.96,
    )  # fmt: skip
    with store(write=True) as uow:
        first = uow.jobs.add_event("job1", NOW, JobState.RUNNING, "started")
        uow.jobs.add_event("job2", NOW, JobState.QUEUED, "another job's")
        second = uow.jobs.add_event("job1", LATER, JobState.RUNNING, "epoch 1", epoch)
        uow.commit()
    assert (first.sequence, second.sequence) == (1, 2)
    assert second.epoch == epoch
    with store() as uow:
        assert uow.jobs.events("job1") == (first, second)
        assert uow.jobs.events("job1", after=1) == (second,)
        assert uow.jobs.events("job1", after=2) == ()


def test_a_diverged_epoch_is_recorded(store: UnitOfWorkFactory) -> None:
    put(store, a_job())
    epoch = EpochProgress(
        epoch=1, epochs=3, loss=math.nan, accuracy=0.25, val_loss=math.inf, val_accuracy=0.25,
        seconds=1.0, seconds_left=2.0,
    )  # fmt: skip
    with store(write=True) as uow:
        uow.jobs.add_event("job1", NOW, JobState.RUNNING, "epoch 1", epoch)
        uow.commit()
    with store() as uow:
        (event,) = uow.jobs.events("job1")
    assert event.epoch is not None
    assert math.isnan(event.epoch.loss)
    assert event.epoch.val_loss == math.inf


def test_a_search_comes_back_as_it_went_in(store: UnitOfWorkFactory) -> None:
    job = a_job(search=a_search(), state=JobState.RUNNING)
    put(store, job)
    ended = job.moved_to(JobState.SUCCEEDED, LATER, result_job="job2")
    with store(write=True) as uow:
        found = uow.jobs.get("job1")
        assert found == job
        assert found.search is not None
        assert list(found.search.space) == list(a_search().space)
        uow.jobs.save(ended, expected=JobState.RUNNING)
        assert uow.jobs.get("job1") == ended


def test_trials_are_kept_in_order(store: UnitOfWorkFactory) -> None:
    put(store, a_job("job1"), a_job("job2"))
    trials = (
        a_trial(1),
        a_trial(2, state=TrialState.PRUNED, scores=(0.25,)),
        a_trial(3, state=TrialState.FAILED, scores=(), error="NaN \N{BRAIN}"),
    )
    with store(write=True) as uow:
        for trial in trials:
            uow.jobs.add_trial("job1", trial)
        uow.jobs.add_trial("job2", a_trial(1))
        uow.commit()
    with store() as uow:
        assert uow.jobs.trials("job1") == trials
        assert uow.jobs.trials("job2") == (a_trial(1),)


def test_a_trial_that_is_written_again_stays_as_it_was(store: UnitOfWorkFactory) -> None:
    put(store, a_job())
    with store(write=True) as uow:
        uow.jobs.add_trial("job1", a_trial())
        uow.jobs.add_trial("job1", a_trial(seconds=99.0))
        assert uow.jobs.trials("job1") == (a_trial(),)
