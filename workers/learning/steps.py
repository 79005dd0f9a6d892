"""One step of the optimizer, on one device or on several."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from core.labels import LABELS

Learned = tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]
"""Mean loss, how many were right, and the gradients of the scaled loss."""


class TrainingStep:
    """One step of the optimizer, as a graph.

    The loss is cross-entropy with targets that may be smoothed or mixed; each class has a weight.
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
                tf.TensorSpec((None, None, None, 1)),
                tf.TensorSpec((None, len(LABELS))),
            ],
        )

    def __call__(self, images: tf.Tensor, targets: tf.Tensor, rate: float) -> tuple[float, int]:
        """Learn from one batch; its mean loss and how many of its slices were right."""
        self._optimizer.learning_rate = rate
        loss, right = self._step(images, targets)
        return float(loss), int(right)

    def _run(self, images: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        loss, right, gradients = self._learn(images, targets, tf.reduce_mean)
        self._optimizer.apply(gradients, self._model.trainable_variables)
        return loss, right

    def _learn(
        self, images: tf.Tensor, targets: tf.Tensor, mean: Callable[[tf.Tensor], tf.Tensor]
    ) -> Learned:
        variables = self._model.trainable_variables
        with tf.GradientTape() as tape:
            logits = self._model(images, training=True)
            losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
            loss = mean(losses * tf.linalg.matvec(targets, self._weights))
            scaled = self._optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, [variable.value for variable in variables])
        right = tf.equal(tf.argmax(logits, axis=1), tf.argmax(targets, axis=1))
        return loss, tf.reduce_sum(tf.cast(right, tf.int32)), gradients


class MirroredStep(TrainingStep):
    """The same step on several devices, each of which learns from its share of the batch.

    Loss and gradients are those of the whole batch, as on one device. Only batch norms see each
    share by itself; their statistics follow the mean of the shares.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        weights: Sequence[float],
        strategy: tf.distribute.Strategy,
    ) -> None:
        super().__init__(model, optimizer, weights)
        self._strategy = strategy
        _take_summed_gradients(optimizer)

    def _run(self, images: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        loss, right = self._strategy.run(self._run_share, (images, targets))
        return self._sum(loss), self._sum(right)

    def _sum(self, parts: Any) -> tf.Tensor:
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, parts, axis=None)

    def _run_share(self, images: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """On each device: its part of the batch's mean loss and of how many were right."""
        replica = tf.distribute.get_replica_context()
        count = tf.shape(images)[0]
        with tf.device("CPU:0"):  # where batches are made: only its share goes to the device
            start = replica.replica_id_in_sync_group * count // replica.num_replicas_in_sync
            end = (replica.replica_id_in_sync_group + 1) * count // replica.num_replicas_in_sync
            # Batch norms need a slice: a device that is left without takes one, with weight 0.
            share = slice(start, tf.maximum(end, start + 1))
            images, targets = images[share], targets[share]
        is_own = end > start
        weight = tf.cast(is_own, tf.float32) / tf.cast(count, tf.float32)
        loss, right, gradients = self._learn(
            images, targets, lambda losses: weight * tf.reduce_sum(losses)
        )
        gradients = replica.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        self._optimizer.apply(gradients, self._model.trainable_variables)
        return loss, right * tf.cast(is_own, tf.int32)


def training_step(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    weights: Sequence[float],
    strategy: tf.distribute.Strategy | None,
) -> TrainingStep:
    """The step for one device, or for all of the strategy's."""
    if strategy is None:
        return TrainingStep(model, optimizer, weights)
    return MirroredStep(model, optimizer, weights, strategy)


def _take_summed_gradients(optimizer: keras.optimizers.Optimizer) -> None:
    """Let the optimizer take gradients that are summed over the devices already.

    Keras sums them too, but after it has clipped them and looked for overflows, which would then
    see one device's share; and it has no switch for that (keras#19308).
    """
    inner: Any = getattr(optimizer, "inner_optimizer", optimizer)
    inner._all_reduce_sum_gradients = list
