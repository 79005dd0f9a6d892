"""What an audit needs of each picture, taken while its pixels are at hand: about a kilobyte."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from workers.curation.near_duplicates import perceptual_hash, sampled, thumbnail
from workers.curation.shortcuts import FileStatistics, file_statistics

_FLAT: Final = 4
"""Levels of 255 between dark and bright; compression noise makes one or two."""
_DARK_TO_BRIGHT: Final = (0.5, 99.5)
"""Percentiles, so that a hot pixel is no brightness."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """``thumbnail`` is 32 x 32 grey pixels, row by row; ``blank`` means it has nothing to see."""

    thumbnail: bytes
    hash: int
    blank: bool
    statistics: FileStatistics


def look_at(data: bytes, grey: NDArray[np.uint8]) -> Look:
    """The look of an encoded picture that decodes to ``grey`` (height, width)."""
    small = thumbnail(grey)
    return Look(
        thumbnail=small.tobytes(),
        hash=perceptual_hash(small),
        blank=is_blank(grey),
        statistics=file_statistics(data, grey),
    )


def is_blank(grey: NDArray[np.uint8]) -> bool:
    """Whether grey pixels (height, width) are one shade all over."""
    dark, bright = np.percentile(sampled(grey), _DARK_TO_BRIGHT)
    return bool(bright - dark < _FLAT)
