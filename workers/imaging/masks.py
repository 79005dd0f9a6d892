"""Tumour masks between the picture that was sent and the square that a model sees."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from workers.imaging.decode import ImageLimits, decode_grey
from workers.imaging.preprocess import SquareGeometry, resized

Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]

_WHITE: Final = 255


def decode_mask(data: bytes, limits: ImageLimits) -> Mask:
    """An encoded mask (height, width): what is at least half as bright as its brightest pixel.

    So masks of 0 and 1, of 0 and 255, and such that were compressed mean the same. Raises
    ``ImageRefused``.
    """
    return marked_pixels(decode_grey(data, limits))


def marked_pixels(grey: NDArray[np.uint8]) -> Mask:
    """Which pixels of a decoded mask mark the tumour; none if it is black all over."""
    return np.asarray(grey > int(grey.max()) // 2)


def prepare_mask(mask: Mask, geometry: SquareGeometry, size: int) -> NDArray[np.uint8]:
    """A mask (height, width) as the target for :func:`workers.imaging.preprocess.prepare`.

    ``geometry`` is what that gave for the picture. The result (size, size, 1) is the share of each
    pixel that the mask covers, 0..255.
    """
    left, top = geometry.x0, geometry.y0
    part = mask[top : top + geometry.height, left : left + geometry.width]
    x, y, width, height = geometry.place(size)
    square = np.zeros((size, size, 1), np.uint8)
    shares = resized(part.astype(np.uint8) * _WHITE, (width, height))
    square[y : y + height, x : x + width, 0] = shares
    return square


def on_input(square: Floats, geometry: SquareGeometry, width: int, height: int) -> Floats:
    """A model's map (size, size) on the picture of ``width`` and ``height``: (height, width).

    Undoes the crop and the padding of ``prepare``; outside of the head it is 0. Smooth between the
    model's pixels, so that an outline at a threshold is finer than they are.
    """
    x, y, fitted_width, fitted_height = geometry.place(len(square))
    part = Image.fromarray(square[y : y + fitted_height, x : x + fitted_width])
    head = part.resize((geometry.width, geometry.height), Image.Resampling.BILINEAR)
    picture = np.zeros((height, width), np.float32)
    left, top = geometry.x0, geometry.y0
    picture[top : top + geometry.height, left : left + geometry.width] = np.asarray(head)
    return picture
