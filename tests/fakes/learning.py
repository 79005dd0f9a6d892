"""A network small enough to train in a second, and slices that it can tell apart.

Imports TensorFlow: only tests of ``workers.learning`` may use it.
"""

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from numpy.typing import NDArray

from core.labels import LABELS
from core.training import Backbone, TrainingSpec
from workers.learning.backbones import BACKBONES, BackboneSpec
from workers.learning.input_pipeline import Slices

SIZE = 16
SPEC = TrainingSpec(
    weights="none",
    epochs=3,
    batch_size=8,
    image_size=SIZE,
    learning_rate=0.02,
    dropout=0.2,
    label_smoothing=0.0,
    mixup=0.0,
)
"""Plain: what keeps a long training from learning by heart only slows down so short a one."""


def tiny_network(
    *, include_top: bool, weights: Any, input_shape: tuple[int | None, ...]
) -> keras.Model:
    """In the place of a network of ``keras.applications``."""
    assert (include_top, weights) == (False, None)
    pixels = layers.Input(input_shape)
    scaled = layers.Rescaling(1 / 255, name="scaled")(pixels)
    convolved = layers.Conv2D(8, 3, strides=2, padding="same", name="conv")(scaled)
    normal = layers.BatchNormalization(name="norm")(convolved)
    features = layers.Conv2D(8, 3, padding="same", activation="relu", name="conv_2")(normal)
    return keras.Model(pixels, features, name="tiny")


def halving_network(
    *, include_top: bool, weights: Any, input_shape: tuple[int | None, ...]
) -> keras.Model:
    """As :func:`tiny_network`, but halving its picture five times, as a segmenter needs it."""
    assert (include_top, weights) == (False, None)
    pixels = layers.Input(input_shape)
    features = layers.Rescaling(1 / 255)(pixels)
    for number in range(1, 6):
        features = layers.Conv2D(
            8, 3, strides=2, padding="same", activation="relu", name=f"conv{number}"
        )(features)
    return keras.Model(pixels, features, name="halving")


def use_halving_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``efficientnet_b0`` mean :func:`halving_network`, which has a map at a sixteenth."""
    spec = BackboneSpec(
        build=halving_network,
        normalise=lambda x: x,
        weights_file="halving.weights.h5",
        block=r"(conv\d)",
        midway="conv3",
        skips=("conv4", "conv3", "conv2", "conv1"),
        fine="conv4",
    )
    monkeypatch.setitem(BACKBONES, Backbone.EFFICIENTNET_B0, spec)


def use_tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``efficientnet_b0`` mean :func:`tiny_network`."""
    spec = BackboneSpec(
        build=tiny_network,
        normalise=lambda x: x,
        weights_file="tiny.weights.h5",
        block=r"(conv)\b",
        midway="conv",
        skips=("conv",) * 4,
        smallest=SIZE,
    )
    monkeypatch.setitem(BACKBONES, Backbone.EFFICIENTNET_B0, spec)


def slice_of(label: int, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A dark square with a pattern of its own for each class: (size, size)."""
    pixels = rng.integers(0, 60, (size, size))
    stripes = np.arange(size) % 4 < 2
    if label == 0:
        pixels[stripes] += 150
    elif label == 1:
        pixels[:, stripes] += 150
    elif label == 2:
        pixels += 150
    return pixels.astype(np.uint8)


def some_slices(per_class: int, seed: int = 0) -> Slices:
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(len(LABELS)), per_class)
    pixels = np.stack([slice_of(int(label), SIZE, rng) for label in labels])
    return Slices(pixels=pixels[..., np.newaxis], labels=labels)
