import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from hashlib import sha256
from uuid import uuid4

import pytest

from core.errors import (
    ArtefactCorrupt,
    BrainTumorError,
    IllegalTransition,
    InvalidArgument,
    NotFound,
    RequestIdReused,
    StoreUnavailable,
    Unavailable,
)
from core.paging import PageRequest
from core.registry import artefact_prefix
from core.search import Range, SearchSpec
from core.training import EpochProgress, JobState, Task, TrainingJob, TrainingSpec
from services.drain import Drain
from services.usecases.training import JobUpdate, TrainingUseCases
from tests.fakes.records import a_dataset, a_search, a_trial
from tests.fakes.registry import a_model_version
from tests.fakes.store import FakeArtefactStore, FakeClock, FakeUnitOfWork, FakeUnitOfWorkFactory
from tests.fakes.workers import FakeJobQueue

SPEC = TrainingSpec(epochs=3)
EPOCH = EpochProgress(
    epoch=1,
    epochs=3,
    loss=0.5,
    accuracy=0.8,
    val_loss=0.6,
    val_accuracy=0.7,
    seconds=2.5,
    seconds_left=5.0,
)


class World:
    """Use cases over fakes, with one data set."""

    def __init__(self) -> None:
        self.store = FakeUnitOfWorkFactory()
        self.queue = FakeJobQueue()
        self.artefacts = FakeArtefactStore()
        self.clock = FakeClock()
        self.drain = Drain()
        self.use_cases = TrainingUseCases(
            uow_factory=self.store,
            queue=self.queue,
            artefacts=self.artefacts,
            clock=self.clock,
            drain=self.drain,
            poll_seconds=0.001,
        )
        with self.store(write=True) as uow:
            uow.datasets.add(a_dataset("brains"))
            uow.datasets.add(a_dataset("no-masks", mask_count=0))
            uow.commit()

    def create(
        self, spec: TrainingSpec = SPEC, request_id: str = "", caller: str = "ann"
    ) -> TrainingJob:
        return self.use_cases.create("brains", spec, caller=caller, request_id=request_id)

    def claim(self, job: TrainingJob) -> None:
        with self.store(write=True) as uow:
            assert uow.jobs.claim(job.id, "worker", self.clock.now())
            uow.jobs.add_event(job.id, self.clock.now(), JobState.RUNNING, "started")
            uow.commit()

    def progress(self, job: TrainingJob, share: float) -> None:
        with self.store(write=True) as uow:
            uow.jobs.heartbeat(job.id, "worker", self.clock.now(), share, "training")
            uow.commit()

    def end(self, job: TrainingJob, message: str | None = "made m1") -> None:
        with self.store(write=True) as uow:
            running = uow.jobs.get(job.id)
            ended = running.moved_to(JobState.SUCCEEDED, self.clock.now(), model_version="m1")
            uow.jobs.save(ended, expected=running.state)
            if message:
                uow.jobs.add_event(job.id, self.clock.now(), ended.state, message)
            uow.commit()

    def messages(self, job: TrainingJob) -> list[str]:
        with self.store() as uow:
            return [event.message for event in uow.jobs.events(job.id)]

    def watch(self, job: TrainingJob, after: int = 0) -> AsyncGenerator[JobUpdate, None]:
        return self.use_cases.watch(job.id, after)


@pytest.fixture
def world() -> World:
    return World()


def test_a_job_is_stored_then_sent(world: World) -> None:
    job = world.create()
    assert (job.state, job.caller, job.dataset) == (JobState.QUEUED, "ann", "brains")
    assert world.queue.sent == [job.id]
    assert world.use_cases.get(job.id).enqueue_time == world.clock.now()
    assert world.messages(job) == ["waiting for a worker"]
    assert [listed.id for listed in world.use_cases.list(PageRequest()).items] == [job.id]


def test_a_broker_that_is_away_is_no_error(world: World) -> None:
    world.queue.away = True
    job = world.create()
    assert world.use_cases.get(job.id).enqueue_time is None


def test_a_store_that_goes_away_behind_the_commit_is_no_error(world: World) -> None:
    class BreakingQueue(FakeJobQueue):
        def enqueue(self, job_id: str) -> None:
            world.store.error = StoreUnavailable()

    use_cases = TrainingUseCases(
        uow_factory=world.store,
        queue=BreakingQueue(),
        artefacts=world.artefacts,
        clock=world.clock,
        drain=world.drain,
    )
    job = use_cases.create("brains", SPEC, caller="ann")
    world.store.error = None
    assert world.use_cases.get(job.id).enqueue_time is None


def test_a_repeated_request_gets_the_first_job(world: World) -> None:
    request_id = str(uuid4())
    first = world.create(request_id=request_id)
    again = world.create(request_id=request_id.upper())
    assert again.id == first.id
    assert world.queue.sent == [first.id]
    assert world.create(request_id=request_id, caller="bob").id != first.id
    with world.store(write=True) as uow:  # the answer stands, whatever became of the data set
        uow.datasets.delete("brains")
        uow.commit()
    assert world.create(request_id=request_id).id == first.id


def test_a_repeated_request_gets_the_first_job_whatever_became_of_the_version(
    world: World,
) -> None:
    text = b'{"files": {"model.weights.h5": "w", "lineage.json": "l"}}'
    digest = sha256(text).hexdigest()
    world.artefacts.put(f"{artefact_prefix(digest)}/manifest.json", text)
    with world.store(write=True) as uow:
        uow.models.add(a_model_version("v1", digest=digest))
        uow.commit()
    spec, request_id = replace(SPEC, weights="version:v1"), str(uuid4())
    first = world.create(spec, request_id)
    assert first.spec.weights == f"version:v1#sha256={digest}"
    world.artefacts.delete(artefact_prefix(digest))
    assert world.create(spec, request_id).id == first.id
    with pytest.raises(RequestIdReused):
        world.create(SPEC, request_id)
    with pytest.raises(ArtefactCorrupt):
        world.create(spec)


def test_a_request_id_is_for_one_recipe_on_one_data_set(world: World) -> None:
    request_id = str(uuid4())
    world.create(request_id=request_id)
    with pytest.raises(RequestIdReused):
        world.create(TrainingSpec(epochs=4), request_id)
    with pytest.raises(RequestIdReused):
        world.use_cases.create("others", SPEC, caller="ann", request_id=request_id)


def test_a_search_is_a_job_with_trials(world: World) -> None:
    job = world.use_cases.create("brains", SPEC, caller="ann", search=a_search())
    assert world.queue.sent == [job.id]
    assert world.use_cases.get(job.id).search == a_search()
    with world.store(write=True) as uow:
        uow.jobs.add_trial(job.id, a_trial())
        uow.commit()
    assert world.use_cases.trials(job) == (a_trial(),)


def test_a_search_has_no_folds(world: World) -> None:
    with pytest.raises(InvalidArgument) as caught:
        world.use_cases.create("brains", TrainingSpec(folds=5), caller="ann", search=a_search())
    assert [v.field for v in caught.value.violations] == ["training_job.spec.folds"]
    assert world.queue.sent == []


def test_a_search_for_a_segmenter_varies_what_teaches_it(world: World) -> None:
    spec = TrainingSpec(task=Task.SEGMENTATION)
    mixed = a_search(space={"mixup": Range(low=0.1, high=0.4)})
    with pytest.raises(InvalidArgument) as caught:
        world.use_cases.create("brains", spec, caller="ann", search=mixed)
    assert [v.field for v in caught.value.violations] == ["training_job.search.space.mixup"]
    assert world.use_cases.create("brains", spec, caller="ann", search=a_search()).spec == spec


def test_a_request_id_is_for_one_search(world: World) -> None:
    request_id = str(uuid4())
    first = world.use_cases.create(
        "brains", SPEC, caller="ann", request_id=request_id, search=a_search()
    )
    again = world.use_cases.create(
        "brains", SPEC, caller="ann", request_id=request_id, search=a_search()
    )
    assert again.id == first.id
    with pytest.raises(RequestIdReused):
        world.create(request_id=request_id)


def test_the_same_request_on_two_connections_makes_one_job(world: World) -> None:
    request_id = str(uuid4())
    first = world.create(request_id=request_id)

    def looked_too_early(uow: FakeUnitOfWork) -> None:
        uow.jobs.find_by_request = lambda caller, request_id: None  # type: ignore[method-assign]

    world.store.rival = looked_too_early
    assert world.create(request_id=request_id).id == first.id
    assert list(world.store.state.jobs) == [first.id]
    assert world.queue.sent == [first.id]


@pytest.mark.parametrize(
    ("dataset", "spec", "request_id", "error"),
    [
        ("nowhere", SPEC, "", NotFound),
        ("brains", SPEC, "7", InvalidArgument),
        ("no-masks", TrainingSpec(task=Task.SEGMENTATION), "", InvalidArgument),
        ("no-masks", TrainingSpec(counterfactuals=0.5), "", InvalidArgument),
        ("no-masks", TrainingSpec(folds=5), "", InvalidArgument),
    ],
)
def test_bad_jobs_are_refused(
    world: World, dataset: str, spec: TrainingSpec, request_id: str, error: type[BrainTumorError]
) -> None:
    with pytest.raises(error):
        world.use_cases.create(dataset, spec, caller="ann", request_id=request_id)
    assert world.queue.sent == []
    assert world.use_cases.list(PageRequest()).items == ()


def test_a_search_for_what_takes_masks_needs_some(world: World) -> None:
    search = SearchSpec.validated({"space": {"counterfactuals": {"low": 0.0, "high": 0.5}}})
    with pytest.raises(InvalidArgument, match="no tumour masks"):
        world.use_cases.create("no-masks", SPEC, caller="ann", search=search)
    assert world.use_cases.create("brains", SPEC, caller="ann", search=search).search == search


def test_a_queued_job_is_cancelled_at_once(world: World) -> None:
    job = world.create()
    cancelled = world.use_cases.cancel(job.id, caller="bob")
    assert cancelled.state is JobState.CANCELLED
    assert cancelled.end_time == world.clock.now()
    assert world.messages(job)[-1] == "cancelled by bob"
    with pytest.raises(IllegalTransition):
        world.use_cases.cancel(job.id, caller="bob")


def test_a_running_job_is_told_to_stop_once(world: World) -> None:
    job = world.create()
    world.claim(job)
    for _ in range(2):
        assert world.use_cases.cancel(job.id, caller="bob").state is JobState.CANCELLING
    assert world.messages(job)[-1:] == ["bob asked to cancel it"]


def test_a_job_that_ended_is_not_cancelled(world: World) -> None:
    job = world.create()
    world.claim(job)
    world.end(job)
    with pytest.raises(IllegalTransition):
        world.use_cases.cancel(job.id, caller="bob")
    with pytest.raises(NotFound):
        world.use_cases.cancel("nobody", caller="bob")


def test_a_cancel_that_meets_a_claim_cancels_the_running_job(world: World) -> None:
    queued = world.create()
    world.claim(queued)

    def looked_too_early(uow: FakeUnitOfWork) -> None:
        uow.jobs.get = lambda job_id: queued  # type: ignore[method-assign]

    world.store.rival = looked_too_early
    assert world.use_cases.cancel(queued.id, caller="bob").state is JobState.CANCELLING


async def test_watching_shows_what_happened_and_what_happens(world: World) -> None:
    job = world.create()
    world.claim(job)
    async with aclosing(world.watch(job)) as updates:
        first, second = await anext(updates), await anext(updates)
        assert [u.event.sequence for u in (first, second) if u.event] == [1, 2]
        assert first.job.state is JobState.RUNNING
        world.progress(job, 0.5)
        third = await anext(updates)
        assert (third.event, third.job.progress, third.job.stage) == (None, 0.5, "training")
        with world.store(write=True) as uow:
            uow.jobs.add_event(job.id, world.clock.now(), JobState.RUNNING, "epoch 1 of 3", EPOCH)
            uow.commit()
        fourth = await anext(updates)
        assert fourth.event
        assert fourth.event.epoch == EPOCH
        world.end(job)
        last = [update async for update in updates]
    assert [u.event.message for u in last if u.event] == ["made m1"]
    assert last[-1].job.model_version == "m1"


async def test_watching_ends_even_if_the_end_left_no_event(world: World) -> None:
    job = world.create()
    world.claim(job)
    async with aclosing(world.watch(job, after=2)) as updates:
        assert (await anext(updates)).event is None
        world.end(job, message=None)
        last = [update async for update in updates]
    assert [(u.job.state, u.event) for u in last] == [(JobState.SUCCEEDED, None)]


async def test_nothing_new_is_not_worth_an_update(world: World) -> None:
    job = world.create()
    async with aclosing(world.watch(job)) as updates:
        await anext(updates)
        waiting = asyncio.create_task(anext(updates))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])


async def test_a_job_that_ended_is_told_and_that_is_all(world: World) -> None:
    job = world.create()
    world.use_cases.cancel(job.id, caller="bob")
    assert [u.event.sequence async for u in world.watch(job, after=1) if u.event] == [2]
    (only,) = [update async for update in world.watch(job, after=2)]
    assert (only.event, only.job.state) == (None, JobState.CANCELLED)


async def test_watching_ends_when_the_server_goes_away(world: World) -> None:
    job = world.create()
    async with aclosing(world.watch(job)) as updates:
        await anext(updates)
        world.drain.begin()
        with pytest.raises(Unavailable):
            await anext(updates)


async def test_odd_watches_are_refused(world: World) -> None:
    job = world.create()
    with pytest.raises(InvalidArgument):
        await anext(world.watch(job, after=-1))
    with pytest.raises(NotFound):
        await anext(world.use_cases.watch("nobody"))
