"""Likely label errors are found, and what cannot be judged is refused."""

from collections.abc import Sequence

import numpy as np
import pytest

from core.labels import LABELS, TumourLabel
from tests.fakes.records import an_item
from workers.curation.label_errors import (
    MAX_SUSPECTS,
    OutOfFold,
    can_judge,
    label_errors,
    likely_label_errors,
)


def predictions(truth: np.ndarray, sure: Sequence[int] = ()) -> np.ndarray:
    """Out-of-fold probabilities (n, 4) of a model that is right, and surer of some slices."""
    rng = np.random.default_rng(1)
    best = rng.uniform(0.7, 0.9, len(truth))
    best[list(sure)] = 0.97
    found = rng.uniform(0.5, 1.5, (len(truth), 4))
    found[np.arange(len(truth)), truth] = 0
    found *= (1 - best)[:, np.newaxis] / found.sum(axis=1, keepdims=True)
    found[np.arange(len(truth)), truth] = best
    return np.asarray(found)


TRUTH = np.arange(200) % 4
WRONG = [5, 50, 123]


def mislabelled() -> np.ndarray:
    labels = TRUTH.copy()
    labels[WRONG] = (labels[WRONG] + 1) % 4
    return labels


def test_wrong_labels_are_found_and_right_ones_left() -> None:
    assert sorted(likely_label_errors(mislabelled(), predictions(TRUTH, WRONG))) == WRONG
    assert len(likely_label_errors(TRUTH, predictions(TRUTH))) == 0


def test_the_likeliest_comes_first() -> None:
    probabilities = predictions(TRUTH, WRONG)
    probabilities[50] = [0.003, 0.003, 0.993, 0.001]
    assert likely_label_errors(mislabelled(), probabilities)[0] == 50


def test_single_precision_is_taken() -> None:
    found = likely_label_errors(mislabelled(), predictions(TRUTH, WRONG).astype(np.float32))
    assert sorted(found) == WRONG


def test_classes_that_nothing_is_labelled_as_do_not_matter() -> None:
    truth = np.arange(100) % 2 * 3
    labels = truth.copy()
    labels[7] = 0
    assert list(likely_label_errors(labels, predictions(truth, [7]))) == [7]


def test_few_slices_of_a_class_are_no_reason_to_complain() -> None:
    truth = np.array([0, 0, 0, 1, 1, 1, 2, 3])
    assert len(likely_label_errors(truth, predictions(truth))) == 0


def test_one_class_says_nothing() -> None:
    ones = np.ones(10, np.int64)
    assert len(likely_label_errors(ones, predictions(ones))) == 0


@pytest.mark.parametrize(
    ("labels", "probabilities"),
    [
        (np.array([0, 1]), np.full((3, 4), 0.25)),
        (np.array([0, 4]), np.full((2, 4), 0.25)),
        (np.array([-1, 1]), np.full((2, 4), 0.25)),
        (np.array([], np.int64), np.full((0, 4), 0.25)),
        (np.array([0, 1]), np.full((2, 4), 0.5)),
        (np.array([0, 1]), np.array([[1.5, -0.5], [0.5, 0.5]])),
        (np.array([0, 1]), np.array([[np.nan, 0.5], [0.5, 0.5]])),
    ],
    ids=["lengths", "class", "negative class", "empty", "sum", "negative", "nan"],
)
def test_what_is_no_probability_is_refused(labels: np.ndarray, probabilities: np.ndarray) -> None:
    with pytest.raises(ValueError, match="must"):
        likely_label_errors(labels, probabilities)


def answers(labels: np.ndarray, probabilities: np.ndarray) -> OutOfFold:
    items = (an_item(f"{i}.png", label=LABELS[label]) for i, label in enumerate(labels))
    return OutOfFold(items=tuple(items), probabilities=probabilities)


def test_suspects_are_named_with_what_they_look_like() -> None:
    found = label_errors(answers(mislabelled(), predictions(TRUTH, WRONG)))
    assert found.count == 3
    by_path = {suspect.path: suspect for suspect in found.suspects}
    suspect = by_path["5.png"]
    assert (suspect.label, suspect.suggested) == (TumourLabel.NO_TUMOR, TumourLabel.MENINGIOMA)
    assert suspect.probability > 0.8


def test_only_so_many_are_named() -> None:
    truth = np.arange(2000) % 4
    labels = truth.copy()
    labels[:120] = (labels[:120] + 1) % 4
    found = label_errors(answers(labels, predictions(truth, range(120))))
    assert (found.count, len(found.suspects)) == (120, MAX_SUSPECTS)


def test_who_is_not_sure_contradicts_nobody() -> None:
    unsure = 0.3 * predictions(TRUTH, WRONG) + 0.7 / 4
    assert sorted(likely_label_errors(mislabelled(), unsure)) == WRONG
    assert label_errors(answers(mislabelled(), unsure)).count == 0


def test_models_at_chance_do_not_judge_labels() -> None:
    assert can_judge(answers(mislabelled(), predictions(TRUTH)))
    assert not can_judge(answers((TRUTH + 1) % 4, predictions(TRUTH)))
    half = np.where(np.arange(200) % 2 == 0, TRUTH, (TRUTH + 1) % 4)
    assert not can_judge(answers(half, predictions(TRUTH)))
