"""Runs a batch of pictures: decode, prepare, classify, decide, outline."""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from core.errors import BrainTumorError, DeadlinePassed, InternalError, Unavailable, WrongTask
from core.labels import LABELS
from core.messages import InferenceBatch, InferenceItem
from core.prediction import Prediction, Region
from core.training import Task
from workers.imaging.decode import ImageLimits
from workers.inference.answers import (
    activation_png,
    calibrated_probabilities,
    decide,
    is_strange,
)
from workers.inference.outlining import outline
from workers.inference.pictures import ReadyPicture, check_deadline, read_picture
from workers.inference.sessions import LoadedModel, ModelSessions
from workers.model_artefact import ACTIVATION_MAP_NAME, FEATURES_NAME, LOGITS_NAME

log = logging.getLogger(__name__)

Result = Prediction | BrainTumorError
T = TypeVar("T")


class BatchRunner:
    """Answers each picture of a batch by itself: one that cannot be read costs the others nothing.

    Pictures run in parallel on ``executor``; its threads are the graph's streams.
    """

    def __init__(self, sessions: ModelSessions, limits: ImageLimits, executor: Executor) -> None:
        self.sessions = sessions
        self._limits = limits
        self._executor = executor
        self._running = 0
        self._counting = threading.Lock()

    def run(self, batch: InferenceBatch) -> tuple[Result, ...]:
        """One result an item, in order; never raises for what a picture or a model does."""
        with self._counting:
            self._running += len(batch.items)
        try:
            return self._run(batch)
        finally:
            with self._counting:
                self._running -= len(batch.items)

    def _alone(self) -> bool:
        """Whether a single picture is being answered at this moment."""
        return self._running == 1

    def _run(self, batch: InferenceBatch) -> tuple[Result, ...]:
        classifier = self._model(batch, batch.model_version, batch.digest, Task.CLASSIFICATION)
        if isinstance(classifier, BrainTumorError):
            return (classifier,) * len(batch.items)
        read = partial(self._read, batch, classifier.manifest.image_size)
        pictures = tuple(self._executor.map(read, batch.items))
        ready = [p for p in pictures if isinstance(p, ReadyPicture)]
        answers = self._in_chunks(
            batch,
            classifier,
            ready,
            partial(_classify, batch.model_version, classifier, self._alone),
        )
        if batch.segmenter is not None:
            answers = self._outlined(batch, ready, answers)
        given = iter(answers)
        return tuple(next(given) if isinstance(p, ReadyPicture) else p for p in pictures)

    def _model(
        self, batch: InferenceBatch, version: str, digest: str, task: Task
    ) -> LoadedModel | BrainTumorError:
        model = _guarded(batch.id, partial(self.sessions.get, digest))
        if isinstance(model, BrainTumorError) or model.manifest.task == task:
            return model
        name = f"modelVersions/{version}"
        return WrongTask(name, model.manifest.task, str(task), _PLACES[task])

    def _read(
        self, batch: InferenceBatch, size: int, item: InferenceItem
    ) -> ReadyPicture | BrainTumorError:
        keep_grey = batch.segmenter is not None
        return _guarded(
            batch.id, partial(read_picture, item, size, self._limits, keep_grey=keep_grey)
        )

    def _outlined(
        self, batch: InferenceBatch, ready: Sequence[ReadyPicture], answers: Sequence[Result]
    ) -> list[Result]:
        """The answers, those that show a tumour with its regions.

        The segmenter is neither loaded nor run for the others.
        """
        places = [
            place
            for place, answer in enumerate(answers)
            if isinstance(answer, Prediction) and answer.shows_tumour
        ]
        shown = [ready[place] for place in places]
        outlines = self._outlines(batch, shown) if places else []
        outlined = list(answers)
        for place, found in zip(places, outlines, strict=True):
            answer = answers[place]
            if isinstance(answer, Prediction):
                outlined[place] = _with_regions(answer, found)
        return outlined

    def _outlines(
        self, batch: InferenceBatch, pictures: Sequence[ReadyPicture]
    ) -> Sequence[tuple[Region, ...] | BrainTumorError]:
        assert batch.segmenter is not None  # noqa: S101
        version, digest = batch.segmenter.version, batch.segmenter.digest
        segmenter = self._model(batch, version, digest, Task.SEGMENTATION)
        if isinstance(segmenter, BrainTumorError):
            return (segmenter,) * len(pictures)
        return self._in_chunks(
            batch, segmenter, pictures, partial(_outline, segmenter, self._alone)
        )

    def _in_chunks(
        self,
        batch: InferenceBatch,
        model: LoadedModel,
        pictures: Sequence[ReadyPicture],
        work: Callable[[Sequence[ReadyPicture]], Sequence[T]],
    ) -> list[T | BrainTumorError]:
        """What ``work`` gives for each picture, which it gets as many of as the model likes."""
        step = model.runtime.preferred_batch
        chunks = [pictures[i : i + step] for i in range(0, len(pictures), step)]

        def worked(chunk: Sequence[ReadyPicture]) -> Sequence[T | BrainTumorError]:
            found = _guarded(batch.id, partial(work, chunk))
            return [found] * len(chunk) if isinstance(found, BrainTumorError) else found

        return [result for results in self._executor.map(worked, chunks) for result in results]


_PLACES: Final = {
    Task.CLASSIFICATION: "classifying a picture",
    Task.SEGMENTATION: "outlining a tumour",
}


def _classify(
    version: str, model: LoadedModel, alone: Callable[[], bool], chunk: Sequence[ReadyPicture]
) -> list[Prediction]:
    raw = model.runtime.run(np.stack([p.pixels for p in chunk]), alone=alone())
    outputs = zip(
        chunk, raw[LOGITS_NAME], raw[ACTIVATION_MAP_NAME], raw[FEATURES_NAME], strict=True
    )
    return [_answer(version, model, *output) for output in outputs]


def _answer(
    version: str,
    model: LoadedModel,
    picture: ReadyPicture,
    logits: NDArray[np.float32],
    activation_map: NDArray[np.float32],
    features: NDArray[np.float32],
) -> Prediction:
    calibration = model.manifest.calibration
    probabilities = calibrated_probabilities(logits, calibration.temperature)
    prediction = Prediction(
        probabilities=probabilities,
        decision=decide(
            probabilities,
            calibration,
            strange=is_strange(model.strangers, features),
        ),
        model_version=version,
    )
    if not picture.item.include_activation_map:
        return prediction
    evidence = activation_map[:, :, LABELS.index(prediction.label)]
    shown = activation_png(evidence, picture.geometry, picture.width, picture.height)
    return replace(prediction, activation_map=shown)


def _outline(
    segmenter: LoadedModel, alone: Callable[[], bool], chunk: Sequence[ReadyPicture]
) -> Sequence[tuple[Region, ...]]:
    for picture in chunk:
        check_deadline(picture.item)
    return outline(segmenter, chunk, alone=alone())


def _with_regions(answer: Prediction, found: tuple[Region, ...] | BrainTumorError) -> Result:
    """The answer with its regions, or with why there are none.

    What may work if it is tried again (and a deadline that has passed) is no answer at all: a
    request that was answered is not computed again.
    """
    if isinstance(found, Unavailable | DeadlinePassed):
        return found
    if isinstance(found, BrainTumorError):
        return replace(answer, regions_error=found)
    return replace(answer, regions=found)


def _guarded(batch_id: str, work: Callable[[], T]) -> T | BrainTumorError:
    """The work's result, or its error as a value; an unforeseen one goes to the log."""
    try:
        return work()
    except BrainTumorError as error:
        return error
    except Exception:
        log.exception("inference_failed batch=%s", batch_id)
        return InternalError(batch_id)
