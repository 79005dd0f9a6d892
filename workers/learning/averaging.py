"""A moving average of a model's weights while it is trained.

Polyak and Juditsky, SIAM J. Control Optim. 1992; Izmailov et al., UAI 2018, "Averaging Weights
Leads to Wider Optima and Better Generalization": the average answers better than the last step.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import keras
import tensorflow as tf

_BEGINNING: Final = 10.0
"""The first steps count more, so that the start is soon forgotten: (1 + n) / (10 + n) at most."""


class WeightAverage:
    """Averages every float variable of a model, its batch statistics too.

    ``decay`` is per step, 0..1; 0 keeps no average, and the model answers with its last weights.
    """

    def __init__(self, model: keras.Model, decay: float) -> None:
        self._decay = decay
        floats = [v for v in model.variables if "float" in v.dtype]
        self._model_values = [v.value for v in floats] if decay else []
        self._averages = [tf.Variable(value, trainable=False) for value in self._model_values]
        self._steps = tf.Variable(0.0, trainable=False)

    @property
    def variables(self) -> list[Any]:
        """What a checkpoint must hold for the average to go on as if nothing had happened."""
        return [self._steps, *self._averages]

    def follow(self) -> None:
        """Move towards the model's weights after a step, best as the end of the step's graph."""
        if not self._averages:
            return
        self._steps.assign_add(1.0)
        decay = tf.minimum(self._decay, (1 + self._steps) / (_BEGINNING + self._steps))
        for average, value in zip(self._averages, self._model_values, strict=True):
            average.assign_add((1 - decay) * (value - average))

    def begin_at_model(self) -> None:
        """Start from the weights that the model has now."""
        self._steps.assign(0.0)
        for average, value in zip(self._averages, self._model_values, strict=True):
            average.assign(value)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model answers with the averaged weights inside the block."""
        last = [value.numpy() for value in self._model_values]
        self._put(self._averages)
        try:
            yield
        finally:
            self._put(last)

    def _put(self, values: list[Any]) -> None:
        for variable, value in zip(self._model_values, values, strict=True):
            variable.assign(value)
