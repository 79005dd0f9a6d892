"""The training loop: steps, epochs, best weights, checkpoints."""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from core.errors import StoreUnavailable, TrainingCancelled, TrainingFailed
from core.labels import LABELS
from core.training import EpochProgress, TrainingSpec
from workers.evaluation.metrics import cross_entropy, macro_f1
from workers.learning.backbones import set_variables
from workers.learning.checkpoints import Checkpoint, Checkpoints, TrainingState
from workers.learning.input_pipeline import (
    Slices,
    plain_batches,
    steps_per_epoch,
    training_batches,
)
from workers.learning.recipe import build_optimizer, learning_rate_at
from workers.training_hooks import TrainingHooks

log = logging.getLogger(__name__)


def stop_if_told(hooks: TrainingHooks) -> None:
    """Raise ``TrainingCancelled`` once the job is to stop."""
    if hooks.should_stop():
        raise TrainingCancelled()


class Inference:
    """A model's answers to slices as they are. Built once: each building traces the graph."""

    def __init__(self, model: keras.Model, batch_size: int, hooks: TrainingHooks) -> None:
        self._batch_size = batch_size
        self._hooks = hooks
        self._answer = tf.function(
            lambda images: model(images, training=False),
            input_signature=[tf.TensorSpec((None, *model.input_shape[1:]))],
        )

    def logits(self, slices: Slices) -> NDArray[np.float32]:
        """Logits (n, classes). Raises ``TrainingCancelled``."""
        answers = []
        for pixels, _ in plain_batches(slices, self._batch_size):
            stop_if_told(self._hooks)
            answers.append(self._answer(pixels).numpy())
        return np.concatenate(answers)


class TrainingStep:
    """One step of the optimizer, as a graph.

    The loss is cross-entropy in which every class counts alike, however rare its slices are.
    """

    def __init__(
        self, model: keras.Model, optimizer: keras.optimizers.Optimizer, weights: Sequence[float]
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._weights = tf.constant(weights, tf.float32)
        self._step = tf.function(
            self._run,
            input_signature=[
                tf.TensorSpec((None, *model.input_shape[1:])),
                tf.TensorSpec((None,), tf.int64),
            ],
        )

    def __call__(self, images: tf.Tensor, labels: tf.Tensor, rate: float) -> tuple[float, int]:
        """Learn from one batch; its mean loss and how many of its slices were right."""
        self._optimizer.learning_rate = rate
        loss, right = self._step(images, labels)
        return float(loss), int(right)

    def _run(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        variables = self._model.trainable_variables
        with tf.GradientTape() as tape:
            logits = self._model(images, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_mean(losses * tf.gather(self._weights, labels))
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        self._optimizer.apply(gradients, variables)
        right = tf.equal(tf.argmax(logits, axis=1), labels)
        return loss, tf.reduce_sum(tf.cast(right, tf.int32))


class Trainer:
    """Trains one model by one recipe, from its beginning or from a checkpoint."""

    def __init__(
        self,
        model: keras.Model,
        spec: TrainingSpec,
        inference: Inference,
        checkpoints: Checkpoints,
        hooks: TrainingHooks,
    ) -> None:
        self._model = model
        self._spec = spec
        self._inference = inference
        self._checkpoints = checkpoints
        self._hooks = hooks
        self._optimizer = build_optimizer(spec)
        self._optimizer.build(model.trainable_variables)

    def fit(self, train: Slices, validation: Slices, start: Checkpoint) -> TrainingState:
        """Train the model and leave it with the weights of its best epoch.

        Best is the highest macro-F1 on validation slices, then the lowest loss there. ``start``
        is where to go on, or :meth:`beginning`. Raises ``TrainingCancelled``, ``TrainingFailed``.
        """
        set_variables(self._model, self._variables, start.last)
        step = TrainingStep(self._model, self._optimizer, class_weights(train.labels))
        state, best = start.state, start.best
        while state.epoch < self._spec.epochs:
            state = self._one_epoch(state, step, train, validation)
            if state.best_epoch == state.epoch:
                best = self._model.get_weights()
            self._keep(Checkpoint(state=state, last=self._values(), best=best))
            self._hooks.on_epoch(state.history[-1])
        if not state.best_epoch:
            raise TrainingFailed("The model's answers are no numbers. Lower learning_rate.")
        self._model.set_weights(best)
        return state

    def beginning(self, weights_source: str) -> Checkpoint:
        """The start of a job whose model was built with its first weights."""
        state = TrainingState(weights_source=weights_source)
        return Checkpoint(state=state, last=self._values(), best=self._model.get_weights())

    @property
    def _variables(self) -> list[Any]:
        """Everything that training changes: weights, statistics, random states, moments."""
        return [*self._model.variables, *self._optimizer.variables]

    def _values(self) -> list[Any]:
        return [variable.numpy() for variable in self._variables]

    def _one_epoch(
        self, state: TrainingState, step: TrainingStep, train: Slices, validation: Slices
    ) -> TrainingState:
        started = time.monotonic()
        with _memory_errors():
            loss, accuracy = self._learn(state.epoch, step, train)
            logits = self._inference.logits(validation)
        labels, predicted = validation.labels, logits.argmax(axis=1)
        val_loss = cross_entropy(logits, labels)
        seconds = time.monotonic() - started
        progress = EpochProgress(
            epoch=state.epoch + 1,
            epochs=self._spec.epochs,
            loss=loss,
            accuracy=accuracy,
            val_loss=val_loss,
            val_accuracy=float((predicted == labels).mean()),
            seconds=seconds,
            seconds_left=_seconds_left(state, seconds, self._spec.epochs),
        )
        return state.followed_by(progress, (macro_f1(labels, predicted), -val_loss))

    def _learn(self, epoch: int, step: TrainingStep, train: Slices) -> tuple[float, float]:
        """One pass over the training slices; its mean loss and accuracy."""
        steps, loss_sum, right_sum = steps_per_epoch(len(train), self._spec.batch_size), 0.0, 0
        for number, (images, labels) in enumerate(training_batches(train, self._spec, epoch)):
            self._report(epoch, number / steps)
            rate = learning_rate_at(
                epoch * steps + number, self._spec.epochs * steps, self._spec.learning_rate
            )
            loss, right = step(images, labels, rate)
            _check_number(loss)
            loss_sum += loss * len(labels)
            right_sum += right
        return loss_sum / len(train), right_sum / len(train)

    def _report(self, epoch: int, share: float) -> None:
        stop_if_told(self._hooks)
        done = (epoch + share) / self._spec.epochs
        self._hooks.on_progress(done, f"epoch {epoch + 1} of {self._spec.epochs}")

    def _keep(self, checkpoint: Checkpoint) -> None:
        try:
            self._checkpoints.save(checkpoint)
        except StoreUnavailable as exc:  # training needs no checkpoint as long as nothing happens
            epoch = checkpoint.state.epoch
            log.warning("checkpoint_not_written epoch=%d message=%s", epoch, exc.message)
            self._hooks.on_message(f"the checkpoint of epoch {epoch} could not be written")


def class_weights(labels: NDArray[np.int64]) -> list[float]:
    """A weight for each of ``LABELS`` that makes those with slices count alike in the loss.

    Their mean over the slices is 1.
    """
    counts = np.bincount(labels, minlength=len(LABELS))
    share = len(labels) / np.count_nonzero(counts)
    return [share / int(count) if count else 0.0 for count in counts]


@contextmanager
def _memory_errors() -> Iterator[None]:
    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError) as exc:
        raise TrainingFailed(
            "The memory (of the GPU, if there is one) does not hold a training step. Lower "
            "batch_size or image_size."
        ) from exc


def _check_number(loss: float) -> None:
    if not math.isfinite(loss):
        raise TrainingFailed(
            "The training loss is no longer a number. Lower learning_rate, or raise batch_size."
        )


def _seconds_left(state: TrainingState, seconds: float, epochs: int) -> float:
    """From the epochs but the first, which also builds the graph, where there are others."""
    measured = [epoch.seconds for epoch in state.history[1:]] + [seconds]
    return sum(measured) / len(measured) * (epochs - state.epoch - 1)
