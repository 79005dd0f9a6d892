"""Each picture of a batch gets its own answer, whatever the others are."""

import io
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from core.errors import (
    ArtefactCorrupt,
    DeadlinePassed,
    ImageProblem,
    ImageRefused,
    InternalError,
    NotSupported,
)
from core.labels import LABELS, TumourLabel
from core.messages import InferenceBatch, InferenceItem
from core.prediction import Decision, Prediction
from tests.fakes.graphs import WEIGHTS, brightness_manifest
from workers.imaging.decode import ImageLimits
from workers.inference.batch import BatchRunner, Result
from workers.inference.runtime import Outputs
from workers.inference.sessions import LoadedModel, ModelSessions

LIMITS = ImageLimits(max_bytes=100_000, max_pixels=100_000)
IN_TIME = time.time() + 3600


class BrightnessRuntime:
    """The brightness graph in NumPy; fails with ``error`` on a chunk that holds a white picture."""

    name = "brightness"

    def __init__(self, preferred_batch: int = 1, weights: tuple[float, ...] = WEIGHTS) -> None:
        self.preferred_batch = preferred_batch
        self.error: Exception | None = None
        self.chunks: list[tuple[int, ...]] = []
        self.alone: list[bool] = []
        self.meanwhile: Callable[[], object] = lambda: None
        self._weights = np.array(weights, np.float32)

    def run(self, images: NDArray[np.float32], *, alone: bool = False) -> Outputs:
        assert images.dtype == np.float32
        self.chunks.append(images.shape)
        self.alone.append(alone)
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        if self.error is not None and images.max() == 255:
            raise self.error
        maps = images / np.float32(255) * self._weights
        logits = maps.mean(axis=(1, 2))
        return {"logits": logits, "activation_map": maps, "features": logits}


class Stack:
    """A batch runner over one model."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self.runtime = BrightnessRuntime()
        self.load_error: Exception | None = None
        self._runner = BatchRunner(ModelSessions(self._load, capacity=1), LIMITS, executor)

    def _load(self, digest: str) -> LoadedModel:
        assert digest == "d1"
        if self.load_error is not None:
            raise self.load_error
        return LoadedModel(manifest=brightness_manifest(), runtime=self.runtime)

    def run(self, *items: InferenceItem) -> tuple[Result, ...]:
        batch = InferenceBatch(
            id="b1", reply_to="r", model_version="m1", digest="d1", items=tuple(items)
        )
        return self._runner.run(batch)


@pytest.fixture
def stack() -> Iterator[Stack]:
    with ThreadPoolExecutor(4) as executor:
        yield Stack(executor)


def an_item(
    value: int = 100,
    *,
    width: int = 40,
    height: int = 40,
    deadline: float = IN_TIME,
    with_map: bool = False,
) -> InferenceItem:
    """A picture of one grey value."""
    buffer = io.BytesIO()
    Image.new("L", (width, height), value).save(buffer, "PNG")
    return InferenceItem(
        image=buffer.getvalue(), deadline=deadline, include_activation_map=with_map
    )


def broken(image: bytes = b"") -> InferenceItem:
    return InferenceItem(image=image, deadline=IN_TIME)


def expected(value: int) -> tuple[float, ...]:
    """Softmax of brightness times weights at the manifest's temperature of 0.5."""
    exponentials = np.exp(value / 255 * np.array(WEIGHTS) / 0.5)
    return tuple(exponentials / exponentials.sum())


def predictions(results: tuple[Result, ...]) -> list[Prediction]:
    found = [r for r in results if isinstance(r, Prediction)]
    assert len(found) == len(results)
    return found


def test_a_picture_is_alone_while_no_other_is_there(stack: Stack) -> None:
    stack.run(an_item(), an_item())
    assert stack.runtime.alone == [False, False]
    stack.runtime.alone.clear()
    stack.runtime.meanwhile = lambda: stack.run(an_item())
    stack.run(an_item())
    stack.run(an_item())
    assert stack.runtime.alone == [True, False, True]


@pytest.mark.parametrize("preferred_batch", [1, 3, 100])
def test_answers_come_in_the_order_of_the_pictures(stack: Stack, preferred_batch: int) -> None:
    stack.runtime.preferred_batch = preferred_batch
    values = [0, 240, 30, 200, 100, 10, 250, 60]
    answers = predictions(stack.run(*(an_item(v) for v in values)))
    for value, answer in zip(values, answers, strict=True):
        assert answer.probabilities == pytest.approx(expected(value), abs=1e-5)
        assert answer.model_version == "m1"


def test_the_models_calibration_decides(stack: Stack) -> None:
    dark, bright = predictions(stack.run(an_item(0), an_item(255)))
    assert dark.probabilities == (0.25,) * 4
    assert dark.decision is Decision.ABSTAINED
    assert bright.decision is Decision.ACCEPTED
    assert bright.label is TumourLabel.GLIOMA


def test_a_batch_of_nothing_has_no_answers(stack: Stack) -> None:
    assert stack.run() == ()
    assert stack.runtime.chunks == []


def test_a_picture_that_cannot_be_read_costs_the_others_nothing(stack: Stack) -> None:
    first, refused, last = stack.run(an_item(10), broken(), an_item(200))
    assert isinstance(refused, ImageRefused)
    assert refused.problem is ImageProblem.EMPTY
    assert predictions((first, last)) == predictions(stack.run(an_item(10), an_item(200)))


def test_pictures_that_cannot_be_read_never_reach_the_graph(stack: Stack) -> None:
    results = stack.run(broken(), broken(b"hello"), broken(an_item().image[:60]))
    problems = [r.problem for r in results if isinstance(r, ImageRefused)]
    assert problems == [ImageProblem.EMPTY, ImageProblem.NOT_AN_IMAGE, ImageProblem.TRUNCATED]
    assert stack.runtime.chunks == []


def test_the_limits_hold(stack: Stack) -> None:
    large, long = stack.run(an_item(width=400, height=400), broken(bytes(100_001)))
    assert isinstance(large, ImageRefused)
    assert large.problem is ImageProblem.TOO_MANY_PIXELS
    assert isinstance(long, ImageRefused)
    assert long.problem is ImageProblem.TOO_MANY_BYTES


def test_a_picture_that_nobody_waits_for_is_not_answered(stack: Stack) -> None:
    late, answered = stack.run(an_item(deadline=time.time() - 1), an_item())
    assert isinstance(late, DeadlinePassed)
    assert isinstance(answered, Prediction)
    assert len(stack.runtime.chunks) == 1


def test_the_graph_gets_as_many_pictures_at_once_as_it_likes(stack: Stack) -> None:
    stack.runtime.preferred_batch = 2
    stack.run(an_item(), broken(), an_item(width=80), an_item(), an_item(height=17), an_item())
    sizes = sorted(shape[0] for shape in stack.runtime.chunks)
    assert sizes == [1, 2, 2]
    assert {shape[1:] for shape in stack.runtime.chunks} == {(32, 32, 1)}


def test_a_model_that_cannot_be_loaded_is_every_pictures_answer(stack: Stack) -> None:
    stack.load_error = ArtefactCorrupt("models/d1")
    assert stack.run(an_item(), broken()) == (stack.load_error,) * 2


def test_a_runtime_that_cannot_load_the_graph_is_every_pictures_answer(stack: Stack) -> None:
    stack.load_error = RuntimeError("it has an operation that I do not know")
    assert [type(result) for result in stack.run(an_item(1), an_item(2))] == [InternalError] * 2


def test_a_graph_that_fails_on_one_picture_costs_the_others_nothing(stack: Stack) -> None:
    stack.runtime.error = RuntimeError("out of memory")
    first, failed, last = stack.run(an_item(10), an_item(255), an_item(20))
    assert isinstance(failed, InternalError)
    assert len(predictions((first, last))) == 2


def test_a_graph_that_fails_is_every_answer_of_its_chunk(stack: Stack) -> None:
    stack.runtime.error = RuntimeError("out of memory")
    stack.runtime.preferred_batch = 2
    results = stack.run(an_item(10), an_item(255), an_item(20))
    assert [type(r) for r in results] == [InternalError, InternalError, Prediction]


def test_an_unforeseen_error_is_told_to_the_log_alone(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    stack.runtime.error = RuntimeError("a secret path")
    (failed,) = stack.run(an_item(255))
    assert isinstance(failed, InternalError)
    assert failed.request_id == "b1"
    assert "secret" not in failed.message
    assert "inference_failed batch=b1" in caplog.text
    assert "a secret path" in caplog.text


def test_an_error_of_the_taxonomy_is_handed_on(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    stack.runtime.error = NotSupported("not on this machine")
    assert stack.run(an_item(255)) == (stack.runtime.error,)
    assert caplog.text == ""


def test_maps_go_to_those_who_ask(stack: Stack) -> None:
    without, with_map = predictions(stack.run(an_item(), an_item(with_map=True)))
    assert without.activation_map == b""
    assert with_map.activation_map.startswith(b"\x89PNG")


@pytest.mark.parametrize("best", range(len(LABELS)))
def test_a_map_speaks_for_the_answers_label(stack: Stack, best: int) -> None:
    weights = tuple(1.0 if i == best else -1.0 for i in range(len(LABELS)))
    stack.runtime = BrightnessRuntime(weights=weights)
    (answer,) = predictions(stack.run(an_item(200, width=60, height=20, with_map=True)))
    assert answer.label is LABELS[best]
    with Image.open(io.BytesIO(answer.activation_map)) as shown:
        assert shown.size == (60, 20)
        assert shown.getpixel((30, 10)) == 255  # the other classes' maps are black
