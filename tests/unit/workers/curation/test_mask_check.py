"""Masks that mark something, but not a tumour."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from workers.curation.mask_check import MaskFault, MaskProblem, examine_mask

Grey = NDArray[np.uint8]


def a_head() -> Grey:
    """A bright disc of radius 40 in the middle of 128 x 128."""
    rows, columns = np.ogrid[:128, :128]
    return np.where((rows - 64) ** 2 + (columns - 64) ** 2 < 40**2, 150, 0).astype(np.uint8)


def marking(y: int, x: int, side: int = 10, shade: int = 255) -> Grey:
    mask = np.zeros((128, 128), np.uint8)
    mask[y : y + side, x : x + side] = shade
    return mask


def test_one_shade_in_the_head_is_as_it_should_be() -> None:
    assert examine_mask(marking(60, 60), a_head()) is None
    assert examine_mask(marking(60, 60, shade=1), a_head()) is None


def test_a_smoothed_edge_is_no_second_shade() -> None:
    small = Image.fromarray(marking(30, 30, side=6)[:64, :64])
    smoothed = np.asarray(small.resize((128, 128), Image.Resampling.BILINEAR))
    assert len(np.unique(smoothed)) > 2
    assert examine_mask(smoothed, a_head()) is None


@pytest.mark.parametrize("shades", [(1, 2, 4), (100, 255), (29, 226)])
def test_several_shades_are_refused(shades: tuple[int, ...]) -> None:
    mask = sum(marking(40 + 12 * n, 50, shade=shade) for n, shade in enumerate(shades))
    problem = examine_mask(np.asarray(mask, np.uint8), a_head())
    assert isinstance(problem, MaskProblem)
    assert problem.fault is MaskFault.SHADES
    assert "several shades" in problem.words


def test_a_mark_outside_of_the_head_is_refused() -> None:
    problem = examine_mask(marking(2, 2), a_head())
    assert isinstance(problem, MaskProblem)
    assert problem.fault is MaskFault.OUTSIDE
    assert problem.words == "marks nothing inside of the head"


def test_an_inverted_mask_is_refused() -> None:
    problem = examine_mask(255 - marking(60, 60), a_head())
    assert isinstance(problem, MaskProblem)
    assert problem.fault is MaskFault.LARGE
    assert problem.words == "marks 98% of the head: is it inverted?"


@pytest.mark.parametrize(
    ("mask", "oddity"),
    [
        (marking(60, 60), None),
        (marking(60, 60, side=2), None),
        (marking(60, 60, side=1), MaskFault.SMALL),
        (marking(16, 60, side=12), MaskFault.ASTRAY),
        (marking(20, 60, side=10), None),
    ],
    ids=["a tumour", "a small one", "a pixel", "mostly beside the head", "at its edge"],
)
def test_what_is_odd_is_told_and_no_more(mask: Grey, oddity: MaskFault | None) -> None:
    assert examine_mask(mask, a_head()) is oddity
