"""One step of the optimizer, on one device or on several."""

from collections.abc import Callable
from typing import Any, Protocol

import keras
import tensorflow as tf

Learned = tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]
"""Mean loss, the sum of what was right, and the gradients of the scaled loss."""


class Teaches(Protocol):
    """What a step needs of an objective, see :mod:`workers.learning.objective`."""

    targets: Any
    """What a batch's targets are like: a ``tf.TensorSpec``, or a structure of them."""

    def outputs_of(self, model: keras.Model) -> keras.Model:
        """The model with all outputs that the loss is made of."""
        ...

    def losses(self, outputs: Any, targets: Any) -> tf.Tensor:
        """The loss (n,) of each slice."""
        ...

    def credits(self, outputs: Any, targets: Any) -> tf.Tensor:
        """How right each slice's answer is, 0..1: (n,)."""
        ...


def _nothing() -> None:
    pass


class TrainingStep:
    """One step of the optimizer, as a graph.

    What is to be learned, the objective says. ``afterwards`` is part of the graph: what follows
    the weights whenever they have changed.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        objective: Teaches,
        afterwards: Callable[[], None] = _nothing,
    ) -> None:
        self._model = model
        self._afterwards = afterwards
        self._teaching = objective.outputs_of(model)
        self._optimizer = optimizer
        self._objective = objective
        self._step = tf.function(
            self._run,
            input_signature=[tf.TensorSpec((None, None, None, 1)), objective.targets],
            autograph=False,
        )

    def __call__(self, images: tf.Tensor, targets: Any, rate: float) -> tuple[float, float]:
        """Learn from one batch; its mean loss and the sum of what its slices got right."""
        self._optimizer.learning_rate = rate
        loss, credit = self._step(images, targets)
        return float(loss), float(credit)

    def _run(self, images: tf.Tensor, targets: Any) -> tuple[tf.Tensor, tf.Tensor]:
        loss, credit, gradients = self._learn(images, targets, tf.reduce_mean)
        self._optimizer.apply(gradients, self._model.trainable_variables)
        self._afterwards()
        return loss, credit

    def _learn(
        self, images: tf.Tensor, targets: Any, mean: Callable[[tf.Tensor], tf.Tensor]
    ) -> Learned:
        variables = self._model.trainable_variables
        with tf.GradientTape() as tape:
            outputs = self._teaching(images, training=True)
            loss = mean(self._objective.losses(outputs, targets))
            scaled = self._optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, [variable.value for variable in variables])
        return loss, tf.reduce_sum(self._objective.credits(outputs, targets)), gradients


class MirroredStep(TrainingStep):
    """The same step on several devices, each of which learns from its share of the batch.

    Loss and gradients are those of the whole batch, as on one device. Only batch norms see each
    share by itself; their statistics follow the mean of the shares.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        objective: Teaches,
        strategy: tf.distribute.Strategy,
        afterwards: Callable[[], None] = _nothing,
    ) -> None:
        super().__init__(model, optimizer, objective, afterwards)
        self._strategy = strategy
        _take_summed_gradients(optimizer)

    def _run(self, images: tf.Tensor, targets: Any) -> tuple[tf.Tensor, tf.Tensor]:
        loss, credit = self._strategy.run(self._run_share, (images, targets))
        self._afterwards()
        return self._sum(loss), self._sum(credit)

    def _sum(self, parts: Any) -> tf.Tensor:
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, parts, axis=None)

    def _run_share(self, images: tf.Tensor, targets: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """On each device: its part of the batch's mean loss and of what was right."""
        replica = tf.distribute.get_replica_context()
        count = tf.shape(images)[0]
        with tf.device("CPU:0"):  # where batches are made: only its share goes to the device
            start = replica.replica_id_in_sync_group * count // replica.num_replicas_in_sync
            end = (replica.replica_id_in_sync_group + 1) * count // replica.num_replicas_in_sync
            # Batch norms need a slice: a device that is left without takes one that does not count.
            share = slice(start, tf.maximum(end, start + 1))
            images, targets = tf.nest.map_structure(lambda part: part[share], (images, targets))
        is_own = end > start
        weight = tf.cast(is_own, tf.float32) / tf.cast(count, tf.float32)
        loss, credit, gradients = self._learn(
            images, targets, lambda losses: weight * tf.reduce_sum(losses)
        )
        gradients = replica.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        self._optimizer.apply(gradients, self._model.trainable_variables)
        return loss, credit * tf.cast(is_own, tf.float32)


def training_step(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    objective: Teaches,
    strategy: tf.distribute.Strategy | None,
    afterwards: Callable[[], None] = _nothing,
) -> TrainingStep:
    """The step for one device, or for all of the strategy's."""
    if strategy is None:
        return TrainingStep(model, optimizer, objective, afterwards)
    return MirroredStep(model, optimizer, objective, strategy, afterwards)


def _take_summed_gradients(optimizer: keras.optimizers.Optimizer) -> None:
    """Let the optimizer take gradients that are summed over the devices already.

    Keras sums them too, but after it has clipped them and looked for overflows, which would then
    see one device's share; and it has no switch for that (keras#19308).
    """
    inner: Any = getattr(optimizer, "inner_optimizer", optimizer)
    inner._all_reduce_sum_gradients = list
