"""The classifier: grey slice in, logits, activation map and features out."""

from typing import Final

import keras
import tensorflow as tf
from keras import KerasTensor, layers, ops

from core.labels import LABELS
from core.training import BatchNorm, Precision, TrainingSpec
from workers.learning.backbones import (
    BACKBONES,
    build_backbone,
    check_image_size,
    freeze_blocks,
    freeze_statistics,
    quicken_statistics,
    with_layers,
)
from workers.model_artefact import ACTIVATION_MAP_NAME, INPUT_NAME, LOGITS_NAME

_MAPS: Final = "feature_maps"
_POOLED: Final = "pooled"
_MOMENTUM: Final = 0.9
"""Keras' 0.99 needs hundreds of steps before validation sees sensible statistics."""


def build_classifier(
    spec: TrainingSpec, *, pretrained: bool, precision: Precision = Precision.FLOAT32
) -> keras.Model:
    """A model from (n, size, size, 1) grey values 0..255, of any size, to logits (n, classes).

    What the recipe freezes is frozen where there is something to keep: in a pretrained backbone.
    Only the backbone computes in ``precision``; features and logits are float32.

    The last layer weighs the mean of each channel of the backbone's end and, where it has one, of
    its layer at a sixteenth of the side: the end alone knows what there is, but hardly where.
    """
    check_image_size(spec.backbone, spec.image_size)
    grey = layers.Input((None, None, 1), name=INPUT_NAME)
    three = layers.Concatenate(name="grey_to_rgb")([grey, grey, grey])
    backbone = build_backbone(spec.backbone, precision=precision)
    quicken_statistics(backbone, _MOMENTUM)
    if pretrained:
        freeze_blocks(backbone, spec.backbone, spec.frozen_blocks)
    if pretrained and spec.batch_norm is BatchNorm.FROZEN:
        freeze_statistics(backbone)
    kind = BACKBONES[spec.backbone]
    network = with_layers(backbone, [kind.midway, *([kind.fine] if kind.fine else [])])
    midway, *fine, end = network(kind.normalise(three))
    joined = layers.Concatenate(name="joined")([AsLargeAs()([end, *fine]), *fine]) if fine else end
    _, feature_map = layers.Identity(name=_MAPS)([midway, joined])
    pooled = layers.GlobalAveragePooling2D(name=_POOLED)(feature_map)
    dropped = layers.Dropout(spec.dropout, seed=spec.seed, name="dropout")(pooled)
    logits = layers.Dense(len(LABELS), dtype="float32", name=LOGITS_NAME)(dropped)
    return keras.Model(grey, logits, name=f"{spec.backbone}_classifier")


class AsLargeAs(layers.Layer):  # type: ignore[misc]
    """The first of two maps (n, h, w, channels), each of its places as often as it takes to be as
    large as the second."""

    def call(self, maps: list[KerasTensor]) -> KerasTensor:
        small, large = maps
        larger = tf.image.resize(small, tf.shape(large)[1:3], method="nearest")
        return tf.ensure_shape(larger, (*large.shape[:3], small.shape[3]))

    def compute_output_shape(self, shapes: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        small, large = shapes
        return (*large[:3], small[3])


def backbone_of(model: keras.Model) -> keras.Model:
    """The network inside a classifier."""
    return next(layer for layer in model.layers if isinstance(layer, keras.Model))


def head_of(model: keras.Model) -> keras.layers.Dense:
    """The last layer of a classifier."""
    return model.get_layer(LOGITS_NAME)


def with_pooled(model: keras.Model) -> keras.Model:
    """The model with a second output: what its last layer decides by, (n, channels)."""
    pooled = model.get_layer(_POOLED).output
    return keras.Model(model.input, [model.output, pooled], name=f"{model.name}_pooled")


def with_feature_map(model: keras.Model) -> keras.Model:
    """The model with a second output: the feature map (n, h, w, channels) that it decides by."""
    feature_map = model.get_layer(_MAPS).output[1]
    return keras.Model(model.input, [model.output, feature_map], name=f"{model.name}_mapped")


def with_features(model: keras.Model) -> keras.Model:
    """The model with a second output: the features by which strangers are told."""
    outputs = [model.output, _features(model)]
    return keras.Model(model.input, outputs, name=f"{model.name}_features")


def with_explanation(model: keras.Model) -> keras.Model:
    """The model with two more outputs: each place's evidence for each class, and the features.

    The evidence (n, h, w, classes) is the last feature map weighted by the dense layer's rows. Its
    mean over all places, plus the bias, is the logits: it is what the decision was made of.
    """
    weigh = layers.Conv2D(len(LABELS), 1, use_bias=False, name=ACTIVATION_MAP_NAME)
    _, feature_map = model.get_layer(_MAPS).output
    evidence = weigh(feature_map)
    weigh.set_weights([head_of(model).get_weights()[0][None, None]])
    outputs = [model.output, evidence, _features(model)]
    return keras.Model(model.input, outputs, name=f"{model.name}_explained")


def _features(model: keras.Model) -> KerasTensor:
    """Mean and standard deviation of each channel midway, (n, 2 * channels), float32."""
    midway = ops.cast(model.get_layer(_MAPS).output[0], "float32")
    return ops.concatenate([ops.mean(midway, axis=(1, 2)), ops.std(midway, axis=(1, 2))], axis=1)
