"""Batch norm and swish in one pass over their feature map each, where a model is trained on a CPU.

Keras makes both of plain operations, each of which reads and writes the whole map, and keeps what
the gradient needs of each: in EfficientNetB0 that was half of a training step. Here batch norm is
TensorFlow's own fused kernel, and swish with its gradient is compiled by XLA. Outside of training
the layers are Keras' own, so that nothing is different in what is exported.
"""

from collections.abc import Mapping
from typing import Any, Final

import keras
import tensorflow as tf
from keras import layers

_SMALLEST_EPSILON: Final = 1.001e-5
"""What the fused kernel takes."""
_CHANNELS_LAST: Final = 3


class BatchNormalization(layers.BatchNormalization):  # type: ignore[misc]
    """Keras' layer, by its name too: weights are saved under the names of classes."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not (training and self.trainable and mask is None and self._fits(inputs)):
            return super().call(inputs, training=training, mask=mask)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, self.gamma, self.beta, epsilon=self.epsilon, is_training=True
        )
        # The kernel's variance is that of the population which the batch is a sample of.
        count = tf.cast(tf.size(inputs) // tf.shape(inputs)[-1], variance.dtype)
        self._follow(self.moving_mean, mean)
        self._follow(self.moving_variance, variance * (count - 1) / count)
        return outputs

    def _fits(self, inputs: Any) -> bool:
        return (
            len(inputs.shape) == 1 + _CHANNELS_LAST
            and self.axis in (-1, _CHANNELS_LAST)
            and self.scale
            and self.center
            and not (self.synchronized or getattr(self, "renorm", False))
            and self.epsilon >= _SMALLEST_EPSILON
            and _on_cpu(inputs)
        )

    def _follow(self, moving: Any, batch: tf.Tensor) -> None:
        moving.assign(moving * self.momentum + batch * (1 - self.momentum))


class Activation(layers.Activation):  # type: ignore[misc]
    """Keras' layer, whatever its function is; swish in one pass."""

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        if training and self.activation is keras.activations.silu and _on_cpu(inputs):
            return swish(inputs)
        return super().call(inputs)


@tf.custom_gradient  # type: ignore[untyped-decorator]
def swish(inputs: tf.Tensor) -> Any:
    """x * sigmoid(x) (Ramachandran et al., 2017). Only ``inputs`` are kept for the gradient."""
    return _swish(inputs), lambda upstream: _swish_gradient(inputs, upstream)


@tf.function(jit_compile=True, autograph=False)  # type: ignore[untyped-decorator]
def _swish(inputs: tf.Tensor) -> tf.Tensor:
    return inputs * tf.sigmoid(inputs)


@tf.function(jit_compile=True, autograph=False)  # type: ignore[untyped-decorator]
def _swish_gradient(inputs: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    gate = tf.sigmoid(inputs)
    return upstream * gate * (1 + inputs * (1 - gate))


def fused(network: keras.Model) -> keras.Model:
    """The network with these layers in place of Keras', by the same names and with its weights."""
    clone = keras.models.clone_model(network, clone_function=_fused_layer)
    clone.set_weights(network.get_weights())
    return clone


_FUSED: Final[Mapping[Any, Any]] = {
    layers.BatchNormalization: BatchNormalization,
    layers.Activation: Activation,
}


def _fused_layer(layer: layers.Layer) -> layers.Layer:
    kind: Any = type(layer)
    return _FUSED.get(kind, kind).from_config(layer.get_config())


def _on_cpu(inputs: tf.Tensor) -> bool:
    """In float32, and not on a GPU, whose own kernels are another matter."""
    return inputs.dtype == tf.float32 and not tf.config.get_visible_devices("GPU")
