"""Regions beside a classification: what is asked of the worker, recorded and answered."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from core.errors import (
    AnsweredWithoutRegions,
    ArtefactCorrupt,
    BrainTumorError,
    InternalError,
    RequestIdReused,
    SegmentationFailed,
    SegmenterCorrupt,
    SegmenterNotRegistered,
    WorkerLost,
    WrongTask,
)
from core.labels import LABELS, TumourLabel
from core.messages import Segmenter
from core.paging import PageRequest
from core.prediction import (
    AuditRecord,
    Decision,
    MaskFormat,
    Outcome,
    PixelSpacing,
    Prediction,
    RegionMask,
)
from core.training import Task
from services.status import status_of
from services.usecases.classify import ClassifyAnswer, ClassifyCommand, ClassifyUseCase
from tests.fakes.gateway import FakeAuditWriter, FakePredictor, a_prediction
from tests.fakes.records import a_region
from tests.fakes.registry import a_model_version
from tests.fakes.store import FakeClock, FakeUnitOfWorkFactory

JPEG = b"\xff\xd8\xff\xe0 a picture"
MASK = RegionMask(format=MaskFormat.PNG, width=64, height=64, data=b"png")
FOUND = a_region(area_px=800, area_mm2=None, mask=MASK)
BARE = replace(FOUND, mask=None)
HEALTHY = LABELS.index(TumourLabel.NO_TUMOR)
REQUEST = str(uuid4())


class World:
    """A use case over fakes: classifier m1, and segmenter s1 unless told otherwise."""

    def __init__(self, *, segmenter: bool = True) -> None:
        self.store = FakeUnitOfWorkFactory()
        self.predictor = FakePredictor(a_prediction("m1"))
        with self.store(write=True) as uow:
            uow.models.add(a_model_version("m1"))
            uow.models.add(a_model_version("s1", task=Task.SEGMENTATION))
            uow.models.move_alias("production", "m1", datetime.now(UTC), "someone", "")
            uow.commit()
        if segmenter:
            self.promote_segmenter()
        self.use_case = ClassifyUseCase(
            predictor=self.predictor,
            audit=FakeAuditWriter(self.store),
            uow_factory=self.store,
            clock=FakeClock(),
            software_version="1.2.3",
            max_image_bytes=1000,
            max_in_flight=4,
            max_bytes_in_flight=10_000,
            timeout_seconds=30,
        )

    def promote_segmenter(self) -> None:
        with self.store(write=True) as uow:
            uow.models.move_alias("segmentation", "s1", datetime.now(UTC), "someone", "")
            uow.commit()

    def answers(self, prediction: Prediction | None = None, **changes: object) -> None:
        self.predictor.result = replace(prediction or a_prediction("m1"), **changes)  # type: ignore[arg-type]

    async def classify(self, **fields: object) -> ClassifyAnswer:
        wanted = {"image": JPEG, "include_regions": True} | fields
        return await self.use_case.classify(ClassifyCommand(caller="clinic", **wanted))  # type: ignore[arg-type]

    def log(self) -> tuple[AuditRecord, ...]:
        with self.store() as uow:
            return uow.audit.list(PageRequest(), newest_first=False).items


async def test_who_asks_for_no_regions_asks_no_segmenter() -> None:
    world = World()
    answer = await world.classify(include_regions=False)
    assert world.predictor.calls[0]["segmenter"] is None
    assert answer.regions == ()
    (record,) = world.log()
    assert (record.segmenter_version, record.regions) == (None, None)


async def test_the_segmenter_by_its_alias_is_asked_in_the_same_call() -> None:
    world = World()
    await world.classify(mask_format=MaskFormat.COCO_RLE)
    (call,) = world.predictor.calls
    assert call["segmenter"] == Segmenter(version="s1", digest=a_model_version("s1").digest)
    assert call["mask_format"] is MaskFormat.COCO_RLE
    assert call["model_version"] == "m1"


async def test_regions_are_answered_with_masks_and_recorded_without() -> None:
    world = World()
    world.answers(regions=(FOUND,))
    answer = await world.classify(mask_format=MaskFormat.PNG)
    assert answer.regions == (FOUND,)
    assert answer.record == world.log()[0]
    assert answer.record.regions == (BARE,)
    assert (answer.record.model_version, answer.record.segmenter_version) == ("m1", "s1")


async def test_areas_are_in_mm2_where_the_spacing_is_known() -> None:
    world = World()
    world.answers(regions=(FOUND,))
    answer = await world.classify(pixel_spacing=PixelSpacing(x_mm=0.5, y_mm=0.25))
    assert [region.area_mm2 for region in answer.regions] == [100.0]
    assert answer.record.regions == (replace(BARE, area_mm2=100.0),)


async def test_a_segmenter_that_finds_nothing_is_recorded_as_that() -> None:
    world = World()
    answer = await world.classify()
    assert answer.regions == answer.record.regions == ()
    assert answer.record.segmenter_version == "s1"


@pytest.mark.parametrize("segmenter", [True, False])
@pytest.mark.parametrize(
    "prediction",
    [
        a_prediction("m1", best=HEALTHY),
        replace(a_prediction("m1"), decision=Decision.OUT_OF_DISTRIBUTION),
    ],
    ids=["healthy", "strange"],
)
async def test_nothing_to_outline_needs_no_segmenter(
    segmenter: bool, prediction: Prediction
) -> None:
    world = World(segmenter=segmenter)
    world.answers(prediction)
    answer = await world.classify()
    assert answer.regions == answer.record.regions == ()
    assert answer.record.segmenter_version is None


async def test_an_answer_that_abstains_keeps_its_regions() -> None:
    world = World()
    world.answers(regions=(FOUND,), decision=Decision.ABSTAINED)
    assert (await world.classify()).regions == (FOUND,)


WITHOUT = [
    (None, SegmenterNotRegistered, "FAILED_PRECONDITION", "'segmentation'"),
    (ArtefactCorrupt("models/s1"), SegmenterCorrupt, "DATA_LOSS", "models/s1 was not loaded"),
    (InternalError("b7"), SegmentationFailed, "INTERNAL", "modelVersions/s1 failed.*b7"),
    (
        WrongTask("modelVersions/s1", "classification", "segmentation", "outlining"),
        SegmenterNotRegistered,
        "FAILED_PRECONDITION",
        "does classification",
    ),
]


@pytest.mark.parametrize(("failure", "error", "status", "words"), WITHOUT)
async def test_the_classification_is_not_lost(
    failure: BrainTumorError | None,
    error: type[AnsweredWithoutRegions],
    status: str,
    words: str,
) -> None:
    world = World(segmenter=failure is not None)
    world.answers(regions_error=failure)
    with pytest.raises(error, match=words) as caught:
        await world.classify(request_id=REQUEST)
    (record,) = world.log()
    assert (record.outcome, record.status, record.label) == (
        Outcome.ANSWERED,
        "OK",
        TumourLabel.GLIOMA,
    )
    assert (record.regions, record.reason) == (None, error.reason)
    assert record.segmenter_version == ("s1" if failure else None)
    assert caught.value.prediction == record.name
    assert record.name in caught.value.message
    assert status_of(caught.value).name == status

    with pytest.raises(error) as again:
        await world.classify(request_id=REQUEST)
    assert again.value.message == caught.value.message
    answer = await world.classify(request_id=REQUEST, include_regions=False)
    assert (answer.record, answer.regions) == (record, ())
    assert len(world.log()) == len(world.predictor.calls) == 1


async def test_a_failure_of_the_whole_answer_is_one() -> None:
    world = World()
    world.predictor.result = WorkerLost()
    with pytest.raises(WorkerLost):
        await world.classify()
    assert world.log()[0].outcome is Outcome.FAILED


async def test_a_repeat_gets_the_recorded_regions_without_masks() -> None:
    world = World()
    world.answers(regions=(FOUND,))
    first = await world.classify(request_id=REQUEST, mask_format=MaskFormat.PNG)
    again = await world.classify(request_id=REQUEST, mask_format=MaskFormat.PNG)
    assert again.record == first.record
    assert again.regions == (BARE,)
    assert len(world.predictor.calls) == 1


async def test_a_repeat_that_asks_for_no_regions_gets_none() -> None:
    world = World()
    world.answers(regions=(FOUND,))
    await world.classify(request_id=REQUEST)
    assert (await world.classify(request_id=REQUEST, include_regions=False)).regions == ()


async def test_regions_that_nobody_asked_for_at_first_need_a_request_of_their_own() -> None:
    world = World()
    await world.classify(request_id=REQUEST, include_regions=False)
    with pytest.raises(RequestIdReused):
        await world.classify(request_id=REQUEST)
    assert [record.outcome for record in world.log()] == [Outcome.ANSWERED, Outcome.REFUSED]


async def test_of_a_healthy_slice_a_repeat_may_ask_for_regions() -> None:
    world = World()
    world.answers(a_prediction("m1", best=HEALTHY))
    await world.classify(request_id=REQUEST, include_regions=False)
    assert (await world.classify(request_id=REQUEST)).regions == ()


SPACING = PixelSpacing(x_mm=0.1, y_mm=0.7)


async def test_a_repeat_with_the_same_spacing_gets_the_same_areas() -> None:
    world = World()
    world.answers(regions=(FOUND, a_region(area_px=123, area_mm2=None)))
    first = await world.classify(request_id=REQUEST, pixel_spacing=SPACING)
    again = await world.classify(request_id=REQUEST, pixel_spacing=SPACING)
    assert [r.area_mm2 for r in again.regions] == [r.area_mm2 for r in first.regions]
    assert len(world.log()) == 1


@pytest.mark.parametrize("before", [None, PixelSpacing(x_mm=0.1, y_mm=0.8)], ids=["none", "other"])
async def test_areas_by_another_spacing_are_another_request(before: PixelSpacing | None) -> None:
    world = World()
    world.answers(regions=(FOUND,))
    await world.classify(request_id=REQUEST, pixel_spacing=before)
    with pytest.raises(RequestIdReused):
        await world.classify(request_id=REQUEST, pixel_spacing=SPACING)
    assert [record.reason for record in world.log()] == [None, "REQUEST_ID_REUSED"]


@pytest.mark.parametrize(
    "less", [{"pixel_spacing": None}, {"include_regions": False, "pixel_spacing": SPACING}]
)
async def test_a_repeat_may_want_no_areas(less: dict[str, object]) -> None:
    world = World()
    world.answers(regions=(FOUND,))
    first = await world.classify(request_id=REQUEST, pixel_spacing=PixelSpacing(x_mm=1.0, y_mm=1.0))
    assert (await world.classify(request_id=REQUEST, **less)).record == first.record


async def test_where_nothing_is_outlined_the_spacing_does_not_matter() -> None:
    world = World()
    world.answers(a_prediction("m1", best=HEALTHY))
    await world.classify(request_id=REQUEST)
    assert (await world.classify(request_id=REQUEST, pixel_spacing=SPACING)).regions == ()
