"""Many gateways and workers on one database at once."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import pytest
from sqlalchemy import Engine

from core.audit_chain import verify_chain
from core.errors import AlreadyExists, InUse, NotFound
from core.prediction import Review
from core.registry import PRODUCTION
from core.training import JobState, TrainingSpec
from db.engine import create_store_engine
from db.unit_of_work import SqlUnitOfWorkFactory
from services.drain import Drain
from services.usecases.audit import AuditUseCases, Verdict
from services.usecases.datasets import DatasetUseCases
from services.usecases.models import ModelUseCases
from services.usecases.promotion_gate import NOTHING_SERVED
from services.usecases.training import TrainingUseCases
from tests.fakes.held_out import store_version
from tests.fakes.records import NOW, a_dataset, a_job, an_entry
from tests.fakes.registry import a_model_version
from tests.fakes.store import FakeArtefactStore, FakeClock
from tests.fakes.workers import FakeIngestor, FakeJobQueue, FakePreloader

T = TypeVar("T")
THREADS = 8
REQUEST = "6f1c1b0e-8a55-4d1f-9b7e-0d1f2a3b4c5d"


def all_at_once(work: Callable[[int], T], count: int = THREADS) -> list[T]:
    """The results of ``work(0)`` to ``work(count - 1)``, started together."""
    barrier = Barrier(count)

    def start(index: int) -> T:
        barrier.wait(30)
        return work(index)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(start, range(count)))


@pytest.fixture
def store(sql_engine: Engine) -> SqlUnitOfWorkFactory:
    return SqlUnitOfWorkFactory(sql_engine)


def test_the_audit_chain_has_one_end(sql_url: str) -> None:
    calls, rows = 5, 3

    def gateway(index: int) -> None:
        engine = create_store_engine(sql_url)  # each gateway is a process of its own
        factory = SqlUnitOfWorkFactory(engine)
        for _ in range(calls):
            with factory(write=True) as uow:
                uow.audit.append([an_entry(caller=f"gateway{index}") for _ in range(rows)])
                uow.commit()
        factory.close()

    all_at_once(gateway)
    factory = SqlUnitOfWorkFactory(create_store_engine(sql_url))
    with factory() as uow:
        report = verify_chain(uow.audit.iterate(), uow.audit.head())
    factory.close()
    assert report.intact, report.problem
    assert report.rows_checked == THREADS * calls * rows


def test_verification_is_not_fooled_by_rows_that_arrive(store: SqlUnitOfWorkFactory) -> None:
    def append(_: int) -> None:
        for _ in range(15):
            with store(write=True) as uow:
                uow.audit.append([an_entry()])
                uow.commit()

    def verify(_: int) -> list[str | None]:
        problems = []
        for _ in range(15):
            with store() as uow:
                rows = list(uow.audit.iterate())
                problems.append(verify_chain(rows, uow.audit.head()).problem)
        return problems

    results = all_at_once(lambda index: verify(index) if index % 2 else append(index), 4)
    assert [problem for result in results for problem in result or []] == [None] * 30


def test_a_request_that_arrives_everywhere_is_answered_once(store: SqlUnitOfWorkFactory) -> None:
    def answer(_: int) -> str:
        with store(write=True) as uow:
            (record,) = uow.audit.append([an_entry(request_id="r1")])
            uow.commit()
        return record.id

    assert len(set(all_at_once(answer))) == 1
    with store() as uow:
        assert uow.audit.head().sequence == 1


def test_a_review_that_arrives_everywhere_is_recorded_once(store: SqlUnitOfWorkFactory) -> None:
    with store(write=True) as uow:
        (record,) = uow.audit.append([an_entry()])
        uow.commit()
    verdict = Verdict(reviewer="", agrees=True, label=None, comment="")

    def review(index: int) -> Review:
        clock = FakeClock()
        clock.advance(index)
        use_cases = AuditUseCases(uow_factory=store, clock=clock)
        return use_cases.review(record.id, verdict, caller="ann", request_id=REQUEST)

    (found,) = set(all_at_once(review))
    with store() as uow:
        assert uow.audit.reviews(record.id) == (found,)


def having_promoted(store: SqlUnitOfWorkFactory, versions: Iterable[str]) -> ModelUseCases:
    """Use cases over a store in which these have served, one after the other."""
    with store(write=True) as uow:
        for version in versions:
            uow.models.add(a_model_version(version))
            uow.models.move_alias(PRODUCTION, version, NOW, "ann", "")
        uow.commit()
    return ModelUseCases(
        uow_factory=store,
        artefacts=FakeArtefactStore(),
        preloader=FakePreloader(),
        clock=FakeClock(),
    )


def test_two_rollbacks_at_once_go_back_twice(store: SqlUnitOfWorkFactory) -> None:
    versions = [f"m{number}" for number in range(THREADS + 1)]
    models = having_promoted(store, versions)
    moves = all_at_once(lambda _: models.roll_back("", reason="", caller="ann").move)
    assert sorted(move.to_version for move in moves) == versions[:-1]


def test_one_rollback_that_is_sent_many_times_goes_back_once(store: SqlUnitOfWorkFactory) -> None:
    models = having_promoted(store, "abc")
    moves = all_at_once(
        lambda _: models.roll_back("", reason="", caller="ann", from_version="c").move
    )
    assert {(move.sequence, move.to_version) for move in moves} == {(4, "b")}


def test_each_promotion_is_compared_with_what_it_replaces(store: SqlUnitOfWorkFactory) -> None:
    artefacts = FakeArtefactStore()
    with store(write=True) as uow:
        for index in range(THREADS):
            digest = store_version(artefacts, {"report.html": str(index).encode()})
            uow.models.add(a_model_version(f"m{index}", digest=digest))
        uow.commit()
    models = ModelUseCases(
        uow_factory=store, artefacts=artefacts, preloader=FakePreloader(), clock=FakeClock()
    )
    promotions = all_at_once(
        lambda index: models.promote(f"m{index}", alias="", reason="", force=False, caller="ann")
    )
    first, *others = sorted(promotions, key=lambda promotion: promotion.move.sequence)
    assert (first.move.from_version, first.note) == (None, NOTHING_SERVED)
    for promotion in others:
        assert f"with modelVersions/{promotion.move.from_version}, which" in promotion.note


@pytest.mark.parametrize("attempt", range(5))
def test_no_job_is_left_without_its_data_set(store: SqlUnitOfWorkFactory, attempt: int) -> None:
    with store(write=True) as uow:
        uow.datasets.add(a_dataset())
        uow.commit()
    artefacts = FakeArtefactStore()
    training = TrainingUseCases(
        uow_factory=store,
        queue=FakeJobQueue(),
        artefacts=artefacts,
        clock=FakeClock(),
        drain=Drain(),
    )
    datasets = DatasetUseCases(
        uow_factory=store,
        artefacts=artefacts,
        ingestor=FakeIngestor(store, artefacts),
        ingest_timeout=1,
    )

    def submit_or_delete(index: int) -> None:
        try:
            if (index + attempt) % 2:
                training.create("brains", TrainingSpec(), caller="ann")
            else:
                datasets.delete("brains")
        except (InUse, NotFound):  # whoever is second is told
            pass

    all_at_once(submit_or_delete)
    with store() as uow:
        if uow.jobs.unfinished_on("brains"):
            uow.datasets.get("brains")


def test_one_worker_gets_the_job(store: SqlUnitOfWorkFactory) -> None:
    with store(write=True) as uow:
        uow.jobs.add(a_job())
        uow.commit()

    def claim(index: int) -> str | None:
        with store(write=True) as uow:
            job = uow.jobs.claim("job1", f"w{index}", NOW)
            uow.commit()
        return job.worker if job else None

    winners = [worker for worker in all_at_once(claim) if worker]
    assert len(winners) == 1
    with store() as uow:
        job = uow.jobs.get("job1")
    assert (job.state, job.worker, job.attempt) == (JobState.RUNNING, winners[0], 1)


def test_events_from_both_sides_have_places_of_their_own(store: SqlUnitOfWorkFactory) -> None:
    with store(write=True) as uow:
        uow.jobs.add(a_job())
        uow.commit()

    def report(index: int) -> int:
        with store(write=True) as uow:
            event = uow.jobs.add_event("job1", NOW, JobState.RUNNING, f"from {index}")
            uow.commit()
        return event.sequence

    assert sorted(all_at_once(report)) == list(range(1, THREADS + 1))


def test_promotions_at_once_make_one_history(store: SqlUnitOfWorkFactory) -> None:
    with store(write=True) as uow:
        for index in range(THREADS):
            uow.models.add(a_model_version(f"m{index}"))
        uow.commit()

    def promote(index: int) -> None:
        with store(write=True) as uow:
            uow.models.move_alias("production", f"m{index}", NOW, "ann", "")
            uow.commit()

    all_at_once(promote)
    with store() as uow:
        history = uow.models.alias_history("production")
        current = uow.models.aliased("production")
    assert [move.sequence for move in history] == list(range(THREADS, 0, -1))
    assert current is not None
    assert current[0] == history[0].to_version
    assert [move.from_version for move in history[:-1]] == [m.to_version for m in history[1:]]


def test_a_name_goes_to_one_of_those_who_want_it(store: SqlUnitOfWorkFactory) -> None:
    def upload(index: int) -> bool:
        try:
            with store(write=True) as uow:
                uow.datasets.add(a_dataset(caller=f"caller{index}"))
                uow.commit()
        except AlreadyExists:
            return False
        return True

    assert sum(all_at_once(upload)) == 1
