"""Adam in one operation a variable is Keras' Adam."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from workers.learning import fused_adam

SHAPES = ((3, 3, 1, 4), (4,), ())
STEPS = 5
OURS = (fused_adam.Adam, fused_adam.AdamW)
PAIRS = ((fused_adam.Adam, keras.optimizers.Adam), (fused_adam.AdamW, keras.optimizers.AdamW))


def trained(kind: Any, **options: Any) -> list[np.ndarray]:
    """Variables and moments after some steps, whose rate changes."""
    drawn = np.random.default_rng(0)
    variables = [
        keras.Variable(drawn.normal(size=shape), dtype="float32", name=name)
        for shape, name in zip(SHAPES, ("kernel", "gamma", "bias"), strict=True)
    ]
    optimizer = kind(0.01, **options)
    optimizer.build(variables)
    apply = tf.function(lambda gradients: optimizer.apply(gradients, variables))
    for step in range(STEPS):
        optimizer.learning_rate = 0.01 / (step + 1)
        apply([tf.constant(drawn.normal(size=shape), tf.float32) for shape in SHAPES])
    return [variable.numpy() for variable in (*variables, *optimizer.variables)]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1}, {"global_clipnorm": 1.0}])
def test_it_learns_as_keras_does(ours: Any, theirs: Any, options: dict[str, Any]) -> None:
    for found, wanted in zip(trained(ours, **options), trained(theirs, **options), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", OURS)
def test_a_variable_is_one_operation(kind: Any) -> None:
    variables = [keras.Variable(np.zeros(shape), dtype="float32") for shape in SHAPES]
    optimizer = kind(0.01, weight_decay=0.0)
    optimizer.build(variables)

    @tf.function  # type: ignore[untyped-decorator]
    def step() -> None:
        optimizer.apply([tf.ones(shape) for shape in SHAPES], variables)

    operations = [op.type for op in step.get_concrete_function().graph.get_operations()]

    assert operations.count("ResourceApplyAdam") == len(SHAPES)
    assert "Sqrt" not in operations


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_a_checkpoint_of_keras_own_fits(ours: Any, theirs: Any) -> None:
    def names(kind: Any) -> list[tuple[str, tuple[int, ...]]]:
        optimizer = kind(0.01)
        optimizer.build([keras.Variable(np.zeros(shape), name="kernel") for shape in SHAPES])
        return [(v.name, tuple(v.shape)) for v in optimizer.variables]

    assert names(ours) == names(theirs)
