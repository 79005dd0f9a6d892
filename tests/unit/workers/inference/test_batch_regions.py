"""Classifier and segmenter as one batch: who is outlined, from one decoded picture, and what a
failing segmenter costs."""

import io
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from core.errors import (
    ArtefactCorrupt,
    BrainTumorError,
    DeadlinePassed,
    ImageRefused,
    InternalError,
    StoreUnavailable,
    WrongTask,
)
from core.labels import LABELS, TumourLabel
from core.messages import InferenceBatch, InferenceItem, Segmenter
from core.prediction import Box, Decision, MaskFormat, Prediction
from tests.fakes.graphs import WEIGHTS, brightness_manifest, segmenter_manifest
from workers.imaging.decode import ImageLimits, decode_grey
from workers.imaging.preprocess import Prepared, prepare
from workers.inference import pictures
from workers.inference.batch import BatchRunner, Result
from workers.inference.outlining import MAX_REGIONS
from workers.inference.runtime import Outputs
from workers.inference.sessions import LoadedModel, ModelSessions
from workers.model_artefact import Calibration, ModelManifest, RegionRule

LIMITS = ImageLimits(max_bytes=1_000_000, max_pixels=1_000_000)
IN_TIME = time.time() + 3600
HEALTHY_WEIGHTS = tuple(1.0 if label is TumourLabel.NO_TUMOR else -1.0 for label in LABELS)


class ClassifierRuntime:
    """Evidence is brightness times weights."""

    name = "classifier"
    preferred_batch = 1

    def __init__(self, weights: tuple[float, ...] = WEIGHTS) -> None:
        self.weights = np.array(weights, np.float32)

    def run(self, images: NDArray[np.float32], *, alone: bool = False) -> Outputs:
        maps = images / np.float32(255) * self.weights
        logits = maps.mean(axis=(1, 2)) * 20
        return {"logits": logits, "activation_map": maps, "features": logits}


class SegmenterRuntime:
    """What is bright is tumour; ``gives`` takes the place of that, ``error`` is raised."""

    name = "segmenter"

    def __init__(self) -> None:
        self.preferred_batch = 1
        self.chunks: list[tuple[int, ...]] = []
        self.gives: NDArray[np.float32] | None = None
        self.error: Exception | None = None

    def run(self, images: NDArray[np.float32], *, alone: bool = False) -> Outputs:
        self.chunks.append(images.shape)
        if self.error is not None:
            raise self.error
        return {"mask": images / np.float32(255) if self.gives is None else self.gives}


class Stack:
    """A batch runner over a classifier at 32 and a segmenter at 64 pixels."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self.classifier = ClassifierRuntime()
        self.segmenter = SegmenterRuntime()
        self.manifests: dict[str, ModelManifest] = {
            "c": brightness_manifest(calibration=Calibration()),
            "s": segmenter_manifest(),
        }
        self.load_error: Exception | None = None
        self.loaded: list[str] = []
        self._runner = BatchRunner(ModelSessions(self._load, capacity=2), LIMITS, executor)

    def _load(self, digest: str) -> LoadedModel:
        self.loaded.append(digest)
        if digest == "s" and self.load_error is not None:
            raise self.load_error
        runtime = self.classifier if digest == "c" else self.segmenter
        return LoadedModel(manifest=self.manifests[digest], runtime=runtime)

    def run(self, *items: InferenceItem, segmenter: bool = True) -> tuple[Result, ...]:
        batch = InferenceBatch(
            id="b1",
            reply_to="r",
            model_version="m1",
            digest="c",
            items=tuple(items),
            segmenter=Segmenter(version="s1", digest="s") if segmenter else None,
        )
        return self._runner.run(batch)

    def predict(self, *items: InferenceItem, segmenter: bool = True) -> list[Prediction]:
        results = self.run(*items, segmenter=segmenter)
        found = [result for result in results if isinstance(result, Prediction)]
        assert len(found) == len(results)
        return found


@pytest.fixture
def stack() -> Iterator[Stack]:
    with ThreadPoolExecutor(4) as executor:
        yield Stack(executor)


def scan(*boxes: Box, width: int = 200, height: int = 160) -> NDArray[np.uint8]:
    """A grey head within black margins, with white boxes in it."""
    grey = np.zeros((height, width), np.uint8)
    grey[20 : height - 20, 30 : width - 30] = 90
    for box in boxes:
        grey[box.y0 : box.y1, box.x0 : box.x1] = 255
    return grey


LESION = Box(x0=60, y0=50, x1=100, y1=90)


def an_item(
    grey: NDArray[np.uint8] | None = None,
    *,
    mask_format: MaskFormat | None = None,
    deadline: float = IN_TIME,
) -> InferenceItem:
    buffer = io.BytesIO()
    Image.fromarray(scan(LESION) if grey is None else grey).save(buffer, "PNG")
    return InferenceItem(image=buffer.getvalue(), deadline=deadline, mask_format=mask_format)


def close_to(box: Box, wanted: Box, slack: int = 3) -> bool:
    return all(abs(getattr(box, name) - value) <= slack for name, value in vars(wanted).items())


def test_a_tumour_is_outlined_in_pixels_of_the_picture(stack: Stack) -> None:
    (answer,) = stack.predict(an_item())
    assert (answer.label, answer.decision) == (TumourLabel.GLIOMA, Decision.ACCEPTED)
    (region,) = answer.regions
    assert close_to(region.box, LESION)
    assert region.area_px == pytest.approx(1600, rel=0.15)
    assert 0.9 <= region.score <= 1.0
    assert (region.mask, region.area_mm2, answer.regions_error) == (None, None, None)


@pytest.mark.parametrize("mask_format", MaskFormat)
def test_the_mask_is_of_the_pictures_size(stack: Stack, mask_format: MaskFormat) -> None:
    (answer,) = stack.predict(an_item(mask_format=mask_format))
    (region,) = answer.regions
    assert region.mask is not None
    assert (region.mask.width, region.mask.height) == (200, 160)
    assert region.mask.format is mask_format


def test_regions_come_surest_first(stack: Stack) -> None:
    grey = scan(LESION, Box(x0=120, y0=50, x1=150, y1=80))
    grey[50:80, 120:150] = 245
    first, second = stack.predict(an_item(grey))[0].regions
    assert close_to(first.box, LESION)
    assert first.score > second.score


def test_without_a_segmenter_nothing_is_outlined(stack: Stack) -> None:
    (answer,) = stack.predict(an_item(), segmenter=False)
    assert answer.regions == ()
    assert stack.loaded == ["c"]


def test_the_picture_is_decoded_once_whatever_the_sizes(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    prepared: list[int] = []

    def decode(image: bytes, limits: ImageLimits) -> NDArray[np.uint8]:
        decoded.append(len(image))
        return decode_grey(image, limits)

    def preparing(grey: NDArray[np.uint8], size: int) -> Prepared:
        prepared.append(size)
        return prepare(grey, size)

    monkeypatch.setattr(pictures, "decode_grey", decode)
    monkeypatch.setattr(pictures, "prepare", preparing)
    stack.predict(an_item())
    assert (len(decoded), prepared) == (1, [32, 64])
    stack.manifests["s"] = segmenter_manifest(image_size=32)
    other = Stack(stack._runner._executor)  # type: ignore[arg-type]
    other.manifests = stack.manifests
    other.predict(an_item())
    assert (len(decoded), prepared) == (2, [32, 64, 32])


@pytest.mark.parametrize("reason", ["healthy", "strange"])
def test_what_shows_no_tumour_costs_no_segmenter(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    if reason == "healthy":
        stack.classifier = ClassifierRuntime(HEALTHY_WEIGHTS)
    else:
        monkeypatch.setattr("workers.inference.batch.is_strange", lambda *_: True)
    (answer,) = stack.predict(an_item())
    assert (answer.label is TumourLabel.NO_TUMOR) == (reason == "healthy")
    assert (answer.regions, answer.regions_error) == ((), None)
    assert stack.loaded == ["c"]


def test_an_answer_that_abstains_is_outlined(stack: Stack) -> None:
    stack.manifests["c"] = brightness_manifest(calibration=Calibration(abstain_below=1.1))
    (answer,) = stack.predict(an_item())
    assert answer.decision is Decision.ABSTAINED
    assert len(answer.regions) == 1


def test_each_picture_of_a_batch_has_its_own_regions(stack: Stack) -> None:
    stack.segmenter.preferred_batch = 2
    boxes = [Box(x0=x, y0=50, x1=x + 30, y1=80) for x in (40, 60, 80, 100)]
    broken = InferenceItem(image=b"", deadline=IN_TIME)
    results = stack.run(*(an_item(scan(box)) for box in boxes[:2]), broken, an_item(scan(boxes[3])))
    assert isinstance(results[2], ImageRefused)
    for place in (0, 1, 3):
        answer = results[place]
        assert isinstance(answer, Prediction)
        assert [close_to(region.box, boxes[place]) for region in answer.regions] == [True]
    assert sorted(shape[0] for shape in stack.segmenter.chunks) == [1, 2]


def test_a_segmenter_that_finds_nothing_gives_no_regions(stack: Stack) -> None:
    stack.segmenter.gives = np.zeros((1, 64, 64, 1), np.float32)
    (answer,) = stack.predict(an_item())
    assert (answer.regions, answer.regions_error) == ((), None)


def test_a_map_of_specks_is_no_endless_answer(stack: Stack) -> None:
    stack.manifests["s"] = segmenter_manifest(regions=RegionRule(threshold=0.5))
    specks = np.zeros((1, 64, 64, 1), np.float32)
    specks[:, ::4, ::4] = 1.0
    stack.segmenter.gives = specks
    grey = np.full((256, 256), 90, np.uint8)
    (answer,) = stack.predict(an_item(grey))
    assert len(answer.regions) == MAX_REGIONS


@pytest.mark.parametrize(
    ("load_error", "expected"),
    [
        (ArtefactCorrupt("models/s"), ArtefactCorrupt),
        (RuntimeError("an operation that nobody knows"), InternalError),
    ],
)
def test_a_segmenter_that_cannot_be_loaded_leaves_the_answer(
    stack: Stack, load_error: Exception, expected: type[BrainTumorError]
) -> None:
    stack.load_error = load_error
    first, second = stack.predict(an_item(), an_item())
    assert type(first.regions_error) is type(second.regions_error) is expected
    assert first.label is TumourLabel.GLIOMA
    assert first.regions == ()


@pytest.mark.parametrize(
    "gives",
    [
        np.full((1, 64, 64, 1), np.nan, np.float32),
        np.full((1, 64, 64, 1), 7.5, np.float32),
        np.full((1, 64, 64, 1), -1.0, np.float32),
        np.zeros((1, 32, 32, 1), np.float32),
    ],
    ids=["no numbers", "logits", "negative", "another size"],
)
def test_a_map_that_is_no_probabilities_is_no_answer(
    stack: Stack, gives: NDArray[np.float32]
) -> None:
    stack.segmenter.gives = gives
    (answer,) = stack.predict(an_item())
    assert isinstance(answer.regions_error, InternalError)
    assert answer.label is TumourLabel.GLIOMA


def test_a_segmenter_that_fails_on_a_picture_leaves_the_others_their_regions(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    stack.segmenter.error = RuntimeError("out of memory")
    (answer,) = stack.predict(an_item())
    assert isinstance(answer.regions_error, InternalError)
    assert "out of memory" in caplog.text
    stack.segmenter.error = None
    assert stack.predict(an_item())[0].regions


def test_what_may_work_when_it_is_tried_again_is_no_answer(stack: Stack) -> None:
    stack.load_error = StoreUnavailable("artefact store")
    assert stack.run(an_item()) == (stack.load_error,)


def test_nobody_waits_for_regions_after_the_deadline(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def passed(item: InferenceItem) -> None:
        raise DeadlinePassed()

    monkeypatch.setattr("workers.inference.batch.check_deadline", passed)
    assert [type(result) for result in stack.run(an_item())] == [DeadlinePassed]
    assert stack.segmenter.chunks == []


def test_a_segmenter_does_not_classify_and_a_classifier_does_not_outline(stack: Stack) -> None:
    stack.manifests["c"], stack.manifests["s"] = segmenter_manifest(), brightness_manifest()
    (refused,) = stack.run(an_item())
    assert isinstance(refused, WrongTask)
    assert refused.message.startswith("modelVersions/m1 does segmentation")
    other = Stack(stack._runner._executor)  # type: ignore[arg-type]
    other.manifests["s"] = brightness_manifest()
    (answer,) = other.predict(an_item())
    assert isinstance(answer.regions_error, WrongTask)
    assert answer.regions_error.name == "modelVersions/s1"


def test_regions_of_a_turned_picture_are_upright(stack: Stack) -> None:
    upright = Image.fromarray(scan(LESION))
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise to be upright
    upright.transpose(Image.Transpose.ROTATE_90).save(buffer, "PNG", exif=exif)
    item = InferenceItem(image=buffer.getvalue(), deadline=IN_TIME, mask_format=MaskFormat.PNG)
    (region,) = stack.predict(item)[0].regions
    assert close_to(region.box, LESION)
    assert region.mask is not None
    assert (region.mask.width, region.mask.height) == (200, 160)
