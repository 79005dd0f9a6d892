"""The training loop: steps, epochs, best weights, checkpoints."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from core.errors import StoreUnavailable, TrainingFailed
from core.training import EpochProgress, Precision, TrainingSpec
from workers.learning.averaging import WeightAverage
from workers.learning.backbones import set_variables
from workers.learning.checkpoints import Checkpoint, Checkpoints, TrainingState
from workers.learning.hardware import PLAIN, Hardware
from workers.learning.inference import stop_if_told
from workers.learning.input_pipeline import Slices, steps_per_epoch
from workers.learning.objective import Objective
from workers.learning.pace import Pace
from workers.learning.recipe import (
    build_optimizer,
    epoch_sizes,
    learning_rate_at,
    with_loss_scale,
)
from workers.learning.steps import TrainingStep, training_step
from workers.training_hooks import TrainingHooks

log = logging.getLogger(__name__)


class Trainer:
    """Trains one model by one recipe, from its beginning or from a checkpoint.

    The model was built for ``hardware``, in its scope.
    """

    def __init__(
        self,
        model: keras.Model,
        spec: TrainingSpec,
        objective: Objective,
        checkpoints: Checkpoints,
        hooks: TrainingHooks,
        hardware: Hardware = PLAIN,
    ) -> None:
        self._model = model
        self._spec = spec
        self._objective = objective
        self._checkpoints = checkpoints
        self._hooks = hooks
        self._hardware = hardware
        with hardware.scope():
            self._optimizer = build_optimizer(spec)
            self._scaled_optimizer = with_loss_scale(self._optimizer, hardware.precision)
            self._scaled_optimizer.build(model.trainable_variables)
        self._average = WeightAverage(model, 0.0)
        self._sizes = epoch_sizes(spec)

    def fit(self, train: Slices, validation: Slices, start: Checkpoint) -> TrainingState:
        """Train the model and leave it with the weights of its best epoch.

        Best is the highest macro-F1 on validation slices, then the lowest loss there. ``start``
        is where to go on, or :meth:`beginning`. Raises ``TrainingCancelled``, ``TrainingFailed``.
        """
        self._average = self._new_average(len(train))
        state, best = start.state, start.best
        if state.epoch:
            set_variables(self._model, self._variables, start.last)
        else:
            set_variables(self._model, self._model.variables, start.last)
            self._begin(train, validation)
            self._average.begin_at_model()
        step = training_step(
            self._model,
            self._scaled_optimizer,
            self._objective,
            self._hardware.strategy,
            afterwards=self._average.follow,
        )
        while state.epoch < self._spec.epochs and not self._is_tired(state):
            state = self._one_epoch(state, step, train, validation)
            if state.best_epoch == state.epoch:
                with self._average.in_place():
                    best = self._model.get_weights()
            self._keep(Checkpoint(state=state, last=self._values(), best=best))
            self._hooks.on_epoch(state.history[-1])
        self._model.set_weights(best)
        return state

    def beginning(self, weights_source: str) -> Checkpoint:
        """The start of a job whose model was built with its first weights."""
        state = TrainingState(weights_source=weights_source)
        first = [variable.numpy() for variable in self._model.variables]
        return Checkpoint(state=state, last=first, best=self._model.get_weights())

    @property
    def _variables(self) -> list[Any]:
        """Everything that training changes: weights, statistics, random states, moments, and the
        average of the weights.

        Not the scale of the loss, which is found again within a few steps: another worker can go
        on, whatever its devices and precision are.
        """
        return [*self._model.variables, *self._optimizer.variables, *self._average.variables]

    def _values(self) -> list[Any]:
        return [variable.numpy() for variable in self._variables]

    def _new_average(self, slices: int) -> WeightAverage:
        steps = steps_per_epoch(slices, self._spec.batch_size)
        return WeightAverage(self._model, self._spec.ema_decay ** (1 / steps))

    def _is_tired(self, state: TrainingState) -> bool:
        return 0 < self._spec.patience <= state.epoch - state.best_epoch

    def _begin(self, train: Slices, validation: Slices) -> None:
        if self._spec.head_epochs:
            self._hooks.on_progress(0.0, "computing features for the last layer")
        with _memory_errors():
            said = self._objective.begin(train, validation)
        if said:
            self._hooks.on_message(said)

    def _one_epoch(
        self, state: TrainingState, step: TrainingStep, train: Slices, validation: Slices
    ) -> TrainingState:
        pace = Pace()
        with _memory_errors():
            loss, accuracy = self._learn(state.epoch, step, train, pace)
            pace.learned_from(len(train))
            with self._average.in_place():
                scores = self._objective.score(validation)
        figures, seconds = pace.figures(), pace.seconds
        progress = EpochProgress(
            epoch=state.epoch + 1,
            epochs=self._spec.epochs,
            loss=loss,
            accuracy=accuracy,
            val_loss=scores.loss,
            val_accuracy=scores.accuracy,
            seconds=seconds,
            seconds_left=_seconds_left(state, seconds, self._spec.epochs),
            val_macro_f1=scores.macro_f1,
            **figures,
        )
        return state.followed_by(progress, (scores.macro_f1, -scores.loss))

    def _learn(
        self, epoch: int, step: TrainingStep, train: Slices, pace: Pace
    ) -> tuple[float, float]:
        """One pass over the training slices; its mean loss and accuracy."""
        steps, loss_sum, credit_sum = steps_per_epoch(len(train), self._spec.batch_size), 0.0, 0.0
        batches = self._objective.batches(train, epoch, self._sizes[epoch])
        for number, (images, targets) in enumerate(pace.waiting_for(batches)):
            self._report(epoch, number / steps)
            rate = learning_rate_at(
                epoch * steps + number, self._spec.epochs * steps, self._spec.learning_rate
            )
            loss, credit = step(images, targets, rate)
            _check_number(loss, self._hardware.precision)
            loss_sum += loss * len(images)
            credit_sum += credit
        return loss_sum / len(train), credit_sum / len(train)

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
        else:
            self._hooks.on_saved()


@contextmanager
def _memory_errors() -> Iterator[None]:
    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError) as exc:
        raise TrainingFailed(
            "The memory (of the GPU, if there is one) does not hold a training step. Lower "
            "batch_size or image_size."
        ) from exc


def _check_number(loss: float, precision: Precision) -> None:
    if not math.isfinite(loss):
        also = ", or use precision=float32" if precision is Precision.MIXED_FLOAT16 else ""
        raise TrainingFailed(
            "The training loss is no longer a number. Lower learning_rate, or raise batch_size"
            f"{also}."
        )


def _seconds_left(state: TrainingState, seconds: float, epochs: int) -> float:
    """From the epochs but the first, which also builds the graph, where there are others."""
    measured = [epoch.seconds for epoch in state.history[1:]] + [seconds]
    return sum(measured) / len(measured) * (epochs - state.epoch - 1)
