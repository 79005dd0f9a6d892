"""From an encoded picture to what a graph takes, and back to the picture's own pixels."""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import DeadlinePassed
from core.messages import InferenceItem
from workers.imaging.decode import ImageLimits, decode_grey
from workers.imaging.preprocess import Prepared, SquareGeometry, prepare


@dataclass(frozen=True, kw_only=True)
class ReadyPicture:
    """A picture ready for a graph of side ``size``. ``grey`` (height, width) is kept where another
    graph may want it at another size."""

    item: InferenceItem
    size: int
    prepared: Prepared
    width: int
    height: int
    grey: NDArray[np.uint8] | None = None

    @property
    def pixels(self) -> NDArray[np.float32]:
        return self.prepared.pixels

    @property
    def geometry(self) -> SquareGeometry:
        return self.prepared.geometry

    def pixels_at(self, size: int) -> NDArray[np.float32]:
        """(size, size, 1), of the one decoded picture."""
        if size == self.size:
            return self.pixels
        if self.grey is None:
            raise ValueError(f"the picture was prepared for {self.size} alone, not for {size}")
        return prepare(self.grey, size).pixels


def read_picture(
    item: InferenceItem, size: int, limits: ImageLimits, *, keep_grey: bool
) -> ReadyPicture:
    """Decode and prepare. Raises ``DeadlinePassed``, ``ImageRefused``."""
    check_deadline(item)
    grey = decode_grey(item.image, limits)
    height, width = grey.shape
    return ReadyPicture(
        item=item,
        size=size,
        prepared=prepare(grey, size),
        width=width,
        height=height,
        grey=grey if keep_grey else None,
    )


def check_deadline(item: InferenceItem) -> None:
    """Raises ``DeadlinePassed`` if nobody waits for the picture any more."""
    if item.deadline <= time.time():
        raise DeadlinePassed()
