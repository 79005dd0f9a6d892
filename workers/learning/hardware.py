"""What a training runs on: which devices, and in what precision."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import keras
import tensorflow as tf

from core.training import Precision, TrainingSpec

Capability = tuple[int, int]
"""NVIDIA's compute capability: major and minor number."""

_FAST_IN: Final = ((Precision.MIXED_BFLOAT16, (8, 0)), (Precision.MIXED_FLOAT16, (7, 0)))
"""From which capability on tensor cores take a format, the better format first. bfloat16 has
float32's range, so that nothing overflows and no loss needs scaling."""


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """``precision`` is never AUTO; ``gpus`` is 0 on a CPU.

    ``strategy`` spreads each step over several devices; None where there is a single one.
    """

    precision: Precision = Precision.FLOAT32
    gpus: int = 0
    strategy: tf.distribute.Strategy | None = None

    def __str__(self) -> str:
        devices = f"{self.gpus} GPU{'s' if self.gpus > 1 else ''}" if self.gpus else "the CPU"
        return f"precision {self.precision} on {devices}"

    @property
    def is_plain(self) -> bool:
        """Whether a model that is trained on it is an ordinary one: float32, on one device."""
        return self.precision is Precision.FLOAT32 and self.strategy is None

    def scope(self) -> AbstractContextManager[Any]:
        """Model and optimizer must be built inside, so that each device has their variables."""
        return nullcontext() if self.strategy is None else self.strategy.scope()


PLAIN: Final = Hardware()


def find_hardware(spec: TrainingSpec) -> Hardware:
    """All GPUs that this process may see, but no more than a batch has slices; else the CPU."""
    gpus = tf.config.get_visible_devices("GPU")[: spec.batch_size]
    return Hardware(
        precision=chosen_precision(spec.precision, [_capability(gpu) for gpu in gpus]),
        gpus=len(gpus),
        strategy=_mirrored(len(gpus)) if len(gpus) > 1 else None,
    )


def chosen_precision(asked: Precision, capabilities: Sequence[Capability | None]) -> Precision:
    """What is asked for; for AUTO what every GPU is fast in.

    That is float32 without a GPU, or with one whose capability is not known: TensorFlow's kernels
    for CPUs gain nothing from fewer bits.
    """
    if asked is not Precision.AUTO:
        return asked
    known = [capability for capability in capabilities if capability is not None]
    if not known or len(known) < len(capabilities):
        return Precision.FLOAT32
    fast = (precision for precision, lowest in _FAST_IN if min(known) >= lowest)
    return next(fast, Precision.FLOAT32)


@contextmanager
def computing_in(precision: Precision) -> Iterator[None]:
    """Layers that are built inside compute in this precision.

    Networks of ``keras.applications`` take it from Keras' global policy only.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(str(precision))
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _capability(gpu: Any) -> Capability | None:
    details = tf.config.experimental.get_device_details(gpu)
    capability: Capability | None = details.get("compute_capability")
    return capability


@lru_cache
def _mirrored(count: int) -> tf.distribute.Strategy:
    """Once a process: every strategy sets up its own links between the GPUs."""
    return tf.distribute.MirroredStrategy([f"GPU:{number}" for number in range(count)])
