"""What a model says of slices as they are."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from core.errors import TrainingCancelled
from workers.learning.classifier import with_features, with_pooled
from workers.learning.input_pipeline import (
    Slices,
    harder_batches,
    plain_batches,
    plain_mask_batches,
)
from workers.learning.mask_loss import hard_dice, mask_losses
from workers.training_hooks import TrainingHooks

TwoAnswers = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def stop_if_told(hooks: TrainingHooks) -> None:
    """Raise ``TrainingCancelled`` once the job is to stop."""
    if hooks.should_stop():
        raise TrainingCancelled()


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a model says of n slices: ``logits`` (n, classes) and, by which strangers are told,
    ``features`` (n, d)."""

    logits: NDArray[np.float32]
    features: NDArray[np.float32]


class Inference:
    """A model's answers to slices as they are. Built once: each building traces the graph."""

    def __init__(self, model: keras.Model, batch_size: int, hooks: TrainingHooks) -> None:
        self.model = model
        self._batch_size = batch_size
        self._hooks = hooks
        self._answer = _traced(with_features(model))
        self._decide_by = _traced(with_pooled(model))

    def answers(self, slices: Slices) -> Answers:
        """Raises ``TrainingCancelled``."""
        logits, features = self._both(self._answer, plain_batches(slices, self._batch_size))
        return Answers(logits=logits, features=features)

    def pooled(self, slices: Slices) -> NDArray[np.float32]:
        """What the last layer decides by, (n, channels). Raises ``TrainingCancelled``."""
        return self._both(self._decide_by, plain_batches(slices, self._batch_size))[1]

    def logits(self, slices: Slices) -> NDArray[np.float32]:
        """Logits (n, classes). Raises ``TrainingCancelled``."""
        return self.answers(slices).logits

    def harder_logits(self, slices: Slices) -> NDArray[np.float32]:
        """Logits (n, classes) of :func:`harder_batches`. Raises ``TrainingCancelled``."""
        return self._both(self._answer, harder_batches(slices, self._batch_size))[0]

    def _both(
        self, answer: TwoAnswers, batches: tf.data.Dataset
    ) -> tuple[NDArray[np.float32], ...]:
        parts = []
        for pixels, _ in batches:
            stop_if_told(self._hooks)
            parts.append([part.numpy() for part in answer(pixels)])
        return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def _traced(model: keras.Model) -> Callable[[tf.Tensor], Any]:
    """As one graph for pictures of any size, which is made at the first call."""
    answer: Callable[[tf.Tensor], Any] = tf.function(
        lambda images: model(images, training=False),
        input_signature=[tf.TensorSpec((None, None, None, 1))],
        autograph=False,
    )
    return answer


class MaskInference:
    """A segmenter's answers to slices as they are. Built once, as :class:`Inference`."""

    def __init__(self, model: keras.Model, batch_size: int, hooks: TrainingHooks) -> None:
        self.model = model
        self._batch_size = batch_size
        self._hooks = hooks
        self._answer = _traced(model)

    def maps(self, slices: Slices) -> Iterator[NDArray[np.float32]]:
        """The probabilities of tumour, 0..1, of each slice, (size, size), in their order.

        Made batch by batch as they are asked for: those of all test slices may be more than there
        is memory. Raises ``TrainingCancelled``.
        """
        for pixels, _ in plain_batches(slices, self._batch_size):
            stop_if_told(self._hooks)
            yield from tf.sigmoid(self._answer(pixels))[..., 0].numpy()

    def scores(self, slices: Slices) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Loss and Dice (n,) of each slice at the model's own size. Raises ``TrainingCancelled``.

        Nothing is kept of the answers: those of many slices take much memory.
        """
        losses, overlaps = [], []
        for pixels, masks in plain_mask_batches(slices, self._batch_size):
            stop_if_told(self._hooks)
            logits = self._answer(pixels)
            losses.append(mask_losses(logits, masks).numpy())
            overlaps.append(hard_dice(logits, masks).numpy())
        return np.concatenate(losses), np.concatenate(overlaps)
