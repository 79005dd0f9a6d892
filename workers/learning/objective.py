"""What a model learns: its batches, its loss, and how it is scored after each epoch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from core.errors import TrainingFailed
from core.labels import LABELS
from core.training import TrainingSpec
from workers.evaluation.metrics import cross_entropy, macro_f1
from workers.learning.classifier import head_of, with_feature_map
from workers.learning.head import fit_head
from workers.learning.inference import Inference, MaskInference
from workers.learning.input_pipeline import (
    Slices,
    guided_batches,
    mask_batches,
    training_batches,
)
from workers.learning.mask_loss import hard_dice, mask_losses
from workers.learning.steps import Teaches

Outputs = tuple[tf.Tensor, tf.Tensor]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Of slices that the model did not learn from: mean loss, accuracy 0..1, macro-F1 0..1.

    Of masks the Dice coefficient is both: it is the F1 of pixels.
    """

    loss: float
    accuracy: float
    macro_f1: float


class Objective(Teaches, Protocol):
    """``targets`` is the shape of a batch's targets."""

    def batches(self, train: Slices, epoch: int, size: int) -> tf.data.Dataset:
        """Pictures of that side and their targets; ``epoch`` counts from 0."""
        ...

    def begin(self, train: Slices, validation: Slices, /) -> str | None:
        """The first phase, before everything is trained, and a word on it; None for none."""
        ...

    def score(self, validation: Slices) -> Scores:
        """Of the model as it is. Raises ``TrainingCancelled``."""
        ...


class NamesTumours:
    """To tell the classes apart: cross-entropy with targets that may be smoothed or mixed."""

    targets: Any = tf.TensorSpec((None, len(LABELS)))

    def __init__(self, spec: TrainingSpec, inference: Inference, weights: Sequence[float]) -> None:
        """``weights`` are those of each class in the loss."""
        self._spec = spec
        self._inference = inference
        self._weights = weights

    def batches(self, train: Slices, epoch: int, size: int) -> tf.data.Dataset:
        return training_batches(train, self._spec, epoch, size)

    def outputs_of(self, model: keras.Model) -> keras.Model:
        return model

    def losses(self, logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
        return losses * tf.linalg.matvec(targets, tf.constant(self._weights, tf.float32))

    def credits(self, logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        right = tf.equal(tf.argmax(logits, axis=1), tf.argmax(targets, axis=1))
        return tf.cast(right, tf.float32)

    def begin(self, train: Slices, validation: Slices, /) -> str | None:
        """Train the last layer alone, on features computed once."""
        if not self._spec.head_epochs:
            return None
        kernel, bias = fit_head(
            self._inference.pooled(train),
            train.labels,
            class_weights=self._weights,
            epochs=self._spec.head_epochs,
            seed=self._spec.seed,
        )
        head_of(self._inference.model).set_weights([kernel, bias])
        accuracy = self.score(validation).accuracy
        return f"the last layer alone reaches a validation accuracy of {accuracy:.3f}"

    def score(self, validation: Slices) -> Scores:
        logits, labels = self._inference.logits(validation), validation.labels
        check_answers(logits)
        predicted = logits.argmax(axis=1)
        return Scores(
            loss=cross_entropy(logits, labels),
            accuracy=float((predicted == labels).mean()),
            macro_f1=macro_f1(labels, predicted),
        )


class PointsAtTumours(NamesTumours):
    """As :class:`NamesTumours`, with the evidence for a tumour drawn to where it is.

    Nothing else keeps a network from carrying its decision in some corner of its last map, where
    an explanation by this map then points. Ross, Hughes and Doshi-Velez, IJCAI 2017, "Right for
    the Right Reasons", for slices whose masks say what is right. The evidence of a class, as a
    distribution over all places, is compared with the mask by cross-entropy.
    """

    targets = (
        tf.TensorSpec((None, len(LABELS))),
        tf.TensorSpec((None, None, None, len(LABELS))),
    )

    def batches(self, train: Slices, epoch: int, size: int) -> tf.data.Dataset:
        return guided_batches(train, self._spec, epoch, size)

    def outputs_of(self, model: keras.Model) -> keras.Model:
        return with_feature_map(model)

    def losses(self, outputs: Outputs, targets: Outputs) -> tf.Tensor:
        logits, feature_map = outputs
        answers, places = targets
        rows = tf.convert_to_tensor(head_of(self._inference.model).kernel)
        evidence = tf.einsum("nhwc,ck->nhwk", tf.cast(feature_map, tf.float32), rows)
        astray = evidence_astray(evidence, places)
        return super().losses(logits, answers) + self._spec.guidance * astray

    def credits(self, outputs: Outputs, targets: Outputs) -> tf.Tensor:
        return super().credits(outputs[0], targets[0])


def evidence_astray(evidence: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """How far evidence (n, h, w, classes) is from ``places``, (n, size, size, classes): (n,).

    The cross-entropy of both as distributions over the places of the evidence; 0 where ``places``
    is 0 everywhere.
    """
    shape = tf.shape(evidence)
    count, cells = shape[0], shape[1] * shape[2]
    wanted = tf.image.resize(places, shape[1:3], method="area")
    share = tf.cast(tf.shape(places)[1] * tf.shape(places)[2], tf.float32)
    wanted *= share / tf.cast(cells, tf.float32)
    logs = tf.nn.log_softmax(tf.reshape(evidence, (count, cells, len(LABELS))), axis=1)
    return -tf.reduce_sum(tf.reshape(wanted, (count, cells, len(LABELS))) * logs, axis=(1, 2))


class OutlinesTumours:
    """To outline tumours: cross-entropy of pixels and overlap of regions."""

    targets = tf.TensorSpec((None, None, None, 1))

    def __init__(self, spec: TrainingSpec, inference: MaskInference) -> None:
        self._spec = spec
        self._inference = inference

    def batches(self, train: Slices, epoch: int, size: int) -> tf.data.Dataset:
        return mask_batches(train, self._spec, epoch, size)

    def outputs_of(self, model: keras.Model) -> keras.Model:
        return model

    def losses(self, logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        return mask_losses(logits, targets)

    def credits(self, logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        return hard_dice(logits, targets)

    def begin(self, _train: Slices, _validation: Slices, /) -> str | None:
        """There is no layer that could be trained by itself: the way up is many."""
        return None

    def score(self, validation: Slices) -> Scores:
        losses, overlaps = self._inference.scores(validation)
        check_answers(losses)
        dice = float(overlaps.mean())
        return Scores(loss=float(losses.mean()), accuracy=dice, macro_f1=dice)


def check_answers(answers: NDArray[np.float32]) -> None:
    """Raise ``TrainingFailed`` if some are no numbers: the last step may have ruined the weights,
    which no loss tells any more."""
    if not np.isfinite(answers).all():
        raise TrainingFailed(
            "The model's answers are no longer numbers. Lower learning_rate, or raise batch_size."
        )


def class_weights(labels: NDArray[np.int64]) -> list[float]:
    """A weight for each of ``LABELS`` that makes those with slices count alike in the loss.

    Their mean over the slices is 1.
    """
    counts = np.bincount(labels, minlength=len(LABELS))
    share = len(labels) / np.count_nonzero(counts)
    return [share / int(count) if count else 0.0 for count in counts]
