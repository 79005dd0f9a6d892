"""Adam with one operation a variable.

Keras makes each step of sixteen plain operations a variable: in EfficientNetB0 more than four
thousand in all, which took as long to trace as the network itself and a tenth of a training step
on small pictures. TensorFlow has a kernel for it, on every kind of device.
"""

from typing import Any

import keras
import tensorflow as tf


class _OneOperation:
    """Keras' Adam or AdamW but for ``update_step``, by the same formula (Kingma and Ba, ICLR 2015,
    "Adam"; epsilon as in the paper's note on efficiency)."""

    def update_step(self: Any, gradient: tf.Tensor, variable: Any, learning_rate: Any) -> None:
        place = self._get_variable_index(variable)
        kind = gradient.dtype
        step = tf.cast(self.iterations.value, kind) + 1
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[place].value.handle,
            v=self._velocities[place].value.handle,
            beta1_power=tf.pow(tf.constant(self.beta_1, kind), step),
            beta2_power=tf.pow(tf.constant(self.beta_2, kind), step),
            lr=tf.cast(learning_rate, kind),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


class Adam(_OneOperation, keras.optimizers.Adam):  # type: ignore[misc]
    """:class:`keras.optimizers.Adam`, without ``amsgrad``."""


class AdamW(_OneOperation, keras.optimizers.AdamW):  # type: ignore[misc]
    """:class:`keras.optimizers.AdamW`, without ``amsgrad``."""
