"""The segmenter: grey slice in, for each pixel the logit that it is tumour out.

Ronneberger, Fischer and Brox, MICCAI 2015, "U-Net: Convolutional Networks for Biomedical Image
Segmentation", with a pretrained network as its way down.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import keras
import numpy as np
from keras import KerasTensor, layers

from core.errors import TrainingFailed
from core.training import SEGMENTER_STRIDE, Backbone, BatchNorm, Precision, TrainingSpec
from workers.learning.backbones import (
    BACKBONES,
    build_backbone,
    check_image_size,
    freeze_blocks,
    freeze_statistics,
    quicken_statistics,
    set_backbone_weights,
    with_layers,
)
from workers.learning.classifier import backbone_of
from workers.learning.fused import BatchNormalization
from workers.model_artefact import INPUT_NAME, MASK_NAME

MASK_LOGITS: Final = "mask_logits"
_MOMENTUM: Final = 0.9
_FILTERS: Final = (96, 64, 48, 32)
"""At a sixteenth of the side, an eighth, a quarter and a half, where the way up meets the way down.
The last halving is undone by interpolation: a layer at full resolution would cost as much as all
others and hardly moves an outline."""
_LINE: Final = np.array([0.25, 0.75, 0.75, 0.25])
_BILINEAR: Final = (_LINE[:, None] * _LINE[None, :])[:, :, None, None]
"""Interpolation as a convolution: Keras' own does not take pictures of any size."""
_FEWEST_TUMOUR: Final = -4.0
"""First logit everywhere: few pixels are tumour, and to find that out takes many a step."""


def build_segmenter(
    spec: TrainingSpec,
    *,
    pretrained: bool,
    precision: Precision = Precision.FLOAT32,
    side: int | None = None,
) -> keras.Model:
    """A model from (n, side, side, 1) grey values 0..255 to logits (n, side, side, 1).

    Without a side it takes pictures of any that is a multiple of 32. What the recipe freezes is
    frozen where there is something to keep: in a pretrained backbone. Only the backbone computes
    in ``precision``. Raises ``TrainingFailed`` for an image size that it cannot take.
    """
    _check_size(spec)
    grey = layers.Input((side, side, 1), name=INPUT_NAME)
    three = layers.Concatenate(name="grey_to_rgb")([grey, grey, grey])
    backbone = build_backbone(spec.backbone, side, precision=precision)
    quicken_statistics(backbone, _MOMENTUM)
    if pretrained:
        freeze_blocks(backbone, spec.backbone, spec.frozen_blocks)
    if pretrained and spec.batch_norm is BatchNorm.FROZEN:
        freeze_statistics(backbone)
    encoder = with_skips(backbone, spec.backbone)
    *skips, deepest = _in_float32(encoder(BACKBONES[spec.backbone].normalise(three)))
    features = deepest
    for number, (skip, filters) in enumerate(zip(skips, _FILTERS, strict=True), start=1):
        features = _up(features, skip, filters, f"up{number}")
    features = layers.SpatialDropout2D(spec.dropout, seed=spec.seed, name="dropout")(features)
    half = layers.Conv2D(
        1,
        1,
        bias_initializer=keras.initializers.Constant(_FEWEST_TUMOUR),
        dtype="float32",
        name="half_logits",
    )(features)
    logits = layers.Conv2DTranspose(
        1,
        4,
        strides=2,
        padding="same",
        use_bias=False,
        kernel_initializer=keras.initializers.Constant(_BILINEAR),
        trainable=False,
        dtype="float32",
        name=MASK_LOGITS,
    )(half)
    return keras.Model(grey, logits, name=f"{spec.backbone}_segmenter")


def segmenter_bytes(spec: TrainingSpec) -> int:
    """Bytes that one picture's layer outputs take as float32; training keeps all of them."""
    model = build_segmenter(spec, pretrained=False, side=spec.image_size)
    parts = [layer.layers if isinstance(layer, keras.Model) else [layer] for layer in model.layers]
    outputs = (layer.output for part in parts for layer in part if hasattr(layer, "output"))
    shapes = (tensor.shape for tensor in outputs if not isinstance(tensor, list))
    return 4 * sum(math.prod(side or 1 for side in shape) for shape in shapes)


def _check_size(spec: TrainingSpec) -> None:
    check_image_size(spec.backbone, spec.image_size)
    if any(side % SEGMENTER_STRIDE for side in (spec.image_size, spec.first_image_size)):
        raise TrainingFailed(
            f"A segmenter needs an image_size and a first_image_size that are multiples of "
            f"{SEGMENTER_STRIDE}; they are {spec.image_size} and {spec.first_image_size}."
        )


def _in_float32(features: list[KerasTensor]) -> list[KerasTensor]:
    return [layers.Activation("linear", dtype="float32")(tensor) for tensor in features]


def with_probabilities(model: keras.Model) -> keras.Model:
    """The model as it is served: the tumour's probability, 0..1, for each pixel."""
    probability = layers.Activation("sigmoid", dtype="float32", name=MASK_NAME)(model.output)
    return keras.Model(model.input, probability, name=f"{model.name}_served")


def with_skips(network: keras.Model, backbone: Backbone) -> keras.Model:
    """The network with what is known at each stride as outputs: 16, 8, 4, 2, and 32.

    Where the last convolution of all only multiplies channels it is cut off: the way up would
    need a third of all weights to take these in.
    """
    spec = BACKBONES[backbone]
    return with_layers(network, spec.skips, spec.deepest)


def set_encoder_weights(model: keras.Model, values: Sequence[Any]) -> None:
    """Put a whole backbone's weights into a segmenter, but for those of layers that were cut off.

    Raises ``ValueError`` if they are not those of its backbone: too few, or of other shapes.
    """
    encoder = backbone_of(model)
    set_backbone_weights(encoder, values[: len(encoder.weights)])


def _up(features: KerasTensor, skip: KerasTensor, filters: int, name: str) -> KerasTensor:
    """Twice as large, joined by what was there on the way down, and convolved."""
    larger = layers.UpSampling2D(interpolation="nearest", name=f"{name}_larger")(features)
    joined = layers.Concatenate(name=f"{name}_joined")([larger, skip])
    for part in ("a", "b"):
        joined = layers.Conv2D(
            filters, 3, padding="same", use_bias=False, name=f"{name}_conv_{part}"
        )(joined)
        joined = BatchNormalization(momentum=_MOMENTUM, name=f"{name}_bn_{part}")(joined)
        joined = layers.Activation("relu", name=f"{name}_relu_{part}")(joined)
    return joined
