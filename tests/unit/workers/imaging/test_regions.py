"""Separate regions of a map."""

import numpy as np
from numpy.typing import NDArray

from core.prediction import Box
from workers.imaging.regions import find_regions
from workers.model_artefact import RegionRule


def a_map() -> NDArray[np.float32]:
    """A sure square, a less sure bar, a faint spot."""
    found = np.zeros((40, 50), np.float32)
    found[5:15, 10:20] = 0.9
    found[20:22, 30:45] = 0.6
    found[38, 2] = 0.4
    return found


def test_each_region_has_its_box_score_and_area() -> None:
    first, second = find_regions(a_map(), RegionRule(), head_side=40)
    assert first.box == Box(x0=10, y0=5, x1=20, y1=15)
    assert first.area_px == 100
    assert abs(first.score - 0.9) < 1e-6
    assert second.box == Box(x0=30, y0=20, x1=45, y1=22)
    assert second.area_px == 30


def test_a_lower_threshold_finds_more() -> None:
    assert len(find_regions(a_map(), RegionRule(threshold=0.3), head_side=40)) == 3


def test_what_is_too_small_for_the_head_is_left_out() -> None:
    rule = RegionRule(smallest_share=50 / 40**2)
    assert len(find_regions(a_map(), rule, head_side=40)) == 1
    assert len(find_regions(a_map(), rule, head_side=20)) == 2


def test_corners_connect() -> None:
    diagonal = np.eye(6, dtype=np.float32)
    (region,) = find_regions(diagonal, RegionRule(), head_side=6)
    assert region.area_px == 6
    assert region.mask.shape == (6, 6)


def test_an_empty_map_has_none() -> None:
    assert find_regions(np.zeros((8, 8), np.float32), RegionRule(), head_side=8) == ()
