"""The segmenter's shape, on every backbone."""

from functools import lru_cache

import keras
import numpy as np
import pytest
import tensorflow as tf

from core.errors import TrainingFailed
from core.training import Backbone, Task, TrainingSpec
from workers.learning.backbones import (
    BACKBONES,
    build_backbone,
    with_layers,
)
from workers.learning.classifier import backbone_of
from workers.learning.unet import (
    build_segmenter,
    segmenter_bytes,
    set_encoder_weights,
    with_probabilities,
)

SPEC = TrainingSpec(task=Task.SEGMENTATION, image_size=64, first_image_size=0)


@lru_cache
def segmenter(backbone: Backbone) -> keras.Model:
    """Only to be looked at: the deep ones take seconds to build."""
    spec = TrainingSpec(task=Task.SEGMENTATION, backbone=backbone, image_size=64)
    return build_segmenter(spec, pretrained=False)


@pytest.mark.parametrize("backbone", Backbone)
def test_it_gives_a_logit_for_each_pixel(backbone: Backbone) -> None:
    model = segmenter(backbone)
    for side in (64, 96):
        assert model(np.zeros((2, side, side, 1), np.float32)).shape == (2, side, side, 1)


def test_at_first_nearly_nothing_is_tumour() -> None:
    model = with_probabilities(segmenter(SPEC.backbone))
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 1)).astype(np.float32)
    assert float(tf.reduce_mean(model(pixels))) < 0.1


@pytest.mark.parametrize("backbone", [Backbone.EFFICIENTNET_B0, Backbone.EFFICIENTNET_LITE0])
def test_a_classifiers_backbone_weights_go_into_it(backbone: Backbone) -> None:
    spec = TrainingSpec(task=Task.SEGMENTATION, backbone=backbone, image_size=64)
    network, model = build_backbone(backbone), build_segmenter(spec, pretrained=True)
    set_encoder_weights(model, network.get_weights())
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype(np.float32)
    *_, deepest = backbone_of(model)(pixels)
    expected = with_layers(network, [], "block7a_project_bn")(pixels)
    np.testing.assert_allclose(deepest, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("backbone", [Backbone.EFFICIENTNET_B0, Backbone.EFFICIENTNET_LITE0])
def test_channels_that_are_for_a_classifier_are_left_out(backbone: Backbone) -> None:
    model = segmenter(backbone)
    assert backbone_of(model).outputs[-1].shape[-1] == 320
    assert 4 * model.count_params() < 20_000_000


@pytest.mark.parametrize("backbone", Backbone)
def test_each_skip_is_half_as_large_as_the_one_before(backbone: Backbone) -> None:
    encoder = backbone_of(segmenter(backbone))
    sides = [part.shape[1] for part in encoder(np.zeros((1, 64, 64, 3), np.float32))]
    assert sides == [4, 8, 16, 32, 2]


@pytest.mark.parametrize("backbone", [Backbone.EFFICIENTNET_B0, Backbone.EFFICIENTNET_LITE0])
def test_skips_come_from_before_the_channels_are_widened(backbone: Backbone) -> None:
    *skips, _ = backbone_of(segmenter(backbone)).outputs
    assert [skip.shape[-1] for skip in skips] == [112, 40, 24, 16]


@pytest.mark.parametrize(("size", "first"), [(100, 0), (96, 80)])
def test_a_side_that_does_not_halve_is_refused(size: int, first: int) -> None:
    spec = TrainingSpec(task=Task.SEGMENTATION, image_size=size, first_image_size=first)
    with pytest.raises(TrainingFailed, match="multiples of 32"):
        build_segmenter(spec, pretrained=False)


def test_its_layers_take_more_room_than_those_of_its_backbone_alone() -> None:
    outputs = [layer.output for layer in build_backbone(SPEC.backbone, 64).layers]
    alone = 4 * sum(int(np.prod(output.shape[1:])) for output in outputs)
    assert alone < segmenter_bytes(SPEC) < 4 * alone


def test_every_backbone_is_tried() -> None:
    assert set(BACKBONES) == set(Backbone)
