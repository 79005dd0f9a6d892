"""The classifier: grey slice in, logits, activation map and features out."""

import tempfile
from pathlib import Path
from typing import Final

import keras
from keras import layers

from core.labels import LABELS
from core.training import BatchNorm, Precision, TrainingSpec
from workers.learning.backbones import (
    BACKBONES,
    build_backbone,
    check_image_size,
    freeze_blocks,
    freeze_statistics,
    quicken_statistics,
)
from workers.model_artefact import ACTIVATION_MAP_NAME, FEATURES_NAME, INPUT_NAME, LOGITS_NAME

_FEATURE_MAP: Final = "feature_map"
_MOMENTUM: Final = 0.9
"""Keras' 0.99 needs hundreds of steps before validation sees sensible statistics."""


def build_classifier(
    spec: TrainingSpec, *, pretrained: bool, precision: Precision = Precision.FLOAT32
) -> keras.Model:
    """A model from (n, size, size, 1) grey values 0..255, of any size, to logits (n, classes).

    What the recipe freezes is frozen where there is something to keep: in a pretrained backbone.
    Only the backbone computes in ``precision``; features and logits are float32.
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
    feature_map = backbone(BACKBONES[spec.backbone].normalise(three))
    feature_map = layers.Activation("linear", name=_FEATURE_MAP)(feature_map)
    pooled = layers.GlobalAveragePooling2D(name=FEATURES_NAME)(feature_map)
    dropped = layers.Dropout(spec.dropout, seed=spec.seed, name="dropout")(pooled)
    logits = layers.Dense(len(LABELS), dtype="float32", name=LOGITS_NAME)(dropped)
    return keras.Model(grey, logits, name=f"{spec.backbone}_classifier")


def backbone_of(model: keras.Model) -> keras.Model:
    """The network inside a classifier."""
    return next(layer for layer in model.layers if isinstance(layer, keras.Model))


def head_of(model: keras.Model) -> keras.layers.Dense:
    """The last layer of a classifier."""
    return model.get_layer(LOGITS_NAME)


def with_features(model: keras.Model) -> keras.Model:
    """The model with a second output: the pooled features that the decision is made of."""
    features = model.get_layer(FEATURES_NAME).output
    return keras.Model(model.input, [model.output, features], name=f"{model.name}_features")


def with_explanation(model: keras.Model) -> keras.Model:
    """The model with two more outputs: each place's evidence for each class, and the features.

    The evidence (n, h, w, classes) is the last feature map weighted by the dense layer's rows. Its
    mean over all places, plus the bias, is the logits: it is what the decision was made of.
    """
    features = model.get_layer(FEATURES_NAME).output
    weigh = layers.Conv2D(len(LABELS), 1, use_bias=False, name=ACTIVATION_MAP_NAME)
    evidence = weigh(model.get_layer(_FEATURE_MAP).output)
    weigh.set_weights([head_of(model).get_weights()[0][None, None]])
    outputs = [model.output, evidence, features]
    return keras.Model(model.input, outputs, name=f"{model.name}_explained")


def weights_bytes(model: keras.Model) -> bytes:
    """The model's weights as an .h5 file, which holds arrays and nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.weights.h5"
        model.save_weights(path)
        return path.read_bytes()
