"""Rates and optimizers are those of the recipe."""

import keras
import pytest

from core.training import Optimizer, TrainingSpec
from workers.learning.fused_adam import Adam, AdamW
from workers.learning.recipe import build_optimizer, learning_rate_at

STEPS, PEAK = 200, 0.01


def test_the_rate_warms_up_and_then_falls() -> None:
    rates = [learning_rate_at(step, STEPS, PEAK) for step in range(STEPS)]

    assert rates[:20] == pytest.approx([PEAK * (i + 1) / 20 for i in range(20)])
    assert max(rates) == pytest.approx(PEAK)
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert rates[110] == pytest.approx(PEAK * 0.505), "half way down the cosine"
    assert PEAK * 0.01 <= rates[-1] < PEAK * 0.02


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_very_short_training_has_a_rate(steps: int) -> None:
    rates = [learning_rate_at(step, steps, PEAK) for step in range(steps)]

    assert all(0 < rate <= PEAK for rate in rates)
    assert rates[0] == PEAK


@pytest.mark.parametrize(
    ("optimizer", "kind"),
    [
        (Optimizer.ADAMW, AdamW),
        (Optimizer.ADAM, Adam),
        (Optimizer.SGD, keras.optimizers.SGD),
    ],
)
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_the_optimizer_decays_kernels_alone(
    optimizer: Optimizer, kind: type[keras.optimizers.Optimizer], decay: float
) -> None:
    kernel = keras.Variable([1.0], name="kernel")
    gamma = keras.Variable([1.0], name="gamma")
    made = build_optimizer(TrainingSpec(optimizer=optimizer, weight_decay=decay, learning_rate=0.5))
    made.build([kernel, gamma])
    nothing = keras.ops.zeros((1,))

    made.apply([nothing, nothing], [kernel, gamma])

    assert type(made) is kind
    assert float(gamma[0]) == 1.0
    assert float(kernel[0]) == pytest.approx(1 - 0.5 * decay)


def test_large_gradients_are_clipped() -> None:
    weight = keras.Variable([0.0, 0.0], name="kernel")
    recipe = TrainingSpec(optimizer=Optimizer.SGD, weight_decay=0.0, learning_rate=1.0)
    made = build_optimizer(recipe)
    made.build([weight])

    made.apply([keras.ops.array([300.0, 400.0])], [weight])

    # The first step of Nesterov's momentum is 1.9 gradients long; this one was cut to (0.6, 0.8).
    assert weight.numpy() == pytest.approx([-0.6 * 1.9, -0.8 * 1.9], rel=1e-5)
