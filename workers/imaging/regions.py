"""From a map of tumour probability to separate regions."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.prediction import Box
from workers.model_artefact import RegionRule

_NEIGHBOURS: Final = np.ones((3, 3), int)
"""Pixels that touch at a corner belong together."""


@dataclass(frozen=True, kw_only=True)
class FoundRegion:
    """One region. ``mask`` (height, width) is of the box; ``score`` is the mean probability in it,
    0..1."""

    box: Box
    score: float
    mask: NDArray[np.bool_]

    @property
    def area_px(self) -> int:
        return int(self.mask.sum())


def find_regions(
    probabilities: NDArray[np.float32], rule: RegionRule, head_side: int
) -> tuple[FoundRegion, ...]:
    """Regions of a map (height, width) of tumour probability, 0..1, the surest first.

    ``head_side`` is the side of the head's square in pixels of the map.
    """
    labels, _ = ndimage.label(probabilities >= rule.threshold, structure=_NEIGHBOURS)
    smallest = rule.smallest_share * head_side**2
    found = []
    for number, place in enumerate(ndimage.find_objects(labels), start=1):
        mask = labels[place] == number
        if mask.sum() < smallest:
            continue
        rows, columns = place
        box = Box(x0=columns.start, y0=rows.start, x1=columns.stop, y1=rows.stop)
        score = float(probabilities[place][mask].mean())
        found.append(FoundRegion(box=box, score=score, mask=mask))
    return tuple(sorted(found, key=lambda region: region.score, reverse=True))


def boxes_of(mask: NDArray[np.bool_]) -> tuple[Box, ...]:
    """The boxes of the separate parts of a mask (height, width), however small they are."""
    regions = find_regions(mask.astype(np.float32), RegionRule(), max(mask.shape))
    return tuple(region.box for region in regions)
