"""A region's pixels, written down as a caller wants them."""

import io
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from core.prediction import MaskFormat, RegionMask
from workers.imaging.regions import FoundRegion


def encoded_mask(region: FoundRegion, wanted: MaskFormat, *, width: int, height: int) -> RegionMask:
    """Of the whole picture, ``width`` by ``height``: it can be laid over that as it is."""
    box = region.box
    picture = np.zeros((height, width), np.bool_)
    picture[box.y0 : box.y1, box.x0 : box.x1] = region.mask
    return RegionMask(format=wanted, width=width, height=height, data=_ENCODERS[wanted](picture))


def _png(picture: NDArray[np.bool_]) -> bytes:
    """A PNG of one bit a pixel; white is the region."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def _coco_rle(picture: NDArray[np.bool_]) -> bytes:
    """COCO's compressed counts."""
    counts: bytes = coco.encode(np.asfortranarray(picture, np.uint8))["counts"]
    return counts


_ENCODERS: Final[Mapping[MaskFormat, Callable[[NDArray[np.bool_]], bytes]]] = {
    MaskFormat.PNG: _png,
    MaskFormat.COCO_RLE: _coco_rle,
}
