"""TensorFlow's own settings, which must be made before its runtime starts."""

import logging
from functools import lru_cache

import keras
import tensorflow as tf

from workers.learning.allocator import keep_freed_memory

log = logging.getLogger(__name__)


@lru_cache(maxsize=1)
def configure_runtime(threads: int) -> None:
    """Bound TensorFlow's threads (0: all cores) and let it take a GPU's memory as it needs it.

    Float32 is float32 on a GPU too: TensorFlow would round it to TF32's 10 bits there, and a model
    would answer otherwise than its export, by more than the comparison of both allows. Which GPUs
    there are, ``CUDA_VISIBLE_DEVICES`` says. Once a process: the runtime cannot be changed after
    it has started.
    """
    keep_freed_memory()
    if threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(min(threads, 2))
    tf.config.experimental.enable_tensor_float_32_execution(False)
    devices = tf.config.list_physical_devices("GPU")
    for device in devices:
        tf.config.experimental.set_memory_growth(device, True)
    log.info(
        "tensorflow_ready version=%s gpus=%d threads=%d", tf.__version__, len(devices), threads
    )


def seed_everything(seed: int) -> None:
    """The same seed gives the same first weights and the same dropout."""
    keras.utils.set_random_seed(seed)
