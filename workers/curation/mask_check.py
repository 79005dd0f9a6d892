"""Whether a mask marks a place in the head of its slice, in one shade on black."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from workers.imaging.masks import marked_pixels
from workers.imaging.preprocess import head_geometry

_BLACK: Final = 0.1
_FULL: Final = 0.9
"""Shares of the brightest shade: what lies between is neither background nor surely tumour."""
_SOFT: Final = 1.5
"""So much of that, for each pixel in full shade, is an edge that was smoothed; more is a second
shade, and nobody can tell which of them is the tumour."""
_FEW: Final = range(2, 5)
"""So many shades beside black are names of different things: an edge has more of them."""
_LARGEST: Final = 0.6
"""No tumour covers more of the head; an inverted mask does."""


def mask_problem(mask: NDArray[np.uint8], picture: NDArray[np.uint8]) -> str | None:
    """What is wrong with a mask (height, width) for a picture of the same shape, both grey 0..255.

    The mask marks something and is black somewhere; None if there is nothing else to say.
    """
    if _has_several_shades(mask):
        return "has several shades: make it black but where the tumour is, and one shade there"
    head = head_geometry(picture)
    marked = marked_pixels(mask)
    inside = marked[head.y0 : head.y0 + head.height, head.x0 : head.x0 + head.width]
    if not inside.any():
        return "marks nothing inside of the head"
    if inside.mean() > _LARGEST:
        return f"marks {inside.mean():.0%} of the head: is it inverted?"
    return None


def _has_several_shades(mask: NDArray[np.uint8]) -> bool:
    if np.count_nonzero(np.bincount(mask.ravel(), minlength=256)[1:]) in _FEW:
        return True
    shade = mask / float(mask.max())
    between = int(((shade > _BLACK) & (shade < _FULL)).sum())
    return between > _SOFT * int((shade >= _FULL).sum())
