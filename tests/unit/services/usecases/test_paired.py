"""The paired bootstrap finds what is there, and does not find what is not."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from core.held_out import HeldOutPredictions
from core.labels import LABELS, TumourLabel
from services.usecases.paired import MIN_GROUPS, compare_pair, shared_slices
from tests.fakes.held_out import held_out, outlines

GOOD = held_out(wrong_every=20)
POOR = held_out(wrong_every=3)
NAMES = ("a", "b")


def scores(predictions: HeldOutPredictions) -> tuple[float, float]:
    labels = [LABELS.index(s.label) for s in predictions.slices]
    predicted = [s.predicted for s in predictions.slices]
    return accuracy_score(labels, predicted), f1_score(labels, predicted, average="macro")


def test_the_difference_is_that_of_the_scores() -> None:
    pair = compare_pair(NAMES, GOOD, POOR)

    assert pair is not None
    assert (pair.first, pair.second, pair.slices, pair.groups) == ("a", "b", 400, 200)
    (accuracy, f1), (other_accuracy, other_f1) = scores(GOOD), scores(POOR)
    assert pair.scores["accuracy"].difference == pytest.approx(other_accuracy - accuracy)
    assert pair.decisive.difference == pytest.approx(other_f1 - f1)
    assert pair.second_is_worse
    assert pair.decisive.probability_better < 0.01
    assert pair.decisive.interval.low < pair.decisive.difference < pair.decisive.interval.high


def test_turned_round_it_says_the_opposite() -> None:
    pair, back = compare_pair(NAMES, GOOD, POOR), compare_pair(NAMES, POOR, GOOD)

    assert pair is not None
    assert back is not None
    assert back.decisive.difference == pytest.approx(-pair.decisive.difference)
    assert back.decisive.interval.low == pytest.approx(-pair.decisive.interval.high)
    assert back.decisive.probability_better == pytest.approx(1 - pair.decisive.probability_better)
    assert compare_pair(NAMES, GOOD, POOR) == pair, "the same again"


def test_a_version_is_as_good_as_itself() -> None:
    pair = compare_pair(NAMES, GOOD, replace(GOOD, protocol="again"))

    assert pair is not None
    assert (pair.decisive.interval.low, pair.decisive.interval.high) == (0, 0)
    assert pair.scores["accuracy"].probability_better == 0.5
    assert not pair.second_is_worse


def test_pairs_are_narrower_than_two_versions_apart() -> None:
    """Two versions that are wrong about mostly the same slices are told apart by the rest."""
    base = held_out(wrong_every=4)
    slices = list(base.slices)
    for number in (1, 5, 9, 13, 17, 21, 25, 29):
        right = LABELS.index(slices[number + 32].label)
        wrong = tuple(0.7 if i == (right + 1) % 4 else 0.1 for i in range(4))
        slices[number + 32] = replace(slices[number + 32], probabilities=wrong)
    pair = compare_pair(NAMES, base, (replace(base, slices=tuple(slices))))

    assert pair is not None
    share = pair.scores["accuracy"].interval.high - pair.scores["accuracy"].interval.low
    assert share < 2 * 1.96 * np.sqrt(2 * 0.75 * 0.25 / 400) / 2


def test_only_slices_held_out_from_both_count() -> None:
    later = held_out(400, first=300, wrong_every=3)

    assert len(shared_slices(GOOD.slices, later.slices)) == 100
    pair = compare_pair(NAMES, GOOD, (later))
    assert pair is not None
    assert (pair.slices, pair.groups) == (100, 50)


def test_too_few_shared_groups_say_nothing() -> None:
    shared = 2 * MIN_GROUPS - 2
    assert compare_pair(NAMES, GOOD, (held_out(400, first=400 - shared))) is None
    assert compare_pair(NAMES, GOOD, (held_out(400, first=400))) is None
    assert compare_pair(NAMES, GOOD, (held_out(0))) is None


def test_the_coarser_grouping_counts() -> None:
    coarse = held_out(wrong_every=3, per_group=8)

    for pair in (compare_pair(NAMES, GOOD, coarse), compare_pair(NAMES, coarse, GOOD)):
        assert pair is not None
        assert pair.groups == 50


def test_slices_with_a_disputed_label_are_left_out() -> None:
    slices = list(POOR.slices)
    slices[0] = replace(slices[0], label=TumourLabel.PITUITARY)
    disputed = replace(POOR, slices=tuple(slices))

    assert len(shared_slices(GOOD.slices, disputed.slices)) == 399


def test_a_class_that_nobody_has_does_not_count() -> None:
    def without_last(predictions: HeldOutPredictions) -> HeldOutPredictions:
        kept = tuple(s for s in predictions.slices if s.label is not LABELS[-1])
        return replace(predictions, slices=kept)

    pair = compare_pair(NAMES, (without_last(GOOD)), (without_last(POOR)))
    assert pair is not None
    assert np.isfinite(pair.decisive.difference)


def test_outlines_are_compared_by_their_mean_overlap() -> None:
    pair = compare_pair(NAMES, outlines(0.7), outlines(0.72, first=20))

    assert pair is not None
    assert (pair.slices, pair.groups, list(pair.scores)) == (40, 20, ["dice"])
    assert pair.decisive.difference == pytest.approx(0.02)


def test_versions_of_different_tasks_are_no_pair() -> None:
    with pytest.raises(TypeError):
        compare_pair(NAMES, GOOD, outlines(0.7))
