"""The classifier: grey slice in, logits and activation map out."""

import tempfile
from pathlib import Path
from typing import Final

import keras
from keras import layers

from core.labels import LABELS
from core.training import TrainingSpec
from workers.learning.backbones import BACKBONES, build_backbone, quicken_statistics
from workers.model_artefact import ACTIVATION_MAP_NAME, INPUT_NAME, LOGITS_NAME

FEATURES: Final = "features"
_MOMENTUM_FROM_NOTHING: Final = 0.9
"""Keras' 0.99 needs hundreds of steps before validation sees sensible statistics."""


def build_classifier(spec: TrainingSpec, *, pretrained: bool) -> keras.Model:
    """A model from (n, size, size, 1) grey values 0..255 to logits (n, classes).

    The backbone of a pretrained model runs in inference mode while it is trained, so that its
    batch statistics stay those of ImageNet: with batches of a few slices they would only get
    worse. One that starts from nothing has to learn them.
    """
    grey = layers.Input((spec.image_size, spec.image_size, 1), name=INPUT_NAME)
    three = layers.Concatenate(name="grey_to_rgb")([grey, grey, grey])
    backbone = build_backbone(spec.backbone, spec.image_size)
    if not pretrained:
        quicken_statistics(backbone, _MOMENTUM_FROM_NOTHING)
    pixels = BACKBONES[spec.backbone].normalise(three)
    features = backbone(pixels, training=False) if pretrained else backbone(pixels)
    features = layers.Activation("linear", name=FEATURES)(features)
    pooled = layers.GlobalAveragePooling2D(name="pool")(features)
    dropped = layers.Dropout(spec.dropout, seed=spec.seed, name="dropout")(pooled)
    logits = layers.Dense(len(LABELS), dtype="float32", name=LOGITS_NAME)(dropped)
    return keras.Model(grey, logits, name=f"{spec.backbone}_classifier")


def backbone_of(model: keras.Model) -> keras.Model:
    """The network inside a classifier."""
    return next(layer for layer in model.layers if isinstance(layer, keras.Model))


def with_activation_map(model: keras.Model) -> keras.Model:
    """The model with a second output: each place's evidence for each class, (n, h, w, classes).

    It is the last feature map weighted by the dense layer's rows. Its mean over all places, plus
    the bias, is the logits: the explanation is what the decision was made of.
    """
    head = model.get_layer(LOGITS_NAME)
    features = model.get_layer(FEATURES).output
    weigh = layers.Conv2D(len(LABELS), 1, use_bias=False, name=ACTIVATION_MAP_NAME)
    evidence = weigh(features)
    weigh.set_weights([head.get_weights()[0][None, None]])
    return keras.Model(model.input, [model.output, evidence], name=f"{model.name}_explained")


def weights_bytes(model: keras.Model) -> bytes:
    """The model's weights as an .h5 file, which holds arrays and nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.weights.h5"
        model.save_weights(path)
        return path.read_bytes()
