"""A model's weights as a file, whole and in half the bits."""

from typing import Any

import keras
import numpy as np
import pytest

from tests.fakes.learning import SPEC, some_slices, use_tiny_network
from workers.learning.classifier import build_classifier
from workers.learning.weights_file import halved, load_weights, weights_bytes

IMAGES = some_slices(3).pixels.astype(np.float32)


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> tuple[keras.Model, keras.Model]:
    """Of one recipe, with unlike weights."""
    use_tiny_network(monkeypatch)
    first, second = (build_classifier(SPEC, pretrained=False) for _ in range(2))
    second.set_weights([w + 1 for w in second.get_weights()])
    return first, second


def answers(model: keras.Model) -> Any:
    return np.asarray(model(IMAGES, training=False))


def test_weights_can_be_loaded_into_another_model(models: tuple[keras.Model, keras.Model]) -> None:
    model, other = models
    load_weights(other, weights_bytes(model))
    np.testing.assert_array_equal(answers(other), answers(model))


def test_half_the_bits_give_nearly_the_same(models: tuple[keras.Model, keras.Model]) -> None:
    model, other = models
    load_weights(other, halved(weights_bytes(model)))
    assert {w.dtype for w in other.get_weights()} == {np.dtype(np.float32)}
    np.testing.assert_allclose(answers(other), answers(model), rtol=0.01, atol=0.01)


def test_half_the_bits_take_half_the_room() -> None:
    model = keras.Sequential([keras.layers.Input((500,)), keras.layers.Dense(500)])
    whole = weights_bytes(model)
    assert len(halved(whole)) < 0.55 * len(whole)


def test_what_half_the_bits_cannot_hold_is_not_cut_off(
    models: tuple[keras.Model, keras.Model],
) -> None:
    model, _ = models
    model.set_weights([w + 1e5 for w in model.get_weights()])
    with pytest.raises(OverflowError):
        halved(weights_bytes(model))


def test_a_file_that_is_none_is_refused(models: tuple[keras.Model, keras.Model]) -> None:
    with pytest.raises(OSError, match="signature"):
        load_weights(models[0], b"no file of weights")
