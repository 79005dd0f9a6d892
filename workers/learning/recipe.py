"""Optimizers and learning rates from a recipe."""

import math
from typing import Final

import keras

from core.training import Optimizer, Precision, Task, TrainingSpec
from workers.learning.fused_adam import Adam, AdamW

_WARM_UP_SHARE: Final = 0.1
_LOWEST_SHARE: Final = 0.01
_MOMENTUM: Final = 0.9
_LARGEST_GRADIENT: Final = 1.0
"""Global norm; large gradients of the first steps would undo what pretraining has learned."""
_UNITS: Final = {Task.CLASSIFICATION: 16, Task.SEGMENTATION: 32}
"""Pixels: a segmenter's way up must meet its way down."""
_UNDECAYED: Final = ("bias", "gamma", "beta")
"""Shifts and scales: pulling them to zero helps nothing."""


def learning_rate_at(step: int, steps: int, peak: float) -> float:
    """The rate of a step (from 0): linear warm-up over the first tenth, then half a cosine.

    Goyal et al., 2017, "Accurate, Large Minibatch SGD"; Loshchilov and Hutter, ICLR 2017, "SGDR".
    """
    warm_up = max(1, round(steps * _WARM_UP_SHARE))
    if step < warm_up:
        return peak * (step + 1) / warm_up
    done = (step - warm_up) / max(1, steps - warm_up)
    return peak * (_LOWEST_SHARE + (1 - _LOWEST_SHARE) * (1 + math.cos(math.pi * done)) / 2)


def epoch_sizes(spec: TrainingSpec) -> list[int]:
    """The side of the pictures in each epoch: it grows over the first half, then stays.

    Small pictures teach the coarse things for a fraction of the work (Howard, fast.ai, 2018;
    Tan and Le, ICML 2021, "EfficientNetV2"). Sides between the first and the last are multiples
    of what strides divide.
    """
    first, last = spec.first_image_size, spec.image_size
    growing = spec.epochs // 2
    if not 0 < first < last:
        return [last] * spec.epochs
    grown = [first + (last - first) * epoch / growing for epoch in range(growing)]
    unit = _UNITS[spec.task]
    return [max(32, round(side / unit) * unit) for side in grown] + [last] * (spec.epochs - growing)


def build_optimizer(spec: TrainingSpec) -> keras.optimizers.Optimizer:
    """The recipe's optimizer. Its rate is set before each step.

    A schedule inside the graph would be built again for every weight that is decayed, which
    takes longer than many a training.
    """
    optimizer = _optimizer(spec)
    if spec.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=list(_UNDECAYED))
    return optimizer


def with_loss_scale(
    optimizer: keras.optimizers.Optimizer, precision: Precision
) -> keras.optimizers.Optimizer:
    """The optimizer, over a scaled loss where small gradients would be 0 otherwise.

    The scale is halved, and the step left out, whenever a gradient overflows. Micikevicius et
    al., ICLR 2018, "Mixed Precision Training".
    """
    if precision is not Precision.MIXED_FLOAT16:
        return optimizer
    return keras.optimizers.LossScaleOptimizer(optimizer)


def _optimizer(spec: TrainingSpec) -> keras.optimizers.Optimizer:
    rate, clip = spec.learning_rate, {"global_clipnorm": _LARGEST_GRADIENT}
    decay = spec.weight_decay or None
    match spec.optimizer:
        case Optimizer.ADAMW:
            return AdamW(rate, weight_decay=spec.weight_decay, **clip)
        case Optimizer.ADAM:
            return Adam(rate, weight_decay=decay, **clip)
        case Optimizer.SGD:
            return keras.optimizers.SGD(
                rate, momentum=_MOMENTUM, nesterov=True, weight_decay=decay, **clip
            )
