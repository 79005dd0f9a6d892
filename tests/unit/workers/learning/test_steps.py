"""A step on one device is the plain formula, to the last bit."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from core.labels import LABELS
from core.training import Optimizer, Precision
from tests.fakes.learning import SPEC, some_slices, use_tiny_network
from workers.learning.classifier import build_classifier
from workers.learning.inference import Inference
from workers.learning.objective import NamesTumours
from workers.learning.recipe import build_optimizer, with_loss_scale
from workers.learning.runtime import seed_everything
from workers.learning.steps import TrainingStep, training_step
from workers.training_hooks import TrainingHooks

SLICES = some_slices(4)
IMAGES = tf.constant(SLICES.pixels, tf.float32)
TARGETS = tf.one_hot(SLICES.labels, len(LABELS))
WEIGHTS = (0.5, 1.0, 1.5, 2.0)
STEPS = 3
QUIET = TrainingHooks(
    on_epoch=lambda _epoch: None,
    on_progress=lambda _share, _stage: None,
    on_message=lambda _message: None,
    should_stop=lambda: False,
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    use_tiny_network(monkeypatch)


def objective(model: keras.Model) -> NamesTumours:
    return NamesTumours(SPEC, Inference(model, 8, QUIET), WEIGHTS)


def built(
    precision: Precision = Precision.FLOAT32, optimizer: Optimizer = Optimizer.ADAMW
) -> tuple[keras.Model, keras.optimizers.Optimizer]:
    seed_everything(0)
    model = build_classifier(SPEC, pretrained=False, precision=precision)
    made = with_loss_scale(build_optimizer(replace(SPEC, optimizer=optimizer)), precision)
    made.build(model.trainable_variables)
    return model, made


def plain_step(
    model: keras.Model, optimizer: keras.optimizers.Optimizer
) -> tf.types.experimental.PolymorphicFunction:
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            losses = tf.nn.softmax_cross_entropy_with_logits(TARGETS, model(IMAGES, training=True))
            loss = tf.reduce_mean(losses * tf.linalg.matvec(TARGETS, tf.constant(WEIGHTS)))
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
        return loss

    return tf.function(step)


def test_one_device_computes_exactly_the_plain_formula() -> None:
    model, optimizer = built()
    plain_model, plain_optimizer = built()
    step = training_step(model, optimizer, objective(model), None)
    plain = plain_step(plain_model, plain_optimizer)

    losses = [step(IMAGES, TARGETS, SPEC.learning_rate)[0] for _ in range(STEPS)]

    assert type(step) is TrainingStep
    assert losses == [float(plain()) for _ in range(STEPS)]
    for ours, theirs in zip(model.get_weights(), plain_model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_follows_the_weights_sees_each_change_of_them() -> None:
    model, optimizer = built()
    weight = model.trainable_variables[0]
    seen = tf.Variable(tf.zeros((STEPS, *weight.shape)))
    count = tf.Variable(0)

    def follow() -> None:
        seen.scatter_nd_update([[count]], weight.value[None])
        count.assign_add(1)

    step = training_step(model, optimizer, objective(model), None, afterwards=follow)
    left = []
    for _ in range(STEPS):
        step(IMAGES, TARGETS, SPEC.learning_rate)
        left.append(weight.numpy())

    assert int(count) == STEPS
    np.testing.assert_array_equal(seen, left)


@pytest.mark.parametrize("precision", [Precision.MIXED_BFLOAT16, Precision.MIXED_FLOAT16])
@pytest.mark.parametrize("optimizer", list(Optimizer))
def test_fewer_bits_learn_nearly_the_same(precision: Precision, optimizer: Optimizer) -> None:
    model, exact = built(precision, optimizer), built(optimizer=optimizer)
    steps = [training_step(*pair, objective(pair[0]), None) for pair in (model, exact)]

    losses, exact_losses = (
        [step(IMAGES, TARGETS, 1e-3)[0] for _ in range(STEPS)] for step in steps
    )

    assert losses == pytest.approx(exact_losses, rel=0.02)


def test_a_step_that_overflows_is_left_out_and_the_scale_halved() -> None:
    model, optimizer = built(Precision.MIXED_FLOAT16)
    step = training_step(model, optimizer, objective(model), None)
    optimizer.dynamic_scale.assign(2.0**100)
    before = [variable.numpy() for variable in model.trainable_variables]

    loss, _ = step(IMAGES, TARGETS, SPEC.learning_rate)

    assert np.isfinite(loss)
    assert float(optimizer.dynamic_scale) == 2.0**99
    for variable, value in zip(model.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_gammas_and_biases_are_not_decayed_behind_a_loss_scale() -> None:
    kernel = keras.Variable([1.0], name="kernel")
    gamma = keras.Variable([1.0], name="gamma")
    recipe = replace(SPEC, weight_decay=0.1, learning_rate=0.5)
    made = with_loss_scale(build_optimizer(recipe), Precision.MIXED_FLOAT16)
    made.build([kernel, gamma])
    nothing = keras.ops.zeros((1,))

    made.learning_rate = 0.2
    made.apply([nothing, nothing], [kernel, gamma])

    assert float(gamma[0]) == 1.0
    assert float(kernel[0]) == pytest.approx(1 - 0.2 * 0.1)
