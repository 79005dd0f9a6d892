"""What an audit needs of each picture, taken while its pixels are at hand: about a kilobyte."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.curation.near_duplicates import perceptual_hash, thumbnail
from workers.curation.shortcuts import FileStatistics, file_statistics
from workers.imaging.blank import is_blank


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
