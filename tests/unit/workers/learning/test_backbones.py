"""Each network gets the pixels it was trained on, whatever the slice."""

import math
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from numpy.typing import NDArray

from core.errors import TrainingFailed
from core.training import Backbone
from tests.fakes.learning import SPEC
from workers.learning.backbones import (
    BACKBONES,
    activation_bytes,
    build_backbone,
    match_pretrained_graph,
    quicken_statistics,
    set_backbone_weights,
)
from workers.learning.classifier import build_classifier


class Lite:
    """Keras has no EfficientNet-Lite; this is the convention of its authors."""

    @staticmethod
    def preprocess_input(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        return (pixels - np.float32(127)) / np.float32(128)


CONVENTIONS: dict[Backbone, Any] = {
    Backbone.EFFICIENTNET_LITE0: Lite,
    Backbone.EFFICIENTNET_B0: keras.applications.efficientnet,
    Backbone.RESNET101: keras.applications.resnet,
    Backbone.DENSENET121: keras.applications.densenet,
    Backbone.VGG19: keras.applications.vgg19,
}
EVERY_GREY = np.arange(256, dtype=np.float32).reshape(1, 16, 16, 1)
MEAN = np.array([0.485, 0.456, 0.406])
DEVIATION = np.array([0.229, 0.224, 0.225])


def what_it_is_given(
    *, include_top: bool, weights: Any, input_shape: tuple[int, ...]
) -> keras.Model:
    """A network whose features are the pixels it gets."""
    pixels = layers.Input(input_shape)
    return keras.Model(pixels, layers.Identity(name="pixels")(pixels))


def standardising(mean: Any, variance: Any = 4.0) -> keras.Model:
    """A network that begins as EfficientNet does: each channel less its mean, by its deviation."""
    pixels = layers.Input((1, 1, 3))
    features = layers.Normalization(name="normalization")(pixels)
    network = keras.Model(pixels, features)
    statistics = [np.broadcast_to(part, 3) for part in (mean, variance)]
    set_backbone_weights(network, [*statistics, np.array(0)])
    return network


def answer(network: keras.Model, grey: float) -> NDArray[np.float32]:
    """What the network makes of one grey pixel: its three channels."""
    answered = network(np.full((1, 1, 1, 3), grey, np.float32), training=False)
    return np.asarray(keras.ops.convert_to_numpy(answered)).reshape(3)


def test_every_backbone_is_described() -> None:
    assert set(BACKBONES) == set(Backbone) == set(CONVENTIONS)


@pytest.mark.parametrize("backbone", Backbone)
def test_layers_within_are_the_last_of_their_side(backbone: Backbone) -> None:
    network = build_backbone(backbone, 64)
    sides = {layer.name: layer.output.shape[1] for layer in network.layers}
    spec = BACKBONES[backbone]

    for name, side in ((spec.midway, 8), (spec.fine, 4)):
        assert name is not None
        assert sides[name] == side
        assert side not in list(sides.values())[list(sides).index(name) + 1 :]


@pytest.mark.parametrize("backbone", Backbone)
def test_a_classifier_gives_its_backbone_the_pixels_that_keras_would(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = replace(
        BACKBONES[backbone], build=what_it_is_given, midway="pixels", fine=None, smallest=16
    )
    monkeypatch.setitem(BACKBONES, backbone, spec)
    model = build_classifier(replace(SPEC, backbone=backbone, image_size=16), pretrained=False)

    given, _ = keras.Model(model.input, model.get_layer("feature_maps").output)(EVERY_GREY)

    in_colour = np.repeat(EVERY_GREY, 3, axis=-1)
    expected = CONVENTIONS[backbone].preprocess_input(in_colour.copy())
    np.testing.assert_allclose(keras.ops.convert_to_numpy(given), expected, atol=1e-4)


@pytest.mark.parametrize("backbone", Backbone)
def test_pictures_that_are_too_small_are_refused(backbone: Backbone) -> None:
    smallest = BACKBONES[backbone].smallest

    with pytest.raises(TrainingFailed, match=f"at least {smallest}; it is {smallest - 1}"):
        build_backbone(backbone, smallest - 1)


def test_weights_from_keras_bring_the_division_that_keras_adds_for_them() -> None:
    network = standardising(MEAN, DEVIATION)  # what they have for a variance
    before = answer(network, 0.6)

    match_pretrained_graph(network)

    np.testing.assert_allclose(before, (0.6 - MEAN) / np.sqrt(DEVIATION), rtol=1e-5)
    np.testing.assert_allclose(answer(network, 0.6), (0.6 - MEAN) / DEVIATION, rtol=1e-5)


def test_weights_that_have_the_division_get_no_second_one() -> None:
    network = standardising(MEAN, DEVIATION)
    match_pretrained_graph(network)
    matched = answer(network, 0.6)

    match_pretrained_graph(network)

    np.testing.assert_array_equal(answer(network, 0.6), matched)


@pytest.mark.parametrize("mean", [0.0, 100.0])
def test_statistics_that_are_not_kerass_get_no_division(mean: float) -> None:
    network = standardising(mean)

    match_pretrained_graph(network)

    np.testing.assert_allclose(answer(network, 120.0), (120 - mean) / 2)


def test_statistics_forget_faster_when_told() -> None:
    pixels = layers.Input((4,))
    network = keras.Model(pixels, layers.BatchNormalization(name="norm")(pixels))

    quicken_statistics(network, 0.5)

    assert network.get_layer("norm").momentum == 0.5


def test_activations_are_counted_layer_by_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    def one_layer(*, input_shape: tuple[int | None, ...], **_: Any) -> keras.Model:
        pixels = layers.Input(input_shape)
        return keras.Model(pixels, layers.Conv2D(5, 3, strides=2, padding="same")(pixels))

    spec = replace(BACKBONES[SPEC.backbone], build=one_layer, smallest=8)
    monkeypatch.setitem(BACKBONES, SPEC.backbone, spec)

    counted = activation_bytes(replace(SPEC, image_size=8))
    assert counted == 4 * (math.prod((8, 8, 3)) + math.prod((4, 4, 5)))
