"""Fused layers compute what Keras' own do."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from core.training import Backbone
from workers.learning import fused
from workers.learning.backbones import BACKBONES, build_backbone

SHAPE = (3, 5, 7, 4)

Step = Callable[[tf.Tensor], tuple[Any, list[Any]]]


def pictures() -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).normal(3, 2, SHAPE).astype(np.float32))


def learned(layer: layers.Layer, inputs: tf.Tensor) -> tuple[Any, list[Any]]:
    """What it gives while training, in a graph as there, and the gradients of a loss."""

    def step() -> tuple[tf.Tensor, list[tf.Tensor]]:
        variables = [inputs, *(variable.value for variable in layer.trainable_variables)]
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
            loss = tf.reduce_sum(tf.sin(outputs))
        return outputs, tape.gradient(loss, variables)

    found: tuple[Any, list[Any]] = tf.function(step)()
    return found


def a_norm(kind: type[layers.Layer], **options: Any) -> layers.Layer:
    layer = kind(momentum=0.7, **options)
    layer.build(SHAPE)
    rng = np.random.default_rng(1)
    layer.set_weights([rng.uniform(0.5, 2, weight.shape) for weight in layer.get_weights()])
    return layer


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"epsilon": 1e-6},  # too small for the kernel
        {"scale": False},
        {"center": False},
        {"axis": 1},
        {"dtype": "mixed_bfloat16"},
    ],
)
def test_batch_norm_learns_as_keras_does(options: dict[str, Any]) -> None:
    ours = a_norm(fused.BatchNormalization, **options)
    theirs = a_norm(layers.BatchNormalization, **options)
    for _ in range(2):  # the second from what the first left
        (outputs, gradients), (expected, expected_gradients) = (
            learned(layer, pictures()) for layer in (ours, theirs)
        )
        np.testing.assert_allclose(outputs, expected, atol=1e-5)
        for found, wanted in zip(gradients, expected_gradients, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-4)
        for found, wanted in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5)


def graph_of(layer: layers.Layer, *, training: bool) -> tf.Graph:
    def call(inputs: tf.Tensor) -> tf.Tensor:
        return layer(inputs, training=training)

    return tf.function(call).get_concrete_function(tf.TensorSpec(SHAPE)).graph


def operations(layer: layers.Layer, *, training: bool) -> set[str]:
    return {op.type for op in graph_of(layer, training=training).get_operations()}


def test_batch_norm_is_one_operation_while_it_learns_and_only_then() -> None:
    norm = a_norm(fused.BatchNormalization)
    assert "FusedBatchNormV3" in operations(norm, training=True)
    assert "FusedBatchNormV3" not in operations(norm, training=False)


def test_a_frozen_batch_norm_keeps_its_statistics() -> None:
    norm = a_norm(fused.BatchNormalization)
    norm.trainable = False
    before = norm.get_weights()
    outputs = norm(pictures(), training=True)
    np.testing.assert_allclose(outputs, norm(pictures(), training=False))
    for found, wanted in zip(norm.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", ["swish", "relu", "sigmoid"])
def test_activations_learn_as_keras_do(name: str) -> None:
    ours, theirs = (kind(name) for kind in (fused.Activation, layers.Activation))
    (outputs, gradients), (expected, expected_gradients) = (
        learned(layer, pictures()) for layer in (ours, theirs)
    )
    np.testing.assert_allclose(outputs, expected, atol=1e-6)
    np.testing.assert_allclose(gradients[0], expected_gradients[0], atol=1e-5)


def test_swish_is_compiled_while_it_learns_and_only_then() -> None:
    swish = fused.Activation("swish")
    learning = graph_of(swish, training=True).get_operations()
    compiled = [op for op in learning if op.node_def.attr["_XlaMustCompile"].b]
    assert compiled
    plain = operations(layers.Activation("swish"), training=True)
    assert operations(swish, training=False) == plain


@pytest.mark.parametrize("backbone", [*Backbone])
def test_a_backbone_is_the_same_network(backbone: Backbone) -> None:
    original = BACKBONES[backbone].build(include_top=False, weights=None, input_shape=(32, 32, 3))
    network = fused.fused(original)
    names, expected = ([x.name for x in model.layers[1:]] for model in (network, original))
    assert names == expected  # but for the name of the input
    pixels = tf.random.stateless_uniform((2, 32, 32, 3), (1, 2), 0, 255)
    np.testing.assert_allclose(network(pixels), original(pixels), atol=1e-6)


def test_every_backbone_is_built_of_fused_layers() -> None:
    network = build_backbone(Backbone.EFFICIENTNET_B0)
    norms = [x for x in network.layers if isinstance(x, layers.BatchNormalization)]
    swishes = [x for x in network.layers if isinstance(x, layers.Activation)]
    assert {type(layer) for layer in norms} == {fused.BatchNormalization}
    assert {type(layer) for layer in swishes} == {fused.Activation}
    assert any(layer.activation is keras.activations.silu for layer in swishes)
