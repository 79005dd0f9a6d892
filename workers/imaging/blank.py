"""Whether a picture shows anything at all."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

_FLAT: Final = 4
"""Levels of 255 between dark and bright; compression noise makes one or two."""
_DARK_TO_BRIGHT: Final = (0.5, 99.5)
"""Percentiles, so that a hot pixel is no brightness."""


def is_blank(grey: NDArray[np.uint8]) -> bool:
    """Whether grey pixels (height, width) are one shade all over."""
    dark, bright = np.percentile(sampled(grey), _DARK_TO_BRIGHT)
    return bool(bright - dark < _FLAT)


def sampled(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Every k-th row and column, some 128 of them: enough to tell brightness by, and quick."""
    step = max(1, min(grey.shape) // 128)
    return grey[::step, ::step]
