"""The scores of answers, and their intervals."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    roc_auc_score,
)

from core.labels import LABELS
from workers.evaluation.bootstrap import bootstrap_intervals
from workers.evaluation.calibration import expected_calibration_error, reliability
from workers.evaluation.metrics import softmax
from workers.evaluation.scores import Scorer

COUNT = 240
RNG = np.random.default_rng(5)
TRUTH = RNG.integers(0, 4, COUNT)
ANSWERS = softmax(RNG.normal(size=(COUNT, 4)) + 1.5 * np.eye(4)[TRUTH])
ACCEPTED = ANSWERS.max(axis=1) >= 0.6
EACH_ALONE = [str(i) for i in range(COUNT)]


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer(TRUTH, ANSWERS, ACCEPTED)


@pytest.fixture(scope="module")
def scores(scorer: Scorer) -> dict[str, float]:
    return {name: float(values[0]) for name, values in scorer(np.ones((1, COUNT))).items()}


def test_scores_are_scikit_learns(scores: dict[str, float]) -> None:
    predicted, one_hot = ANSWERS.argmax(axis=1), np.eye(4)[TRUTH]
    assert scores["accuracy"] == pytest.approx((predicted == TRUTH).mean())
    assert scores["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(TRUTH, predicted))
    assert scores["macro_f1"] == pytest.approx(f1_score(TRUTH, predicted, average="macro"))
    assert scores["roc_auc"] == pytest.approx(roc_auc_score(TRUTH, ANSWERS, multi_class="ovr"))
    expected = average_precision_score(one_hot, ANSWERS, average="macro")
    assert scores["pr_auc"] == pytest.approx(expected)
    for place, label in enumerate(LABELS):
        expected = roc_auc_score(one_hot[:, place], ANSWERS[:, place])
        assert scores[f"roc_auc/{label}"] == pytest.approx(expected)


def test_scores_of_confidence(scores: dict[str, float]) -> None:
    expected = expected_calibration_error(reliability(ANSWERS, TRUTH))
    assert scores["ece"] == pytest.approx(expected)
    assert scores["brier"] == pytest.approx(((ANSWERS - np.eye(4)[TRUTH]) ** 2).sum() / COUNT)
    assert scores["coverage"] == pytest.approx(ACCEPTED.mean())
    right = ANSWERS.argmax(axis=1) == TRUTH
    assert scores["accepted_accuracy"] == pytest.approx(right[ACCEPTED].mean())
    surest = np.argsort(-ANSWERS.max(axis=1))[: round(0.8 * COUNT)]
    assert scores["accuracy_at_80"] == pytest.approx(right[surest].mean())


def test_repeated_slices_count_as_often(scorer: Scorer) -> None:
    weights = np.random.default_rng(1).integers(0, 4, COUNT)
    again = np.repeat(np.arange(COUNT), weights)
    repeated = Scorer(TRUTH[again], ANSWERS[again], ACCEPTED[again])(np.ones((1, len(again))))

    weighted = scorer(weights[None].astype(float))
    for name, values in repeated.items():
        assert weighted[name] == pytest.approx(values), name


def test_a_class_without_slices_counts_in_no_mean() -> None:
    kept = TRUTH != 3
    scores = Scorer(TRUTH[kept], ANSWERS[kept], ACCEPTED[kept])(np.ones((1, kept.sum())))

    assert np.isnan(scores["roc_auc/pituitary"][0])
    there = [scores[f"roc_auc/{label}"][0] for label in LABELS[:3]]
    assert scores["roc_auc"][0] == pytest.approx(np.mean(there))


def test_one_slice_has_scores() -> None:
    scores = Scorer(TRUTH[:1], ANSWERS[:1], np.array([False]))(np.ones((1, 1)))

    assert scores["coverage"][0] == 0
    assert np.isnan(scores["accepted_accuracy"][0])
    assert np.isnan(scores["roc_auc"][0])


def test_intervals_hold_the_score_and_are_the_same_again(
    scorer: Scorer, scores: dict[str, float]
) -> None:
    found = bootstrap_intervals(scorer, EACH_ALONE, seed=3)

    for name in ("accuracy", "macro_f1", "roc_auc", "brier", "sensitivity", "recall/glioma"):
        assert found[name].low < scores[name] < found[name].high
    accuracy = scores["accuracy"]
    width = found["accuracy"].high - found["accuracy"].low
    expected = 2 * 1.96 * (accuracy * (1 - accuracy) / COUNT) ** 0.5
    assert width == pytest.approx(expected, rel=0.15)
    assert found == bootstrap_intervals(scorer, EACH_ALONE, seed=3)


def test_slices_of_one_patient_widen_the_interval() -> None:
    truth = np.repeat(np.arange(40) % 4, 10)
    answers = np.eye(4)[np.where(np.repeat(np.arange(40) < 30, 10), truth, (truth + 1) % 4)]
    scorer = Scorer(truth, answers, np.ones(400, bool))
    alone = bootstrap_intervals(scorer, [str(i) for i in range(400)], seed=0, resamples=500)
    together = bootstrap_intervals(scorer, [str(i // 10) for i in range(400)], 0, resamples=500)

    narrow = alone["macro_f1"].high - alone["macro_f1"].low
    assert together["macro_f1"].high - together["macro_f1"].low > 2 * narrow


@pytest.mark.parametrize("count", [1, 4])
def test_few_groups_have_no_interval(scorer: Scorer, count: int) -> None:
    groups = [str(i % count) for i in range(COUNT)]
    assert bootstrap_intervals(scorer, groups, seed=0, resamples=50) == {}


def test_what_few_groups_have_a_part_in_has_no_interval() -> None:
    """Of the twenty groups, three are of one class."""
    truth = np.repeat([0] * 17 + [2] * 3, 4)
    answers = np.full((80, 4), 0.1) + 0.6 * np.eye(4)[np.where(np.arange(80) % 5, truth, 1)]
    scorer = Scorer(truth, answers, np.ones(80, bool))

    found = bootstrap_intervals(scorer, [str(i // 4) for i in range(80)], seed=0, resamples=200)

    assert {"accuracy", "recall/glioma"} <= found.keys()
    assert "recall/no_tumor" not in found
    assert "specificity" not in found


def test_groups_without_an_error_leave_room_for_the_next() -> None:
    truth = np.repeat(np.arange(20) % 4, 5)
    scorer = Scorer(truth, np.eye(4)[truth], np.zeros(100, bool))

    found = bootstrap_intervals(scorer, [str(i // 5) for i in range(100)], seed=0, resamples=100)

    exact = binomtest(20, 20).proportion_ci(0.95, method="exact")
    assert (found["accuracy"].low, found["accuracy"].high) == pytest.approx((exact.low, 1))
    of_its_class = binomtest(5, 5).proportion_ci(0.95, method="exact")
    assert found["recall/glioma"].low == pytest.approx(of_its_class.low)
    none = binomtest(0, 20).proportion_ci(0.95, method="exact")
    assert (found["coverage"].low, found["coverage"].high) == pytest.approx((0, none.high))
    assert not {"macro_f1", "precision/glioma", "roc_auc"} & found.keys()


def test_what_is_not_defined_has_no_interval() -> None:
    kept = TRUTH != 3
    scorer = Scorer(TRUTH[kept], ANSWERS[kept], np.zeros(kept.sum(), bool))
    found = bootstrap_intervals(scorer, EACH_ALONE[: kept.sum()], seed=0, resamples=50)

    assert "roc_auc/pituitary" not in found
    assert "accepted_accuracy" not in found
