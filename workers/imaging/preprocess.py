"""From grey pixels to a model's input: one function, for training and for serving."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True, kw_only=True)
class SquareGeometry:
    """How a picture sits in the square that the model sees. Lengths are input pixels.

    The picture is centred in a square of ``side``; ``left`` and ``top`` are the black margins.
    """

    width: int
    height: int
    side: int
    left: int
    top: int

    @classmethod
    def of(cls, width: int, height: int) -> "SquareGeometry":
        side = max(width, height)
        return cls(
            width=width,
            height=height,
            side=side,
            left=(side - width) // 2,
            top=(side - height) // 2,
        )

    def to_input(self, x: float, y: float, size: int) -> tuple[float, float]:
        """Where a point of the model's square (0..size) lies in the input picture, in pixels."""
        scale = self.side / size
        return x * scale - self.left, y * scale - self.top


def prepare(grey: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """``grey`` (height, width) as model input: (size, size, 1), float32, 0..255.

    The picture is centred on a black square, so that its shape stays, then resized with
    antialiasing.
    """
    height, width = grey.shape
    scale = size / max(width, height)
    # Resized before it is put on the square: a thin picture's own square could be enormous.
    fitted = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = Image.fromarray(grey)
    if fitted != picture.size:
        picture = picture.resize(fitted, Image.Resampling.BILINEAR, reducing_gap=3.0)
    square = Image.new("L", (size, size))
    square.paste(picture, ((size - fitted[0]) // 2, (size - fitted[1]) // 2))
    return np.asarray(square, dtype=np.float32)[:, :, np.newaxis]
