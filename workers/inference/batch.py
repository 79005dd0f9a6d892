"""Runs a batch of pictures: decode, prepare, infer, decide."""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from core.errors import BrainTumorError, DeadlinePassed, InternalError
from core.labels import LABELS
from core.messages import InferenceBatch, InferenceItem
from core.prediction import Prediction
from workers.imaging.decode import ImageLimits, decode_grey
from workers.imaging.preprocess import SquareGeometry, prepare
from workers.inference.answers import activation_png, calibrated_probabilities, decide
from workers.inference.sessions import LoadedModel, ModelSessions

log = logging.getLogger(__name__)

Result = Prediction | BrainTumorError
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """A picture ready for the graph: ``pixels`` (size, size, 1); input size in pixels."""

    item: InferenceItem
    pixels: NDArray[np.float32]
    geometry: SquareGeometry
    width: int
    height: int


class BatchRunner:
    """Answers each picture of a batch by itself: one that cannot be read costs the others nothing.

    Pictures run in parallel on ``executor``; its threads are the graph's streams.
    """

    def __init__(self, sessions: ModelSessions, limits: ImageLimits, executor: Executor) -> None:
        self.sessions = sessions
        self._limits = limits
        self._executor = executor

    def run(self, batch: InferenceBatch) -> tuple[Result, ...]:
        """One result an item, in order; never raises for what a picture or a model does."""
        model = _guarded(batch.id, partial(self.sessions.get, batch.digest))
        if isinstance(model, BrainTumorError):
            return (model,) * len(batch.items)
        size = model.manifest.image_size
        prepared = tuple(
            self._executor.map(
                lambda item: _guarded(batch.id, partial(self._prepare, item, size)), batch.items
            )
        )
        ready = [p for p in prepared if isinstance(p, _Prepared)]
        answers = iter(self._answer_all(batch, model, ready))
        return tuple(next(answers) if isinstance(p, _Prepared) else p for p in prepared)

    def _prepare(self, item: InferenceItem, size: int) -> _Prepared:
        if item.deadline <= time.time():
            raise DeadlinePassed()
        grey = decode_grey(item.image, self._limits)
        height, width = grey.shape
        prepared = prepare(grey, size)
        return _Prepared(
            item=item,
            pixels=prepared.pixels,
            geometry=prepared.geometry,
            width=width,
            height=height,
        )

    def _answer_all(
        self, batch: InferenceBatch, model: LoadedModel, ready: Sequence[_Prepared]
    ) -> list[Result]:
        step = model.runtime.preferred_batch
        chunks = [ready[i : i + step] for i in range(0, len(ready), step)]
        runs = self._executor.map(partial(self._answer_chunk, batch, model), chunks)
        return [answer for answers in runs for answer in answers]

    def _answer_chunk(
        self, batch: InferenceBatch, model: LoadedModel, chunk: Sequence[_Prepared]
    ) -> Sequence[Result]:
        outcome = _guarded(batch.id, partial(_infer, batch.model_version, model, chunk))
        return [outcome] * len(chunk) if isinstance(outcome, BrainTumorError) else outcome


def _infer(version: str, model: LoadedModel, chunk: Sequence[_Prepared]) -> list[Prediction]:
    raw = model.runtime.run(np.stack([p.pixels for p in chunk]))
    return [
        _answer(version, model, p, raw.logits[i], raw.activation_map[i])
        for i, p in enumerate(chunk)
    ]


def _answer(
    version: str,
    model: LoadedModel,
    prepared: _Prepared,
    logits: NDArray[np.float32],
    activation_map: NDArray[np.float32],
) -> Prediction:
    calibration = model.manifest.calibration
    probabilities = calibrated_probabilities(logits, calibration.temperature)
    prediction = Prediction(
        probabilities=probabilities,
        decision=decide(probabilities, calibration),
        model_version=version,
    )
    if not prepared.item.include_activation_map:
        return prediction
    evidence = activation_map[:, :, LABELS.index(prediction.label)]
    picture = activation_png(evidence, prepared.geometry, prepared.width, prepared.height)
    return replace(prediction, activation_map=picture)


def _guarded(batch_id: str, work: Callable[[], T]) -> T | BrainTumorError:
    """The work's result, or its error as a value; an unforeseen one goes to the log."""
    try:
        return work()
    except BrainTumorError as error:
        return error
    except Exception:
        log.exception("inference_failed batch=%s", batch_id)
        return InternalError(batch_id)
