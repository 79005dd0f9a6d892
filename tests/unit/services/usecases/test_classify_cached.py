"""Answers from the cache: when, and what the log says of them."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from core.errors import (
    InternalError,
    NotFound,
    SegmentationFailed,
    StoreUnavailable,
    WorkerLost,
)
from core.paging import PageRequest
from core.prediction import AuditRecord, MaskFormat, Outcome, PixelSpacing, Prediction
from core.question import Question
from core.settings import Settings
from services.usecases.classify import ClassifyAnswer, ClassifyCommand, ClassifyUseCase
from tests.fakes.gateway import FakeAuditWriter, FakePredictionCache, FakePredictor, a_prediction
from tests.fakes.records import a_region
from tests.fakes.registry import a_model_version
from tests.fakes.store import FakeClock, FakeUnitOfWorkFactory

JPEG = b"\xff\xd8\xff\xe0 a picture"


class World:
    """A use case with a cache over fakes: m1 classifies, s1 outlines."""

    def __init__(self) -> None:
        self.store = FakeUnitOfWorkFactory()
        self.predictor = FakePredictor()
        self.audit = FakeAuditWriter(self.store)
        settings = Settings.from_environment(
            {}, data_dir=Path("/nowhere"), result_cache_seconds=60.0
        )
        self.clock = FakeClock()
        self.cache = FakePredictionCache(settings, self.clock)
        self.promote("production", "m1")
        self.promote("segmentation", "s1")
        self.use_case = ClassifyUseCase(
            predictor=self.predictor,
            audit=self.audit,
            uow_factory=self.store,
            clock=self.clock,
            software_version="1.2.3",
            max_image_bytes=1000,
            max_in_flight=4,
            max_bytes_in_flight=10_000,
            timeout_seconds=30,
            cache=self.cache,
        )

    def promote(self, alias: str, version: str) -> None:
        with self.store(write=True) as uow:
            try:
                uow.models.get(version)
            except NotFound:
                uow.models.add(a_model_version(version, digest=f"digest of {version}"))
            uow.models.move_alias(alias, version, datetime.now(UTC), "someone", "")
            uow.commit()

    async def classify(
        self, image: bytes = JPEG, caller: str = "clinic", **fields: Any
    ) -> ClassifyAnswer:
        """The answer, once everything is done that comes after it."""
        command = ClassifyCommand(image=image, caller=caller, **fields)
        try:
            return await self.use_case.classify(command)
        finally:
            await asyncio.gather(*self.use_case._afterwards)

    def log(self) -> tuple[AuditRecord, ...]:
        with self.store() as uow:
            return uow.audit.list(PageRequest(), newest_first=False).items


async def test_the_same_again_is_answered_from_the_cache_and_recorded() -> None:
    world = World()
    first, again = await world.classify(), await world.classify(caller="another clinic")
    assert len(world.predictor.calls) == 1
    assert again.prediction == first.prediction
    assert world.log() == (first.record, again.record)
    assert [record.cached for record in world.log()] == [False, True]
    assert again.record.probabilities == first.record.probabilities
    assert (again.record.outcome, again.record.model_version) == (Outcome.ANSWERED, "m1")
    assert again.record.caller == "another clinic"


async def test_another_picture_is_computed() -> None:
    world = World()
    await world.classify()
    assert not (await world.classify(JPEG + b"!")).record.cached


@pytest.mark.parametrize(
    "fields",
    [
        {"include_explanation": True},
        {"include_regions": True},
        {"include_regions": True, "mask_format": MaskFormat.PNG},
        {"include_regions": True, "mask_format": MaskFormat.COCO_RLE},
    ],
)
async def test_other_options_are_computed(fields: dict[str, Any]) -> None:
    world = World()
    await world.classify()
    assert not (await world.classify(**fields)).record.cached
    assert (await world.classify(**fields)).record.cached
    assert (await world.classify()).record.cached


async def test_a_promotion_makes_answers_old_until_it_is_taken_back() -> None:
    world = World()
    await world.classify()
    world.promote("production", "m2")
    second = await world.classify()
    assert (second.record.model_version, second.record.cached) == ("m2", False)
    assert (await world.classify(model_version="m1")).record.cached, "it was named"
    world.promote("production", "m1")
    third = await world.classify()
    assert (third.record.model_version, third.record.cached) == ("m1", True)


async def test_a_promoted_segmenter_makes_outlines_old_and_no_other_answers() -> None:
    world = World()
    await world.classify(), await world.classify(include_regions=True)
    world.promote("segmentation", "s2")
    outlined = await world.classify(include_regions=True)
    assert (outlined.record.segmenter_version, outlined.record.cached) == ("s2", False)
    assert (await world.classify()).record.cached


async def test_areas_follow_from_each_request() -> None:
    world = World()
    world.predictor.result = Prediction(
        **{**vars(a_prediction()), "regions": (a_region(area_px=100, area_mm2=None),)}
    )
    areas = []
    for spacing in (None, PixelSpacing(x_mm=0.5, y_mm=0.5), PixelSpacing(x_mm=2.0, y_mm=1.0)):
        answer = await world.classify(include_regions=True, pixel_spacing=spacing)
        (region,) = answer.regions
        (recorded,) = answer.record.regions or ()
        assert region.area_mm2 == recorded.area_mm2
        areas.append(region.area_mm2)
    assert areas == [None, 25.0, 200.0]
    assert len(world.predictor.calls) == 1


async def test_failures_are_not_kept() -> None:
    world = World()
    world.predictor.result = WorkerLost()
    with pytest.raises(WorkerLost):
        await world.classify()
    world.predictor.result = None
    assert not (await world.classify()).record.cached


async def test_an_answer_whose_tumour_could_not_be_outlined_is_not_kept() -> None:
    world = World()
    world.predictor.result = Prediction(
        **{**vars(a_prediction()), "regions_error": InternalError()}
    )
    with pytest.raises(SegmentationFailed):
        await world.classify(include_regions=True)
    world.predictor.result = None
    assert not (await world.classify(include_regions=True)).record.cached


async def test_a_refusal_is_a_refusal_whatever_is_kept() -> None:
    world = World()
    await world.classify()
    with pytest.raises(NotFound):
        await world.classify(model_version="nobody")
    assert [record.cached for record in world.log()] == [False, False]


async def test_without_the_log_there_is_no_answer_from_the_cache_either() -> None:
    world = World()
    await world.classify()
    world.audit.error = StoreUnavailable()
    with pytest.raises(StoreUnavailable):
        await world.classify()
    assert len(world.log()) == 1


async def test_what_could_not_be_recorded_is_not_kept() -> None:
    world = World()
    world.audit.error = StoreUnavailable()
    with pytest.raises(StoreUnavailable):
        await world.classify()
    assert not world.cache.answers


async def test_a_repeated_request_is_answered_from_the_log() -> None:
    world = World()
    request_id = str(uuid4())
    first = await world.classify(request_id=request_id)
    again = await world.classify(request_id=request_id)
    assert (again.record, again.record.cached) == (first.record, False)


async def test_an_answer_does_not_wait_to_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    gate, kept = asyncio.Event(), []

    async def slowly(question: Question, prediction: Prediction) -> None:
        await gate.wait()
        kept.append(prediction)

    monkeypatch.setattr(world.cache, "put", slowly)
    answer = await world.use_case.classify(ClassifyCommand(image=JPEG, caller="clinic"))
    assert not kept
    gate.set()
    await world.use_case.close()
    assert kept == [answer.prediction]


async def test_without_a_cache_nothing_is_remembered() -> None:
    world = World()
    world.use_case._cache = None
    await world.classify(), await world.classify()
    assert len(world.predictor.calls) == 2
    assert [record.cached for record in world.log()] == [False, False]
