"""Areas and curves against scikit-learn, with weights and ties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from workers.evaluation.ranking import Ranking, auroc

ONES = np.ones((1, 40))
SCORES = st.lists(
    st.tuples(st.integers(0, 6), st.booleans(), st.integers(0, 3)), min_size=2, max_size=40
)


@given(SCORES)
def test_areas_are_scikit_learns_with_ties_and_weights(rows: list[tuple[int, bool, int]]) -> None:
    scores, positive, weights = (np.array(column) for column in zip(*rows, strict=True))
    ranking, weighted = Ranking(scores / 7, positive), weights[None].astype(float)
    defined = len(set(positive[weights > 0].tolist())) == 2

    if defined:
        expected = roc_auc_score(positive, scores, sample_weight=weights)
        assert ranking.roc_auc(weighted)[0] == pytest.approx(expected)
        expected = average_precision_score(positive, scores, sample_weight=weights)
        assert ranking.average_precision(weighted)[0] == pytest.approx(expected)
    else:
        assert np.isnan(ranking.roc_auc(weighted)[0])
        assert np.isnan(ranking.average_precision(weighted)[0])


def test_each_row_of_weights_is_a_resample_of_its_own() -> None:
    rng = np.random.default_rng(0)
    scores, positive = rng.random(40).round(1), rng.random(40) < 0.5
    weights = rng.multinomial(40, np.full(40, 1 / 40), size=5).astype(float)
    ranking = Ranking(scores, positive)

    for score in (
        ranking.roc_auc,
        ranking.average_precision,
        ranking.aurc,
        lambda w: ranking.accuracy_at(w, 0.8),
    ):
        alone = [score(row[None])[0] for row in weights]
        assert score(weights) == pytest.approx(alone)


def test_risk_and_coverage_by_hand() -> None:
    ranking = Ranking(np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array([1, 1, 0, 1, 0], bool))
    ones = np.ones((1, 5))

    assert ranking.aurc(ones)[0] == pytest.approx((0 + 0 + 1 / 3 + 1 / 4 + 2 / 5) / 5)
    assert ranking.accuracy_at(ones, 0.8)[0] == pytest.approx(3 / 4)
    assert ranking.accuracy_at(ones, 0.4)[0] == 1
    assert ranking.accuracy_at(ones, 1.0)[0] == pytest.approx(3 / 5)


def test_equally_sure_answers_are_taken_together() -> None:
    one = Ranking(np.full(4, 0.9), np.array([1, 1, 0, 0], bool))
    other = Ranking(np.full(4, 0.9), np.array([0, 0, 1, 1], bool))

    for ranking in (one, other):
        assert ranking.accuracy_at(np.ones((1, 4)), 0.5)[0] == 0.5
        assert ranking.aurc(np.ones((1, 4)))[0] == 0.5


def test_a_resample_without_the_surest_answers_is_no_trouble() -> None:
    ranking = Ranking(np.array([0.9, 0.8, 0.7]), np.array([1, 0, 1], bool))
    weights = np.array([[0.0, 0.0, 3.0]])

    assert ranking.aurc(weights)[0] == 0
    assert ranking.accuracy_at(weights, 0.8)[0] == 1


def test_auroc_of_two_samples() -> None:
    assert auroc(np.array([3.0, 4.0]), np.array([1.0, 2.0])) == 1
    assert auroc(np.array([1.0, 2.0]), np.array([3.0, 4.0])) == 0
    assert auroc(np.array([1.0, 2.0]), np.array([1.0, 2.0])) == 0.5
