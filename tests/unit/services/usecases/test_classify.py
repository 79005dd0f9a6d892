import asyncio
import math
import sys
import threading
from datetime import UTC, datetime
from hashlib import sha256
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from core.errors import (
    BrainTumorError,
    DeadlinePassed,
    ImageRefused,
    InvalidArgument,
    NoProductionModel,
    NotFound,
    Overloaded,
    RequestIdReused,
    StoreUnavailable,
    WorkerLost,
)
from core.paging import PageRequest
from core.prediction import AuditEntry, AuditRecord, MaskFormat, Outcome, PixelSpacing
from services.usecases import classify
from services.usecases.classify import ClassifyAnswer, ClassifyCommand, ClassifyUseCase
from tests.fakes.gateway import FakeAuditWriter, FakePredictor
from tests.fakes.registry import a_model_version
from tests.fakes.store import FakeClock, FakeUnitOfWork, FakeUnitOfWorkFactory

JPEG = b"\xff\xd8\xff\xe0 a picture"
INVALID = "INVALID_ARGUMENT"


class StuckStore(FakeUnitOfWorkFactory):
    """Lets nobody read until ``answers`` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = threading.Event()

    def __call__(self, *, write: bool = False) -> FakeUnitOfWork:
        assert write or self.answers.wait(30)
        return super().__call__(write=write)


class CountedStore(FakeUnitOfWorkFactory):
    """Counts who only reads."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    def __call__(self, *, write: bool = False) -> FakeUnitOfWork:
        self.reads += not write
        return super().__call__(write=write)


class World:
    """A use case over fakes, with model m1 promoted."""

    def __init__(
        self,
        *,
        promoted: bool = True,
        max_in_flight: int = 4,
        max_bytes_in_flight: int = 10_000,
        store: FakeUnitOfWorkFactory | None = None,
    ) -> None:
        self.store = store or FakeUnitOfWorkFactory()
        self.predictor = FakePredictor()
        self.audit = FakeAuditWriter(self.store)
        with self.store(write=True) as uow:
            uow.models.add(a_model_version("m1"))
            if promoted:
                uow.models.move_alias("production", "m1", datetime.now(UTC), "someone", "")
            uow.commit()
        self.use_case = ClassifyUseCase(
            predictor=self.predictor,
            audit=self.audit,
            uow_factory=self.store,
            clock=FakeClock(),
            software_version="1.2.3",
            max_image_bytes=1000,
            max_in_flight=max_in_flight,
            max_bytes_in_flight=max_bytes_in_flight,
            timeout_seconds=30,
        )

    async def classify(self, image: bytes = JPEG, **fields: object) -> ClassifyAnswer:
        command = ClassifyCommand(image=image, caller="clinic", **fields)  # type: ignore[arg-type]
        return await self.use_case.classify(command)

    def add_model(self, version: str) -> None:
        with self.store(write=True) as uow:
            uow.models.add(a_model_version(version))
            uow.commit()

    async def until_asked(self, count: int) -> None:
        while len(self.predictor.calls) < count:
            await asyncio.sleep(0.001)

    def log(self) -> tuple[AuditRecord, ...]:
        with self.store() as uow:
            return uow.audit.list(PageRequest(), newest_first=False).items


async def test_the_answer_is_in_the_log_before_it_is_given() -> None:
    world = World()
    answer = await world.classify()
    (record,) = world.log()
    assert answer.record == record
    assert record.outcome is Outcome.ANSWERED
    assert record.status == "OK"
    assert record.model_version == "m1"
    assert record.caller == "clinic"
    assert record.software_version == "1.2.3"
    assert answer.prediction is not None
    assert record.probabilities == answer.prediction.probabilities
    assert record.label == answer.prediction.label


async def test_the_model_that_was_asked_for_answers() -> None:
    world = World(promoted=False)
    answer = await world.classify(model_version="m1")
    assert answer.record.model_version == "m1"
    assert world.predictor.calls[0]["digest"] == a_model_version("m1").digest


async def test_requests_of_one_moment_are_looked_up_together_and_refused_alone() -> None:
    world = World(store=(store := CountedStore()))
    answers = await asyncio.gather(
        world.classify(),
        world.classify(model_version="unheard-of"),
        world.classify(model_version="m1"),
        return_exceptions=True,
    )
    assert store.reads == 1
    assert [type(answer) for answer in answers] == [ClassifyAnswer, NotFound, ClassifyAnswer]


async def test_who_comes_after_a_promotion_is_answered_by_the_promoted() -> None:
    world = World()
    world.add_model("m2")
    await world.classify()
    with world.store(write=True) as uow:
        uow.models.move_alias("production", "m2", datetime.now(UTC), "someone", "")
        uow.commit()
    assert (await world.classify()).record.model_version == "m2"


@pytest.mark.parametrize(
    ("fields", "error", "outcome", "status"),
    [
        ({"image": b""}, ImageRefused, Outcome.REFUSED, "INVALID_ARGUMENT"),
        ({"image": JPEG + bytes(2000)}, ImageRefused, Outcome.REFUSED, "INVALID_ARGUMENT"),
        ({"request_id": "no uuid"}, InvalidArgument, Outcome.REFUSED, "INVALID_ARGUMENT"),
        ({"model_version": "nobody"}, NotFound, Outcome.REFUSED, "NOT_FOUND"),
        ({"problem": InvalidArgument.of("x", "?")}, InvalidArgument, Outcome.REFUSED, INVALID),
        ({"mask_format": MaskFormat.PNG}, InvalidArgument, Outcome.REFUSED, INVALID),
        *(
            (
                {"pixel_spacing": PixelSpacing(x_mm=x, y_mm=y)},
                InvalidArgument,
                Outcome.REFUSED,
                INVALID,
            )
            for x, y in ((0.0, 1.0), (1.0, -1.0), (math.nan, 1.0), (1.0, math.inf), (101.0, 1.0))
        ),
        ({"deadline": 1.0}, DeadlinePassed, Outcome.FAILED, "DEADLINE_EXCEEDED"),
    ],
)
async def test_refusals_are_recorded(
    fields: dict[str, object], error: type[BrainTumorError], outcome: Outcome, status: str
) -> None:
    world = World()
    with pytest.raises(error):
        await world.classify(**fields)  # type: ignore[arg-type]
    (record,) = world.log()
    assert (record.outcome, record.status) == (outcome, status)
    assert record.label is None
    assert record.reason
    assert record.message


async def test_nothing_promoted_is_recorded() -> None:
    world = World(promoted=False)
    with pytest.raises(NoProductionModel):
        await world.classify()
    assert world.log()[0].reason == "NO_PRODUCTION_MODEL"


async def test_a_workers_failure_is_recorded_and_the_next_request_works() -> None:
    world = World()
    world.predictor.result = WorkerLost()
    with pytest.raises(WorkerLost):
        await world.classify()
    world.predictor.result = None
    await world.classify()
    assert [r.outcome for r in world.log()] == [Outcome.FAILED, Outcome.ANSWERED]


async def test_an_unforeseen_failure_is_recorded_without_its_text() -> None:
    world = World()
    world.predictor.result = RuntimeError("secret detail")
    with pytest.raises(RuntimeError), capture_logs() as lines:
        await world.classify()
    (record,) = world.log()
    assert record.status == "INTERNAL"
    assert "secret" not in (record.message or "")
    assert f"look for {record.id} in the log" in (record.message or "")
    assert [line["prediction"] for line in lines] == [record.id]


async def test_without_the_log_there_is_no_answer() -> None:
    world = World()
    world.audit.error = StoreUnavailable()
    with pytest.raises(StoreUnavailable):
        await world.classify()
    with pytest.raises(StoreUnavailable):
        await world.classify(b"")
    assert world.log() == ()


async def test_a_repeated_request_id_gets_the_first_answer() -> None:
    world = World()
    request_id = str(uuid4())
    first = await world.classify(request_id=request_id)
    again = await world.classify(request_id=request_id.upper())
    assert again.record == first.record
    assert len(world.predictor.calls) == len(world.log()) == 1


async def test_a_failed_request_may_be_repeated() -> None:
    world = World()
    request_id = str(uuid4())
    world.predictor.result = WorkerLost()
    with pytest.raises(WorkerLost):
        await world.classify(request_id=request_id)
    world.predictor.result = None
    assert (await world.classify(request_id=request_id)).record.outcome is Outcome.ANSWERED


async def test_simultaneous_repeats_share_one_record() -> None:
    world = World()
    request_id = str(uuid4())
    world.predictor.gate.clear()
    asked = [asyncio.create_task(world.classify(request_id=request_id)) for _ in range(3)]
    while len(world.predictor.calls) < 3:
        await asyncio.sleep(0.001)
    world.predictor.gate.set()
    answers = await asyncio.gather(*asked)
    assert len({a.record.id for a in answers}) == len(world.log()) == 1


async def test_a_request_id_is_for_one_picture() -> None:
    world = World()
    request_id = str(uuid4())
    await world.classify(request_id=request_id)
    with pytest.raises(RequestIdReused):
        await world.classify(JPEG + b"!", request_id=request_id)


async def test_a_request_id_is_for_one_model_version() -> None:
    world = World()
    world.add_model("m2")
    request_id = str(uuid4())
    await world.classify(request_id=request_id)
    await world.classify(request_id=request_id, model_version="m1")
    with pytest.raises(RequestIdReused):
        await world.classify(request_id=request_id, model_version="m2")


async def test_the_slower_of_two_pictures_with_one_request_id_is_refused_and_recorded() -> None:
    world = World()
    request_id = str(uuid4())
    world.predictor.gate.clear()
    pictures = (JPEG, JPEG + b"!")
    asked = [asyncio.create_task(world.classify(p, request_id=request_id)) for p in pictures]
    await world.until_asked(2)
    world.predictor.gate.set()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(answer) for answer in answers] == [ClassifyAnswer, RequestIdReused]
    assert [(r.outcome, r.reason) for r in world.log()] == [
        (Outcome.ANSWERED, None),
        (Outcome.REFUSED, "REQUEST_ID_REUSED"),
    ]


async def test_pictures_are_bounded_by_their_bytes_too() -> None:
    world = World(max_bytes_in_flight=len(JPEG) + 1)
    world.predictor.gate.clear()
    held = asyncio.create_task(world.classify())
    await world.until_asked(1)
    with pytest.raises(Overloaded):
        await world.classify()
    world.predictor.gate.set()
    await held
    await world.classify()


async def test_a_single_picture_is_always_allowed() -> None:
    world = World(max_bytes_in_flight=1)
    assert (await world.classify()).record.outcome is Outcome.ANSWERED


async def test_the_picture_is_let_go_before_a_refusal_is_recorded() -> None:
    world = World()
    image = JPEG + bytes(500)
    held_before = sys.getrefcount(image)
    held_then: list[int] = []
    record = world.audit.record

    async def noting(entry: AuditEntry, *, at_once: bool = True) -> AuditRecord:
        held_then.append(sys.getrefcount(image))
        return await record(entry, at_once=at_once)

    world.audit.record = noting  # type: ignore[method-assign]
    command = ClassifyCommand(image=image, caller="clinic", model_version="nobody")
    asking = world.use_case.classify(command)
    del command
    with pytest.raises(NotFound):
        await asking
    assert held_then == [held_before]


async def test_a_large_picture_is_hashed_beside_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    monkeypatch.setattr(classify, "_HASHED_AT_ONCE", len(JPEG) - 1)
    threads: list[str] = []

    def noting(image: bytes) -> str:
        threads.append(threading.current_thread().name)
        return sha256(image).hexdigest()

    monkeypatch.setattr(classify, "_sha256", noting)
    answer = await world.classify()
    assert answer.record.image_sha256 == sha256(JPEG).hexdigest()
    assert [name.partition("_")[0] for name in threads] == ["hash"]


@pytest.mark.parametrize("asked", [None, 10.0, 30.0, 3600.0])
async def test_no_caller_waits_longer_than_the_server_allows(asked: float | None) -> None:
    world = World()
    now = FakeClock().now().timestamp()
    await world.classify(deadline=None if asked is None else now + asked)
    assert world.predictor.calls[0]["deadline"] == now + min(asked or 30.0, 30.0)


async def test_a_store_that_does_not_answer_costs_no_more_than_the_deadline() -> None:
    store = StuckStore()
    world = World(store=store)
    try:
        with pytest.raises(DeadlinePassed):
            await world.classify(deadline=FakeClock().now().timestamp() + 0.05)
    finally:
        store.answers.set()
    assert [r.status for r in world.log()] == ["DEADLINE_EXCEEDED"]


async def test_too_many_requests_are_turned_away_and_recorded() -> None:
    world = World(max_in_flight=2)
    world.predictor.gate.clear()
    held = [asyncio.create_task(world.classify()) for _ in range(2)]
    while len(world.predictor.calls) < 2:
        await asyncio.sleep(0.001)
    with pytest.raises(Overloaded):
        await world.classify()
    world.predictor.gate.set()
    await asyncio.gather(*held)
    assert [r.status for r in world.log()] == ["RESOURCE_EXHAUSTED", "OK", "OK"]
    assert world.audit.patient == 1
    await world.classify()


async def test_a_caller_that_leaves_is_recorded() -> None:
    world = World()
    world.predictor.gate.clear()
    task = asyncio.create_task(world.classify())
    while not world.predictor.calls:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await world.use_case.close()
    (record,) = world.log()
    assert (record.outcome, record.status) == (Outcome.FAILED, "CANCELLED")
    assert record.model_version == "m1"
