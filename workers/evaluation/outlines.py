"""How well one mask agrees with another: overlap, distance of outlines, lesions found."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]

NEIGHBOURS: Final = np.ones((3, 3), int)
"""Pixels that touch at a corner belong to one lesion."""
FOUND_AT: Final = 0.1
"""A lesion is found if the regions that touch it, together, overlap it at least so much (IoU)."""
_PERCENTILE: Final = 95


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """A found mask against the true one, which is not empty.

    ``dice`` and ``iou`` are 0..1; ``hd95`` is the 95th percentile of the distances between the
    outlines in pixels, None if nothing was found; ``lesions`` and ``lesions_found`` count the
    connected parts of the true mask.
    """

    dice: float
    iou: float
    hd95: float | None
    lesions: int
    lesions_found: int


def agreement(found: Mask, true: Mask) -> Agreement:
    """Of two masks (height, width) of one picture. Raises ``ValueError`` if the true is empty."""
    if found.shape != true.shape or not true.any():
        raise ValueError("masks must have one shape, and the true one some tumour")
    shared, either = int((found & true).sum()), int((found | true).sum())
    lesions, lesions_found = _lesions(found, true)
    return Agreement(
        dice=2 * shared / (shared + either),
        iou=shared / either,
        hd95=hausdorff_95(found, true) if found.any() else None,
        lesions=lesions,
        lesions_found=lesions_found,
    )


def hausdorff_95(first: Mask, second: Mask) -> float:
    """The 95th percentile of the distances from each outline to the other, in pixels.

    Both directions pooled, as Taha and Hanbury, BMC Medical Imaging 15 (2015), "Metrics for
    evaluating 3D medical image segmentation", robust form. Neither mask may be empty.
    """
    outlines = [mask & ~ndimage.binary_erosion(mask) for mask in (first, second)]
    distances = [
        ndimage.distance_transform_edt(~other)[own] for own, other in (outlines, reversed(outlines))
    ]
    return float(np.percentile(np.concatenate(distances), _PERCENTILE))


def _lesions(found: Mask, true: Mask) -> tuple[int, int]:
    lesions, count = ndimage.label(true, structure=NEIGHBOURS)
    regions, _ = ndimage.label(found, structure=NEIGHBOURS)
    return count, sum(_is_found(lesions == n, regions) for n in range(1, count + 1))


def _is_found(lesion: Mask, regions: NDArray[np.int32]) -> bool:
    touching = np.unique(regions[lesion])
    union = np.isin(regions, touching[touching > 0])
    return bool((union & lesion).sum() >= FOUND_AT * (union | lesion).sum())
