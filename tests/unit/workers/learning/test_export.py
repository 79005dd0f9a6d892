"""The exported graph keeps its contract and answers as the trained model does."""

import gc
import weakref
from typing import Any

import keras
import numpy as np
import onnxruntime as ort
import pytest
from keras import layers

from core.errors import TrainingFailed
from core.labels import LABELS
from core.training import Backbone
from tests.fakes.learning import SIZE, SPEC, some_slices, tiny_network, use_tiny_network
from workers.learning.backbones import BACKBONES, BackboneSpec, set_backbone_weights
from workers.learning.classifier import backbone_of, build_classifier, with_explanation
from workers.learning.export import (
    MAX_DIFFERENCE,
    check_parity,
    export_graph,
    garbage_collected_soon,
    median_latency_ms,
)
from workers.learning.runtime import seed_everything
from workers.model_artefact import ACTIVATION_MAP_NAME, FEATURES_NAME, INPUT_NAME, LOGITS_NAME

PIXELS = some_slices(3).pixels


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> keras.Model:
    use_tiny_network(monkeypatch)
    seed_everything(0)
    return build_classifier(SPEC, pretrained=False)


def change_head(model: keras.Model, to: float) -> None:
    """Give the evidence for the first class another weight."""
    kernel, bias = model.get_layer(LOGITS_NAME).get_weights()
    kernel[:, 0] = to
    model.get_layer(LOGITS_NAME).set_weights([kernel, bias])


def test_the_graph_is_by_contract(model: keras.Model) -> None:
    session = ort.InferenceSession(export_graph(model, SIZE), providers=["CPUExecutionProvider"])

    (image,) = session.get_inputs()
    assert (image.name, image.type) == (INPUT_NAME, "tensor(float)")
    assert image.shape[1:] == [SIZE, SIZE, 1]
    assert isinstance(image.shape[0], str), "any number of slices"
    outputs = {output.name: output.shape[1:] for output in session.get_outputs()}
    assert set(outputs) == {LOGITS_NAME, ACTIVATION_MAP_NAME, FEATURES_NAME}
    assert outputs[LOGITS_NAME] == [len(LABELS)]


def test_the_graph_answers_as_the_model_does(model: keras.Model) -> None:
    images = PIXELS.astype(np.float32)
    graph = export_graph(model, SIZE)
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])

    names = [LOGITS_NAME, ACTIVATION_MAP_NAME, FEATURES_NAME]
    answered = session.run(names, {INPUT_NAME: images})

    expected = with_explanation(model)(images, training=False)
    for ours, theirs in zip(answered, expected, strict=True):
        np.testing.assert_allclose(ours, np.asarray(theirs), atol=1e-3)
    assert check_parity(graph, model, PIXELS) <= MAX_DIFFERENCE


def test_a_normalisation_with_constants_is_no_further_input(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def normalised(*, input_shape: tuple[int | None, ...], **arguments: Any) -> keras.Model:
        """As EfficientNet begins."""
        pixels = layers.Input(input_shape)
        tiny = tiny_network(input_shape=input_shape, **arguments)
        features = layers.ReLU(name="end")(tiny(layers.Normalization()(pixels)))
        return keras.Model(pixels, features, name="normalised")

    spec = BackboneSpec(
        build=normalised,
        normalise=lambda x: x,
        weights_file="",
        block="-",
        midway="end",
        skips=("end",) * 4,
        smallest=SIZE,
    )
    monkeypatch.setitem(BACKBONES, Backbone.EFFICIENTNET_B0, spec)
    model = build_classifier(SPEC, pretrained=False)
    backbone = backbone_of(model)
    mean, variance, *rest = backbone.get_weights()
    set_backbone_weights(backbone, [mean + 90, variance + 50, *rest])

    assert check_parity(export_graph(model, SIZE), model, PIXELS) <= MAX_DIFFERENCE


@pytest.mark.parametrize("weight", [5.0, float("nan")])
def test_a_graph_that_differs_from_the_model_is_refused(model: keras.Model, weight: float) -> None:
    graph = export_graph(model, SIZE)
    change_head(model, weight)

    with pytest.raises(TrainingFailed, match="differs from the trained model"):
        check_parity(graph, model, PIXELS)


def test_latency_is_measured_on_the_graph(model: keras.Model) -> None:
    assert median_latency_ms(export_graph(model, SIZE), SIZE) > 0


class Cycle:
    def __init__(self) -> None:
        self.itself = self


def old_garbage_is_collected() -> bool:
    """Whether what was in use for long goes while other objects come."""
    cycles = [Cycle() for _ in range(1000)]
    gc.collect(1)
    garbage = weakref.ref(cycles[0])
    del cycles
    others = [Cycle() for _ in range(20_000)]
    return garbage() is None and len(others) > 0


def test_garbage_does_not_pile_up_and_all_is_as_before_afterwards() -> None:
    before = gc.get_threshold(), gc.get_freeze_count()
    gc.collect()
    assert not old_garbage_is_collected()
    with pytest.raises(RuntimeError), garbage_collected_soon():
        assert old_garbage_is_collected()
        raise RuntimeError
    assert (gc.get_threshold(), gc.get_freeze_count()) == before
