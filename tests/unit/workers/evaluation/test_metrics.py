"""Scores against numbers worked out by hand or by scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, log_loss

from core.labels import LABELS, TumourLabel
from workers.evaluation.metrics import (
    SplitSizes,
    bootstrap_intervals,
    cross_entropy,
    evaluate,
    macro_f1,
    majority_share,
    softmax,
)

SIZES = SplitSizes(train=80, validation=10, test=6)
LABELS_OF_SIX = np.array([0, 0, 0, 1, 2, 3])
ANSWERS_TO_SIX = np.array([0, 0, 1, 1, 2, 2])


def certain(predicted: np.ndarray) -> np.ndarray:
    """Probabilities that name these classes."""
    return np.asarray(np.eye(len(LABELS))[predicted] * 0.6 + 0.1)


def test_softmax_is_a_distribution_and_survives_large_logits() -> None:
    probabilities = softmax(np.array([[1000.0, 0, 0, 0], [0, 0, 0, 0]], np.float32))

    assert probabilities == pytest.approx(np.array([[1, 0, 0, 0], [0.25] * 4]))


def test_temperature_softens_and_keeps_the_order() -> None:
    logits = np.array([[3.0, 2.0, 1.0, 0.0]], np.float32)

    soft = softmax(logits, temperature=2.0)

    assert soft == pytest.approx(softmax(logits / 2))
    assert soft[0, 0] < softmax(logits)[0, 0]
    assert list(soft[0]) == sorted(soft[0], reverse=True)


def test_cross_entropy_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(20, 4)).astype(np.float32), rng.integers(0, 4, 20)

    expected = log_loss(labels, softmax(logits), labels=range(4))

    assert cross_entropy(logits, labels) == pytest.approx(expected)


def test_cross_entropy_stays_finite_for_a_sure_wrong_answer() -> None:
    assert cross_entropy(np.array([[5000.0, 0, 0, 0]], np.float32), np.array([1])) == 5000


def test_every_number_of_a_small_case() -> None:
    evaluation = evaluate(LABELS_OF_SIX, certain(ANSWERS_TO_SIX), SIZES, "held out")

    assert evaluation.accuracy == pytest.approx(4 / 6)
    assert evaluation.confusion == ((2, 1, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 1, 0))
    glioma = evaluation.per_class[TumourLabel.GLIOMA]
    assert (glioma.precision, glioma.recall, glioma.support) == pytest.approx((1.0, 2 / 3, 3))
    assert glioma.f1 == pytest.approx(0.8)
    pituitary = evaluation.per_class[TumourLabel.PITUITARY]
    assert (pituitary.precision, pituitary.recall, pituitary.f1) == (0.0, 0.0, 0.0)
    assert evaluation.macro_f1 == pytest.approx((0.8 + 2 / 3 + 2 / 3 + 0) / 4)
    assert (evaluation.train_size, evaluation.validation_size, evaluation.test_size) == (80, 10, 6)
    assert evaluation.protocol == "held out"


def test_a_class_without_slices_does_not_count_in_the_macro_f1() -> None:
    labels = np.array([0, 0, 1, 1])

    assert macro_f1(labels, labels) == 1.0
    assert macro_f1(labels, np.array([0, 0, 1, 3])) == pytest.approx((1 + 2 / 3) / 2)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_macro_f1_is_scikit_learns_over_the_classes_there_are(pairs: list[tuple[int, int]]) -> None:
    labels, predicted = (np.array(column) for column in zip(*pairs, strict=True))

    expected = f1_score(
        labels, predicted, labels=np.unique(labels), average="macro", zero_division=0.0
    )

    assert macro_f1(labels, predicted) == pytest.approx(expected)


def test_intervals_hold_the_score_and_are_the_same_again() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, 200)
    predicted = np.where(rng.random(200) < 0.8, labels, (labels + 1) % 4)
    groups = [str(i) for i in range(200)]

    found = bootstrap_intervals(labels, predicted, groups, seed=3)

    accuracy = (labels == predicted).mean()
    assert found.accuracy.low < accuracy < found.accuracy.high
    standard_error = (accuracy * (1 - accuracy) / 200) ** 0.5
    width = found.accuracy.high - found.accuracy.low
    assert width == pytest.approx(2 * 1.96 * standard_error, rel=0.15)
    assert found == bootstrap_intervals(labels, predicted, groups, seed=3)


def test_slices_of_one_patient_widen_the_interval() -> None:
    labels = np.repeat(np.arange(40) % 4, 10)
    predicted = np.where(np.repeat(np.arange(40) < 30, 10), labels, (labels + 1) % 4)
    alone = bootstrap_intervals(labels, predicted, [str(i) for i in range(400)], seed=0)
    together = bootstrap_intervals(labels, predicted, [str(i // 10) for i in range(400)], seed=0)

    narrow = alone.macro_f1.high - alone.macro_f1.low
    assert together.macro_f1.high - together.macro_f1.low > 2 * narrow


def test_one_group_has_no_spread() -> None:
    found = bootstrap_intervals(LABELS_OF_SIX, ANSWERS_TO_SIX, ["p"] * 6, seed=0)

    assert found.accuracy.low == found.accuracy.high == pytest.approx(4 / 6)


def test_the_majority_floor() -> None:
    assert majority_share(LABELS_OF_SIX) == 0.5
