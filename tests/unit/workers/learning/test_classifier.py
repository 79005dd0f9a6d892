"""The classifier's two answers, and what training may change in it."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest

from core.errors import TrainingFailed
from core.labels import LABELS
from core.training import BatchNorm, Precision
from tests.fakes.learning import (
    SIZE,
    SPEC,
    some_slices,
    tiny_network,
    use_halving_network,
    use_tiny_network,
)
from workers.learning.backbones import BACKBONES
from workers.learning.classifier import (
    backbone_of,
    build_classifier,
    with_explanation,
    with_features,
    with_pooled,
)
from workers.model_artefact import LOGITS_NAME

IMAGES = some_slices(3).pixels.astype(np.float32)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    use_tiny_network(monkeypatch)


def give_bias(model: keras.Model) -> None:
    """A head as after training; at the beginning its bias is zero and would hide a mistake."""
    kernel, bias = model.get_layer(LOGITS_NAME).get_weights()
    model.get_layer(LOGITS_NAME).set_weights([kernel, bias + np.arange(len(LABELS))])


def test_grey_slices_go_in_and_logits_come_out() -> None:
    model = build_classifier(SPEC, pretrained=False)

    assert model.input_shape == (None, None, None, 1)
    assert model(IMAGES).shape == (len(IMAGES), len(LABELS))
    assert backbone_of(model).name == "tiny"


def test_the_maps_mean_and_the_bias_are_the_logits() -> None:
    model = build_classifier(SPEC, pretrained=False)
    give_bias(model)

    logits, evidence, features = with_explanation(model)(IMAGES, training=False)

    places = np.asarray(evidence)
    assert places.shape == (len(IMAGES), SIZE // 2, SIZE // 2, len(LABELS))
    bias = model.get_layer(LOGITS_NAME).get_weights()[1]
    np.testing.assert_allclose(places.mean(axis=(1, 2)) + bias, np.asarray(logits), atol=1e-4)
    np.testing.assert_array_equal(logits, model(IMAGES, training=False))
    np.testing.assert_array_equal(features, with_features(model)(IMAGES, training=False)[1])


def test_what_is_pooled_gives_the_logits() -> None:
    model = build_classifier(SPEC, pretrained=False)
    give_bias(model)

    logits, pooled = with_pooled(model)(IMAGES, training=False)

    kernel, bias = model.get_layer(LOGITS_NAME).get_weights()
    np.testing.assert_allclose(np.asarray(pooled) @ kernel + bias, logits, atol=1e-4)


@pytest.mark.parametrize(("size", "places"), [(64, 4), (72, 5), (112, 7)])
def test_evidence_is_as_fine_as_the_finer_map(
    size: int, places: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_halving_network(monkeypatch)
    model = build_classifier(replace(SPEC, image_size=size), pretrained=False)
    give_bias(model)
    grey = np.random.default_rng(0).uniform(0, 255, (2, size, size, 1)).astype(np.float32)

    logits, evidence, _ = with_explanation(model)(grey, training=False)

    assert evidence.shape == (2, places, places, len(LABELS))
    bias = model.get_layer(LOGITS_NAME).get_weights()[1]
    np.testing.assert_allclose(np.asarray(evidence).mean(axis=(1, 2)) + bias, logits, atol=1e-4)


def test_features_are_mean_and_spread_of_what_is_seen_midway() -> None:
    model = build_classifier(SPEC, pretrained=False)
    network = backbone_of(model)
    midway = keras.Model(network.input, network.get_layer("conv").output)

    _, features = with_features(model)(IMAGES, training=False)

    seen = np.asarray(midway(np.repeat(IMAGES, 3, axis=3), training=False))
    expected = np.concatenate([seen.mean(axis=(1, 2)), seen.std(axis=(1, 2))], axis=1)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-4)


def test_a_model_from_nothing_learns_batch_statistics() -> None:
    model = build_classifier(SPEC, pretrained=False)
    norm = backbone_of(model).get_layer("norm")
    before = np.asarray(norm.moving_mean)

    model(IMAGES, training=True)

    assert np.all(np.asarray(norm.moving_mean) != before)


def test_a_pretrained_backbone_is_trained_all_the_same() -> None:
    model = build_classifier(SPEC, pretrained=True)

    assert any("conv" in variable.path for variable in model.trainable_variables)


def test_frozen_batch_norms_keep_what_they_came_with() -> None:
    model = build_classifier(replace(SPEC, batch_norm=BatchNorm.FROZEN), pretrained=True)
    norm = backbone_of(model).get_layer("norm")
    before = np.asarray(norm.moving_mean)

    model(IMAGES, training=True)

    np.testing.assert_array_equal(np.asarray(norm.moving_mean), before)
    assert not any("norm" in variable.path for variable in model.trainable_variables)


def test_frozen_blocks_are_not_trained() -> None:
    model = build_classifier(replace(SPEC, frozen_blocks=1), pretrained=True)

    names = {variable.path.split("/")[0] for variable in model.trainable_variables}
    assert names == {"norm", "conv_2", "logits"}


def test_more_frozen_blocks_than_there_are_is_told() -> None:
    with pytest.raises(TrainingFailed, match="has 1 blocks"):
        build_classifier(replace(SPEC, frozen_blocks=2), pretrained=True)


def test_what_starts_from_nothing_has_nothing_to_keep() -> None:
    frozen = replace(SPEC, frozen_blocks=1, batch_norm=BatchNorm.FROZEN)
    model, free = (build_classifier(spec, pretrained=False) for spec in (frozen, SPEC))

    assert len(model.trainable_variables) == len(free.trainable_variables)


@pytest.mark.parametrize("precision", [Precision.MIXED_BFLOAT16, Precision.MIXED_FLOAT16])
def test_fewer_bits_are_for_the_backbones_layers_alone(precision: Precision) -> None:
    model = build_classifier(SPEC, pretrained=False, precision=precision)
    backbone = backbone_of(model)

    logits, evidence, features = with_explanation(model)(IMAGES, training=False)

    assert backbone.get_layer("conv").compute_dtype == str(precision).removeprefix("mixed_")
    assert {variable.dtype for variable in backbone.trainable_variables} == {"float32"}
    assert {answer.dtype.name for answer in (logits, evidence, features)} == {"float32"}


def test_pixels_are_exact_up_to_the_first_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    def scaled_pixels(**build: Any) -> keras.Model:
        network = tiny_network(**build)
        return keras.Model(network.input, network.get_layer("scaled").output, name="tiny")

    tiny = BACKBONES[SPEC.backbone]
    monkeypatch.setitem(
        BACKBONES,
        SPEC.backbone,
        replace(tiny, build=scaled_pixels, midway="scaled"),
    )
    grey = np.full((1, SIZE, SIZE, 1), 200.3, np.float32)

    exact, mixed = (
        with_features(build_classifier(SPEC, pretrained=False, precision=precision))(grey)[1]
        for precision in (Precision.FLOAT32, Precision.MIXED_BFLOAT16)
    )

    np.testing.assert_array_equal(mixed, exact)
