"""Average precision, against numbers worked out by hand."""

import numpy as np
import pytest

from core.prediction import Box
from workers.evaluation.boxes import BoxScorer, ScoredBox, box_precision

HERE = Box(x0=10, y0=10, x1=30, y1=30)
THERE = Box(x0=50, y0=50, x1=60, y1=60)


def scored(box: Box, score: float = 0.9) -> ScoredBox:
    return ScoredBox(box=box, score=score)


def test_every_box_found_exactly_is_one() -> None:
    precision = box_precision(
        [[HERE, THERE], [HERE]], [[scored(HERE), scored(THERE)], [scored(HERE)]]
    )
    assert precision.at_50 == pytest.approx(1)
    assert precision.at_50_to_95 == pytest.approx(1)


def test_nothing_found_is_nothing() -> None:
    assert box_precision([[HERE]], [[]]).at_50 == 0


def test_a_loose_box_counts_at_low_overlaps_only() -> None:
    loose = Box(x0=10, y0=10, x1=30, y1=36)  # IoU 400 / 520
    precision = box_precision([[HERE]], [[scored(loose)]])
    assert precision.at_50 == pytest.approx(1)
    assert precision.at_50_to_95 == pytest.approx(0.6)


def test_a_sure_wrong_box_on_another_picture_costs_precision() -> None:
    precision = box_precision([[HERE], []], [[scored(HERE, 0.5)], [scored(THERE, 0.9)]])
    assert precision.at_50 == pytest.approx(0.5)


def test_half_of_the_lesions_missed_is_about_half() -> None:
    precision = box_precision([[HERE], [THERE]], [[scored(HERE)], []])
    assert precision.at_50 == pytest.approx(51 / 101)


@pytest.mark.parametrize(("true", "found"), [([[HERE]], []), ([[]], [[scored(HERE)]])])
def test_what_cannot_be_compared_is_refused(
    true: list[list[Box]], found: list[list[ScoredBox]]
) -> None:
    with pytest.raises(ValueError, match="boxes"):
        box_precision(true, found)


def test_weights_count_pictures_as_often_as_they_say() -> None:
    true, found = [[HERE], [THERE], [HERE]], [[scored(HERE)], [scored(HERE, 0.95)], []]
    scores = BoxScorer(true, found)(np.array([[1, 1, 1], [2, 0, 1], [0, 1, 1]], float))
    repeated = box_precision([[HERE], [HERE], [HERE]], [[scored(HERE)], [scored(HERE)], []])
    alike = box_precision(true, found)
    assert scores["box_map_50"] == pytest.approx([alike.at_50, repeated.at_50, 0])
    assert scores["box_map_50_95"] == pytest.approx([alike.at_50_to_95, repeated.at_50_to_95, 0])


def test_nothing_found_is_nothing_however_pictures_count() -> None:
    assert BoxScorer([[HERE], [THERE]], [[], []])(np.ones((2, 2)))["box_map_50"].tolist() == [0, 0]


def test_pictures_without_a_true_box_have_no_precision() -> None:
    scorer = BoxScorer([[HERE], []], [[scored(HERE)], [scored(THERE)]])
    assert np.isnan(scorer.precision([1]).at_50)
