"""Masks against each other."""

import numpy as np
import pytest
from numpy.typing import NDArray

from workers.evaluation.outlines import agreement, hausdorff_95


def square(top: int, left: int, side: int = 10) -> NDArray[np.bool_]:
    mask = np.zeros((40, 40), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_equal_masks_agree_in_everything() -> None:
    found = agreement(square(5, 5), square(5, 5))
    assert (found.dice, found.iou, found.hd95) == (1, 1, 0)
    assert (found.lesions, found.lesions_found) == (1, 1)


def test_half_of_it_beside_it() -> None:
    found = agreement(square(5, 10), square(5, 5))
    assert found.dice == pytest.approx(0.5)
    assert found.iou == pytest.approx(1 / 3)
    assert found.hd95 == 5


def test_nothing_found_has_no_distance() -> None:
    found = agreement(np.zeros((40, 40), bool), square(5, 5))
    assert (found.dice, found.iou, found.hd95, found.lesions_found) == (0, 0, None, 0)


def test_each_lesion_counts_by_itself() -> None:
    true = square(2, 2) | square(25, 25) | square(2, 30, 5)
    found = agreement(square(3, 3) | square(26, 24), true)
    assert (found.lesions, found.lesions_found) == (3, 2)


def test_a_region_that_covers_everything_finds_no_small_lesion() -> None:
    assert agreement(np.ones((40, 40), bool), square(5, 5, 4)).lesions_found == 0


def test_a_few_stray_pixels_hardly_move_the_95th_percentile() -> None:
    stray = square(5, 5, 20)
    stray[39, 39] = True
    assert hausdorff_95(stray, square(5, 5, 20)) == 0


def test_distances_are_the_same_both_ways() -> None:
    first, second = square(5, 5), square(8, 20, 15)
    assert hausdorff_95(first, second) == hausdorff_95(second, first)


@pytest.mark.parametrize("true", [np.zeros((40, 40), bool), np.ones((3, 3), bool)])
def test_what_cannot_be_compared_is_refused(true: NDArray[np.bool_]) -> None:
    with pytest.raises(ValueError, match="true"):
        agreement(square(5, 5), true)
