"""Scores against numbers worked out by hand or by scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, log_loss, precision_recall_fscore_support, recall_score

from core.labels import LABELS
from workers.evaluation.metrics import (
    confusion_matrix,
    confusion_scores,
    cross_entropy,
    macro_f1,
    majority_share,
    softmax,
)

LABELS_OF_SIX = np.array([0, 0, 0, 1, 2, 3])
ANSWERS_TO_SIX = np.array([0, 0, 1, 1, 2, 2])


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


def test_every_score_of_a_small_confusion_matrix() -> None:
    confusion = confusion_matrix(LABELS_OF_SIX, ANSWERS_TO_SIX)
    assert confusion.tolist() == [[2, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]]

    scores = {n: float(v[0]) for n, v in confusion_scores(confusion[None].astype(float)).items()}

    assert scores["accuracy"] == pytest.approx(4 / 6)
    assert scores["balanced_accuracy"] == pytest.approx((2 / 3 + 1 + 1 + 0) / 4)
    assert scores["macro_f1"] == pytest.approx((0.8 + 2 / 3 + 2 / 3 + 0) / 4)
    assert scores["precision/glioma"] == 1
    assert scores["recall/glioma"] == pytest.approx(2 / 3)
    assert scores["f1/glioma"] == pytest.approx(0.8)
    assert [scores[f"{n}/pituitary"] for n in ("precision", "recall", "f1")] == [0, 0, 0]
    assert scores["sensitivity"] == pytest.approx(4 / 5), "a pituitary tumour was called none"
    assert scores["specificity"] == 1


def test_without_a_healthy_slice_there_is_no_specificity() -> None:
    labels = np.array([0, 1, 3])
    scores = confusion_scores(confusion_matrix(labels, labels)[None].astype(float))

    assert np.isnan(scores["specificity"][0])
    assert scores["sensitivity"][0] == 1
    assert np.isnan(scores["recall/no_tumor"][0])
    assert scores["balanced_accuracy"][0] == 1


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_confusion_scores_are_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    labels, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    scores = confusion_scores(confusion_matrix(labels, predicted)[None].astype(float))

    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, predicted, labels=range(4), zero_division=0.0
    )
    for place, label in enumerate(LABELS):
        assert scores[f"precision/{label}"][0] == pytest.approx(precision[place])
        assert scores[f"f1/{label}"][0] == pytest.approx(f1[place])
        assert np.nan_to_num(scores[f"recall/{label}"][0]) == pytest.approx(recall[place])
    there = recall_score(labels, predicted, labels=np.unique(labels), average="macro")
    assert scores["balanced_accuracy"][0] == pytest.approx(there)


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


def test_the_majority_floor() -> None:
    assert majority_share(LABELS_OF_SIX) == 0.5
