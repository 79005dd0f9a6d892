"""A few plain numbers of a prepared picture, for what features do not notice. NumPy only.

Features of a network hardly change when a slice is inverted: edges stay edges. Its border does.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

STATISTICS: Final = 11
_BORDER: Final = 16
"""The border is the outermost sixteenth of the side; the middle is the inner half."""
_QUANTILES: Final = (0.1, 0.25, 0.5, 0.75, 0.9)
_WHITE: Final = 255.0


def picture_statistics(pixels: NDArray[np.generic]) -> NDArray[np.float64]:
    """Statistics (n, 11) of square pictures (n, size, size) or (n, size, size, 1), grey 0..255.

    Mean and spread of the border and of the middle, five quantiles, and the mean step from a
    pixel to the next one, across and down; all as shares of white.
    """
    grey = pixels.reshape(pixels.shape[:3])
    return np.array([_of_one(picture) for picture in grey]).reshape(-1, STATISTICS)


def _of_one(picture: NDArray[np.generic]) -> list[float]:
    grey = picture.astype(np.float64) / _WHITE
    size = len(grey)
    edge, quarter = max(1, size // _BORDER), size // 4
    border = np.ones(grey.shape, bool)
    border[edge:-edge, edge:-edge] = False
    outer, middle = grey[border], grey[quarter : size - quarter, quarter : size - quarter]
    steps = [float(np.abs(np.diff(grey, axis=axis)).mean()) for axis in (1, 0)]
    spread = [outer.mean(), outer.std(), middle.mean(), middle.std()]
    return [float(x) for x in (*spread, *np.quantile(grey, _QUANTILES), *steps)]
