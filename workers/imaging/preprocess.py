"""From grey pixels to a model's input: one function, for training and for serving.

Public data sets take slices with and without a tumour from different places, and a model can tell
the places apart by margins and brightness. So the picture is cropped to the head, its grey values
are stretched between two percentiles, and it is put on a black square: what is left is the slice.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PREPROCESSING: Final = "head-crop-1"
"""Name of what :func:`prepare` does. A model belongs to the one that it was trained with."""

_DIM: Final = 10
"""Grey values up to this are background whatever the picture's brightness."""
_DIM_SHARE: Final = 0.1
"""So are those below this share of the bright pixels' value."""
_HEAD_SHARE: Final = 0.04
"""Rows and columns with a smaller share of bright pixels are margin, or letters on it."""
_LOW: Final = 0.01
"""Share of the head's pixels that becomes black."""
_HIGH: Final = 0.995
"""The brightest pixels above this share become white."""
_FLAT: Final = 16
"""A picture with less contrast than this shows nothing; stretching would show its noise."""
_HIGHEST_BLACK: Final = 60
"""A head that fills the picture has no background; its darkest tissue must not become black."""


@dataclass(frozen=True, kw_only=True)
class SquareGeometry:
    """How a part of a picture sits in the square that the model sees. Lengths are input pixels.

    The part (``x0``, ``y0``, ``width``, ``height``) is centred in a square of ``side``.
    """

    x0: int
    y0: int
    width: int
    height: int

    @property
    def side(self) -> int:
        return max(self.width, self.height)

    def fitted(self, size: int) -> tuple[int, int]:
        """Width and height of the part on a square of ``size``, in whole pixels of that."""
        scale = size / self.side
        return max(1, round(self.width * scale)), max(1, round(self.height * scale))

    def place(self, size: int) -> tuple[int, int, int, int]:
        """Where the part is on a square of ``size``: left, top, width, height."""
        width, height = self.fitted(size)
        return (size - width) // 2, (size - height) // 2, width, height


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """``pixels``: (size, size, 1), whole float32 numbers of 0..255; ``geometry`` says of what."""

    pixels: NDArray[np.float32]
    geometry: SquareGeometry


def prepare(grey: NDArray[np.uint8], size: int) -> Prepared:
    """``grey`` (height, width) as model input: the head, stretched in brightness, on a square."""
    geometry = head_geometry(grey)
    left, top = geometry.x0, geometry.y0
    head = grey[top : top + geometry.height, left : left + geometry.width]
    stretched = _stretch(resized(head, geometry.fitted(size)), *_black_and_white(head))
    square = np.zeros((size, size, 1), np.float32)
    x, y, width, height = geometry.place(size)
    square[y : y + height, x : x + width, 0] = stretched
    return Prepared(pixels=square, geometry=geometry)


def head_geometry(grey: NDArray[np.uint8]) -> SquareGeometry:
    """The part of the picture between its margins; all of it where nothing stands out."""
    height, width = grey.shape
    bright = grey > max(_DIM, _DIM_SHARE * _quantile(_counts(grey), 0.99))
    rows = np.flatnonzero(_shares(bright, axis=1) > _HEAD_SHARE)
    columns = np.flatnonzero(_shares(bright, axis=0) > _HEAD_SHARE)
    if not len(rows) or not len(columns):
        return SquareGeometry(x0=0, y0=0, width=width, height=height)
    return SquareGeometry(
        x0=int(columns[0]),
        y0=int(rows[0]),
        width=int(columns[-1] - columns[0] + 1),
        height=int(rows[-1] - rows[0] + 1),
    )


def resized(part: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """``part`` (height, width) with antialiasing at this width and height.

    Done before it is put on the square: a thin picture's own square could be enormous.
    """
    if shape == part.shape[::-1]:
        return part
    picture = Image.fromarray(part)
    return np.asarray(picture.resize(shape, Image.Resampling.BILINEAR, reducing_gap=3.0))


def _black_and_white(head: NDArray[np.uint8]) -> tuple[int, int]:
    counts = _counts(head)
    low, high = _quantile(counts, _LOW), _quantile(counts, _HIGH)
    if high - low < _FLAT:
        return 0, 255
    return min(low, _HIGHEST_BLACK), high


def _stretch(pixels: NDArray[np.uint8], black: int, white: int) -> NDArray[np.float32]:
    scaled = (pixels.astype(np.float32) - black) * np.float32(255.0 / max(white - black, 1))
    return np.asarray(np.rint(np.clip(scaled, 0.0, 255.0)), np.float32)


def _shares(marked: NDArray[np.bool_], axis: int) -> NDArray[np.float64]:
    """The share of marked pixels along an axis: their mean, without making numbers of them all."""
    return np.asarray(marked.view(np.uint8).sum(axis=axis, dtype=np.uint32) / marked.shape[axis])


def _counts(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How many pixels have each grey value. Pillow takes half the time that NumPy does."""
    return np.array(Image.fromarray(pixels).histogram(), np.int64)


def _quantile(counts: NDArray[np.int64], share: float) -> int:
    """The smallest grey value that ``share`` of the pixels do not exceed."""
    below = counts.cumsum()
    return int(np.searchsorted(below, share * below[-1]))
