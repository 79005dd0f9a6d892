"""Whether a mask marks a place in the head of its slice, in one shade on black."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from workers.imaging.masks import Mask, marked_pixels
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
_SMALLEST: Final = 1 / 2000
"""Less of the head is a dozen pixels of a common slice: a slip of the hand rather than a tumour."""
_ASTRAY: Final = 0.5
"""A mask with more of its marks outside of the head was drawn for another picture, or shifted."""


class MaskFault(StrEnum):
    """What is the matter with a mask, in words that hold for each mask that has it."""

    UNNAMED = "is a mask by its name, but no manifest says of which slice"
    MISSING = "is not there"
    UNREADABLE = "cannot be read"
    OTHER_SIZE = "has another size than its slice"
    PICTURE = "is the slice itself"
    HEALTHY = "marks a tumour in a slice that is labelled as without one"
    BLACK = "marks nothing in a slice that is labelled as a tumour"
    NOWHERE_BLACK = "is nowhere black"
    SHADES = "has several shades"
    OUTSIDE = "marks nothing inside of the head"
    LARGE = "marks most of the head"
    # The others are odd: the slice is kept with its mask.
    SMALL = "marks hardly a pixel of the head"
    ASTRAY = "marks more outside of the head than inside"
    SHARED = "is also the mask of another picture"


@dataclass(frozen=True, kw_only=True)
class MaskProblem:
    """Why a mask cannot be used; ``words`` are about this very mask."""

    fault: MaskFault
    words: str


@dataclass(frozen=True, kw_only=True)
class MaskFound:
    """What is the matter with the mask of the slice of that path, whether it was kept or not."""

    path: str
    fault: MaskFault


def examine_mask(
    mask: NDArray[np.uint8], picture: NDArray[np.uint8]
) -> MaskProblem | MaskFault | None:
    """What is wrong with a mask (height, width) for a picture of the same shape, both grey 0..255.

    The mask marks something and is black somewhere. A ``MaskProblem`` is why it cannot be used, a
    ``MaskFault`` what is to be looked at in one that can; None if there is nothing else to say.
    """
    if _has_several_shades(mask):
        return MaskProblem(
            fault=MaskFault.SHADES,
            words="has several shades: make it black but where the tumour is, and one shade there",
        )
    marked = marked_pixels(mask)
    inside = _in_head(marked, picture)
    return _problem(inside) or _oddity(marked, inside)


def _problem(inside: Mask) -> MaskProblem | None:
    if not inside.any():
        return MaskProblem(fault=MaskFault.OUTSIDE, words="marks nothing inside of the head")
    if inside.mean() > _LARGEST:
        return MaskProblem(
            fault=MaskFault.LARGE, words=f"marks {inside.mean():.0%} of the head: is it inverted?"
        )
    return None


def _oddity(marked: Mask, inside: Mask) -> MaskFault | None:
    if inside.sum() < (1 - _ASTRAY) * marked.sum():
        return MaskFault.ASTRAY
    return MaskFault.SMALL if inside.mean() < _SMALLEST else None


def _in_head(marked: Mask, picture: NDArray[np.uint8]) -> Mask:
    head = head_geometry(picture)
    return marked[head.y0 : head.y0 + head.height, head.x0 : head.x0 + head.width]


def _has_several_shades(mask: NDArray[np.uint8]) -> bool:
    if np.count_nonzero(np.bincount(mask.ravel(), minlength=256)[1:]) in _FEW:
        return True
    shade = mask / float(mask.max())
    between = int(((shade > _BLACK) & (shade < _FULL)).sum())
    return between > _SOFT * int((shade >= _FULL).sum())
