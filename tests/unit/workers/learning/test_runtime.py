import tensorflow as tf

from workers.learning.runtime import configure_runtime


def test_float32_is_not_rounded_on_a_gpu() -> None:
    configure_runtime(0)
    assert not tf.config.experimental.tensor_float_32_execution_enabled()
